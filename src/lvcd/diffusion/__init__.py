"""The diffusion process of EDM and SVD: noise levels, preconditioning, loss and solvers, without any network."""
