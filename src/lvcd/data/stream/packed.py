"""A batch on its way: bytes as they are stored, a quarter of what the network sees. They become numbers where they are
used, on the GPU if there is one.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, d width of a token, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..batch import Batch


@dataclass
class Packed:
    """`to` makes a Batch of it; Lightning does so when it brings it to the device."""

    drawings: Tensor
    """(b t 1 H W) uint8, 0 on a line and 255 on paper; or, once augmented, sketches as in Batch."""
    fps: Tensor
    """(b) playback rate of the clips, frames per second."""
    pixels: Tensor | None = None
    """(b t 3 H W) uint8; or, once augmented, frames as in Batch. None where latents stand for them."""
    latents: Tensor | None = None
    """(b t c h w)"""
    tokens: Tensor | None = None
    """(b 1 d)"""
    keys: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        there = self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return Batch(
            sketches=to_sketches(there.drawings),
            fps=there.fps,
            frames=to_frames(there.pixels),
            latents=there.latents,
            tokens=there.tokens,
            keys=self.keys,
        )

    def pin_memory(self) -> Packed:
        """For torch's DataLoader."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> Packed:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


def to_sketches(drawings: Tensor) -> Tensor:
    """uint8, 0 on a line => [0, 1], 1.0 on a line and exactly 0.0 on paper. What is a sketch stays one."""
    return (255 - drawings) / 255 if drawings.dtype == torch.uint8 else drawings


def to_frames(pixels: Tensor | None) -> Tensor | None:
    """uint8 => [-1, 1]. What are frames stay so."""
    return pixels.float() / 127.5 - 1 if pixels is not None and pixels.dtype == torch.uint8 else pixels
