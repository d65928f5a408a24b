"""Denoising score matching."""

from __future__ import annotations

from torch import Tensor

from .precondition import Denoise


def denoising_loss(denoise: Denoise, x0: Tensor, sigma: Tensor, noise: Tensor, huber: float | None = None) -> Tensor:
    """w |D(x0 + s n, s) - x0|^2 / c, w = (s^2 + 1) / s^2, a mean over h w => (b t).

    x0, noise: (b t c h w); sigma: (b), one level a clip. The reference frame counts like the others (method, 3).
    huber: 2 k ((d^2 + k^2)^1/2 - k) takes the place of what is averaged, d^2: as much where d is small, in proportion
    to d where it is large (pseudo-Huber, as in Song and Dhariwal 2023, arXiv 2310.14189). Where several colors may be
    right, the answer is then drawn to the likeliest of them, and not to their mean.
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    error = denoise(x0 + s * noise, sigma) - x0
    squares = ((s**2 + 1) / s**2 * error**2).mean(dim=2)
    if huber is not None:
        squares = 2 * huber * ((squares + huber**2).sqrt() - huber)
    return squares.mean(dim=(2, 3))
