"""Denoising score matching."""

from __future__ import annotations

from torch import Tensor

from .precondition import Denoise


def denoising_loss(denoise: Denoise, x0: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """w (D(x0 + s n, s) - x0)^2, w = (s^2 + 1) / s^2, a mean over c h w => (b t).

    x0, noise: (b t c h w); sigma: (b), one level a clip. The reference frame counts like the others (method, 3).
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    error = denoise(x0 + s * noise, sigma) - x0
    return ((s**2 + 1) / s**2 * error**2).mean(dim=(2, 3, 4))
