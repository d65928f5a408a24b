"""The batch that data hands to training.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, d width of a token, H W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from torch import Tensor


@dataclass
class Batch:
    """Clips with their line art; the reference is frame 0. It has pixels, or what was encoded from them, or both."""

    sketches: Tensor
    """(b t 1 H W) in [0, 1], 1.0 on a line and 0.0 on blank paper."""
    fps: Tensor
    """(b) playback rate of the clips, frames per second. Networks are conditioned on one rate, see nn/condition.py."""
    frames: Tensor | None = None
    """(b t 3 H W) RGB in [-1, 1]; None where latents stand for them."""
    latents: Tensor | None = None
    """(b t c h w) mode of the VAE's posterior, not times its scale factor."""
    tokens: Tensor | None = None
    """(b 1 d) the image encoder's embedding of the reference."""
    keys: tuple[str, ...] = ()
    """The names of the clips, for messages."""

    def to(self, device, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        moved: dict[str, Any] = {
            k: v.to(device, non_blocking=non_blocking) for k, v in values.items() if isinstance(v, Tensor)
        }
        return replace(self, **moved)
