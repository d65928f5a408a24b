"""Solvers of the sampling equation, each a function (denoise, x, sigmas, on_denoised) -> x.

x: any shape, noisy at sigmas[0]; sigmas: (n + 1), falling, the last one 0; both returned and given in float32.
on_denoised(step, denoised) -> denoised sees every estimate of the clean x before it is used, and may replace it.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from .precondition import Denoise

OnDenoised = Callable[[int, Tensor], Tensor]
"""(step, denoised) -> the denoised estimate to use."""


def _keep(step: int, denoised: Tensor) -> Tensor:
    return denoised


def euler(denoise: Denoise, x: Tensor, sigmas: Tensor, on_denoised: OnDenoised | None = None) -> Tensor:
    """Solve by Euler's method, the paper's: x <- x + (s' - s) (x - D(x, s)) / s; one network call a step."""
    on_denoised = on_denoised or _keep
    for step, (s, s_next) in enumerate(pairwise(sigmas)):
        denoised = on_denoised(step, denoise(x, s))
        x = x + (s_next - s).to(x.device) * (x - denoised) / s.to(x.device)
    return x


def heun(denoise: Denoise, x: Tensor, sigmas: Tensor, on_denoised: OnDenoised | None = None) -> Tensor:
    """Solve by the trapezoid rule, second order: two network calls a step, one in the last (EDM, algorithm 1)."""
    on_denoised = on_denoised or _keep
    for step, (s, s_next) in enumerate(pairwise(sigmas)):
        slope = (x - on_denoised(step, denoise(x, s))) / s.to(x.device)
        ahead = x + (s_next - s).to(x.device) * slope
        if s_next > 0:
            slope = (slope + (ahead - on_denoised(step, denoise(ahead, s_next))) / s_next.to(x.device)) / 2
            ahead = x + (s_next - s).to(x.device) * slope
        x = ahead
    return x


def dpmpp_2m(denoise: Denoise, x: Tensor, sigmas: Tensor, on_denoised: OnDenoised | None = None) -> Tensor:
    """Solve by DPM-Solver++(2M), second order, multistep: one network call a step (Lu et al. 2022, algorithm 2).

    With lambda = -ln s and h = lambda' - lambda: x <- (s'/s) x + (1 - e^-h) D, where D is extrapolated from this and
    the last estimate; the first and the last step are first order.
    """
    on_denoised = on_denoised or _keep
    before: Tensor | None = None
    h_before = sigmas.new_zeros(())
    for step, (s, s_next) in enumerate(pairwise(sigmas)):
        denoised = on_denoised(step, denoise(x, s))
        h = s.log() - s_next.log()  # infinite in the last step, to sigma 0
        estimate = denoised
        if before is not None and s_next > 0:
            r = (h / (2 * h_before)).to(x.device)
            estimate = (1 + r) * denoised - r * before
        x = (s_next / s).to(x.device) * x + (1 - (-h).exp()).to(x.device) * estimate
        before, h_before = denoised, h
    return x


SOLVERS: dict[str, Callable[..., Tensor]] = {"euler": euler, "heun": heun, "dpmpp_2m": dpmpp_2m}
"""Name -> solver."""
