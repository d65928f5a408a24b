"""The noise of a pipeline call: its levels, named as diffusers names them, and what painting begins with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lvcd.errors import InputError

Generators = torch.Generator | Sequence[torch.Generator] | None
"""One for all clips, one for each, or None for torch's own."""


def noise_levels_of(sigmas: Sequence[float] | None, timesteps: Sequence[float] | None) -> tuple[float, ...] | None:
    """Return the levels (n + 1), the last one 0, that a call names; EDM tells its networks ln(sigma) / 4."""
    if sigmas is None and timesteps is None:
        return None
    if sigmas is not None and timesteps is not None:
        raise InputError("sigmas and timesteps both name the noise levels: give one")
    try:
        named = [float(s) for s in sigmas] if sigmas is not None else [math.exp(4 * float(t)) for t in timesteps or ()]
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"sigmas and timesteps are lists of numbers: {error}") from None
    return (*named, 0.0) if not named or named[-1] != 0 else tuple(named)


def initial_noise(generator: Generators, given: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Draw unit normal noise (b slots c h w), or take what was given; a clip's depends on its own generator alone."""
    if given is not None:
        if tuple(given.shape) != shape:
            raise InputError(f"latents have the shape {tuple(given.shape)}: give noise of the shape {shape}")
        return given.float()
    many = list(generator) if isinstance(generator, Sequence) else [generator] * shape[0]
    if not all(isinstance(one, torch.Generator | None) for one in many):
        raise InputError(f"generator={generator}: give torch.Generator().manual_seed(SEED), or a list of these")
    if len(many) != shape[0]:
        raise InputError(f"{len(many)} generators for {shape[0]} clips: give one for each, or one for all")
    return torch.stack([torch.randn(shape[1:], generator=g, device=g.device if g else None).cpu() for g in many])
