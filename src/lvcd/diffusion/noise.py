"""Noise levels sigma: their distribution in training, and the schedules of sampling."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor

ALIGN_YOUR_STEPS = (700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002)
"""The 10-step schedule published for Stable Video Diffusion (Align Your Steps, Sabour et al. 2024)."""


def log_normal_sigma(count: int, mean: float = 1.0, std: float = 1.6, generator=None) -> Tensor:
    """Draw ln sigma ~ N(mean, std^2) for each of `count` clips => sigma (count), float32, on the CPU (method, 3)."""
    return (mean + std * torch.randn(count, generator=generator)).exp()


def karras(steps: int, sigma_min: float = 0.002, sigma_max: float = 700.0, rho: float = 7.0) -> Tensor:
    """Return the schedule of Karras et al. 2022 (EDM, equation 5) => (steps + 1), falling, the last level 0.

    sigma_i = (max^(1/rho) + i/(n-1) (min^(1/rho) - max^(1/rho)))^rho. ValueError: steps < 1, or no 0 < min < max.
    """
    _check(steps, sigma_min, sigma_max)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _append_zero((high + torch.linspace(0, 1, steps) * (low - high)) ** rho)


def align_your_steps(steps: int, sigma_min: float = 0.002, sigma_max: float = 700.0) -> Tensor:
    """Return ALIGN_YOUR_STEPS, log-linearly interpolated to `steps` steps => (steps + 1), falling, the last level 0.

    The list's last level, where its authors stop, is replaced by 0, as in the other schedules. Another sigma_min or
    sigma_max stretches the list in log sigma. ValueError: as for `karras`.
    """
    _check(steps, sigma_min, sigma_max)
    knots = torch.tensor(ALIGN_YOUR_STEPS, dtype=torch.float64).log()
    low, high = math.log(sigma_min), math.log(sigma_max)
    knots = low + (knots - knots[-1]) * (high - low) / (knots[0] - knots[-1])
    where = torch.arange(steps, dtype=torch.float64) * (len(knots) - 1) / steps
    left = where.floor().long()
    return _append_zero((knots[left] + (where - left) * (knots[left + 1] - knots[left])).exp().float())


SCHEDULES = {"karras": karras, "align_your_steps": align_your_steps}
"""Name -> schedule: (steps, sigma_min, sigma_max) -> noise levels (steps + 1)."""


def _check(steps: int, sigma_min: float, sigma_max: float) -> None:
    if steps < 1 or not 0 < sigma_min < sigma_max:
        raise ValueError(f"need steps >= 1 and 0 < sigma_min < sigma_max, got {steps}, {sigma_min}, {sigma_max}")


def _append_zero(levels: Tensor) -> Tensor:
    assert all(a > b for a, b in pairwise(levels.tolist()))
    return torch.cat([levels, levels.new_zeros(1)])
