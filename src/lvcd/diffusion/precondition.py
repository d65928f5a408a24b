"""EDM preconditioning (Karras et al. 2022, table 1) with sigma_data = 1 and SVD's v-prediction output."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(x (b t c h w), sigma (b) or scalar) -> the network's estimate of the clean x (b t c h w)."""


def precondition(net: Callable[[Tensor, Tensor], Tensor]) -> Denoise:
    """Return the denoiser D(x, s) = c_skip x + c_out F(c_in x, c_noise) of a network `net` = F (method, section 3).

    c_skip = 1 / (s^2 + 1), c_out = -s / sqrt(s^2 + 1), c_in = 1 / sqrt(s^2 + 1), c_noise = ln(s) / 4.
    """

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=torch.float32, device=x.device).expand(x.shape[0])
        s = sigma.view(-1, *[1] * (x.ndim - 1))
        c_skip, c_out, c_in = 1 / (s**2 + 1), -s / (s**2 + 1) ** 0.5, 1 / (s**2 + 1) ** 0.5
        return c_skip * x + c_out * net(c_in * x, sigma.log() / 4).float()

    return denoise
