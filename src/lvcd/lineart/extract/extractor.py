"""The interface of everything that draws the sketches of a film, and how one that computes in batches does it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]


class SketchExtractor(Protocol):
    """Draws the sketches of a film's frames.

    The drawing of a frame depends on that frame alone, however many others it was given with, and is the same in every
    run on the same kind of device.
    """

    settings: dict[str, Any]
    """All that the drawings depend on, as JSON values; at least a "name"."""

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        """Draw consecutive frames, uint8 (H W 3) RGB => as many drawings, uint8 (H W), 0 on a line and 255 on paper.

        first    number of the first of these frames in the film, from 0
        """
        ...


def draw_in_batches(
    frames: list[Array], size: int, device: torch.device, draw: Callable[[Tensor], Tensor]
) -> list[Array]:
    """Draw frames of one shape, `size` at a time.

    draw    uint8 (n 3 H W) => drawings uint8 (n H W)
    Batches are filled up, and no rounding of convolutions is left to the device's choice, so that the same kernels see
    to every frame and its drawing does not depend on the others.
    """
    drawings: list[Array] = []
    exact = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
    with torch.inference_mode(), exact:
        for start in range(0, len(frames), size):
            batch = frames[start : start + size]
            filled = np.stack(batch + batch[-1:] * (size - len(batch)))
            drawn = draw(torch.from_numpy(filled).to(device).movedim(-1, 1))
            drawings += list(drawn.cpu().numpy()[: len(batch)])
    return drawings
