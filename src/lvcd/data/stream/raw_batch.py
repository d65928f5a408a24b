"""A batch on its way to the device: 8-bit values as they are stored, a quarter of what the network sees. They become
floats where they are used, on the GPU if there is one.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, d width of a token, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from lvcd.lineart.sketch import ink_from_png
from lvcd.pixel_values import signed_from_uint8, unit_from_uint8

from ..batch import Batch


@dataclass
class RawBatch:
    """Clips as they are stored. Lightning calls `to`, which makes a Batch of it, when it brings it to the device."""

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
    """The names of the clips; none if not one could be read."""
    errors: tuple[str, ...] = ()
    """One line for each planned sample that could not be read."""

    def to(self, device: Any, non_blocking: bool = False) -> Batch:
        """Return the clips as floats on a device."""
        there = self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))
        return Batch(
            sketches=to_sketches(there.drawings),
            fps=there.fps,
            frames=to_frames(there.pixels),
            latents=there.latents,
            tokens=there.tokens,
            keys=self.keys,
        )

    def pin_memory(self) -> RawBatch:
        """Return the batch in pinned memory. torch's DataLoader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Any) -> RawBatch:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(value) for name, value in values.items() if isinstance(value, Tensor)})


def to_sketches(drawings: Tensor) -> Tensor:
    """Turn uint8 drawings, 0 on a line, into sketches in [0, 1], 1.0 on a line; what is float already stays.

    ink / 255 and `sketch_from_png` differ in a last bit; training is recorded with the first.
    """
    return unit_from_uint8(ink_from_png(drawings)) if drawings.dtype == torch.uint8 else drawings


def to_frames(pixels: Tensor | None) -> Tensor | None:
    """Turn uint8 pixels into frames in [-1, 1]; what is float already stays."""
    return signed_from_uint8(pixels) if pixels is not None and pixels.dtype == torch.uint8 else pixels
