"""lvcd: reference-based lineart video colorization (LVCD, arXiv 2409.12960).

Letters used in shapes throughout the package: b batch (clips), t frames of one network call (references first),
c channels, h w latent height and width, H W pixel height and width, n N counts.

"paper" is the one above; "method" is this project's own write-up of the algorithm, from the paper and from runs of the
original, which `tools/parity.py` compares with.
"""
