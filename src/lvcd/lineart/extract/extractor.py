"""What every extractor does, and how one that computes in batches does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class Extractor(Protocol):
    """Frames of a film => their drawings. What comes out for a frame depends on that frame alone, however many others
    it was given with, and is the same in every run on the same kind of device."""

    settings: dict[str, Any]
    """All that the drawings depend on, as JSON values; at least its "name"."""

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        """frames: consecutive ones, uint8 (H W 3) RGB, the first of them number `first` of its film => uint8 (H W)"""
        ...


def in_batches(frames: list[Array], size: int, device: torch.device, draw: Callable[[Tensor], Tensor]) -> list[Array]:
    """draw: uint8 (n 3 H W) => paper (n H W) in [0, 1], 1 on blank paper, for `size` frames of one shape at a time.

    Batches are filled up, and no rounding of convolutions is left to the device's choice, so that the same kernels see
    to every frame and its drawing does not depend on the others.
    """
    drawings: list[Array] = []
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for start in range(0, len(frames), size):
            some = frames[start : start + size]
            filled = np.stack(some + some[-1:] * (size - len(some)))
            paper = draw(torch.from_numpy(filled).to(device).movedim(-1, 1))
            drawings += list((paper * 255).round().byte().cpu().numpy()[: len(some)])
    return drawings
