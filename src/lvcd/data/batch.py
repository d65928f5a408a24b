"""What the data side hands to the training side."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass
class Batch:
    """Clips with their line art; the reference is frame 0."""

    frames: Tensor
    """(b t 3 H W) RGB in [-1, 1]."""
    sketches: Tensor
    """(b t 1 H W) in [0, 1], 1.0 on a line and 0.0 on blank paper."""
    fps: Tensor
    """(b) frames per second, as given to the network (the paper trains with 6 throughout)."""

    def to(self, device) -> Batch:
        return Batch(self.frames.to(device), self.sketches.to(device), self.fps.to(device))
