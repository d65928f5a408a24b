"""The networks: SVD's U-Net with reference attention, the sketch branch, the autoencoder and the conditions."""
