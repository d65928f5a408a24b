"""The networks: SVD's U-Net with reference attention, the sketch ControlNet, the autoencoder and the condition."""

# What the libraries force, in CPU seconds of `from lvcd.pipeline import LineartVideoPipeline` (3.6 in all):
#   1.1  torch
#   1.3  diffusers itself: torch._dynamo, and sympy with it, for one decorator (its pipelines would import it later, to
#        ask every network whether it is compiled), and transformers for its quantizers
#   1.1  diffusers' U-Net: it imports every transformer model of diffusers, and its loaders; an import of the U-Net's
#        own module runs the same __init__ files
# Where they are installed, transformers' losses import scipy and torchvision, and accelerate imports boto3: 0.8 of the
# above. Painting needs none of these.
