"""The training loss: denoising score matching."""

from __future__ import annotations

from torch import Tensor

from .precondition import Denoise


def denoising_loss(denoise: Denoise, x0: Tensor, sigma: Tensor, noise: Tensor, huber: float | None = None) -> Tensor:
    """Compute the loss of each frame => (b t): w |D(x0 + s n, s) - x0|^2 / c with w = (s^2 + 1) / s^2, a mean over h w.

    x0, noise  (b t c h w); the reference frame counts like the others (method, section 3)
    sigma      (b), the noise level s of each clip
    huber      k of the pseudo-Huber loss 2 k ((d^2 + k^2)^1/2 - k), which then takes the place of the averaged d^2
               (Song and Dhariwal 2023, arXiv 2310.14189). It is as large where d is small, and grows with d instead of
               d^2 where d is large: where several colors may be right, the result is drawn to the likeliest of them,
               not to their mean. None = squares
    """
    s = sigma.view(-1, 1, 1, 1, 1)
    error = denoise(x0 + s * noise, sigma) - x0
    squares = ((s**2 + 1) / s**2 * error**2).mean(dim=2)
    if huber is not None:
        squares = 2 * huber * ((squares + huber**2).sqrt() - huber)
    return squares.mean(dim=(2, 3))
