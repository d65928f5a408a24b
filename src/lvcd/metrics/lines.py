"""The line extractor that EDMD uses by default: XDoG, which needs no weights.

letters: n frames, H W pixels
"""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from lvcd.lineart.sketch import sketch_from_png
from lvcd.lineart.xdog import PARAMETERS, draw_lines, xdog

from .frame_tensors import Array, in_threads, levels


class XDoGLines:
    """Frames (n 3 H W) in [0, 1] -> lines (n 1 H W) in [0, 1], line = 1, as `lvcd prepare` draws them.

    The frames are rounded to 8 bits. OpenCV draws on a CPU and kornia on other devices: the two differ by at most one
    level of 255, in fewer than one pixel of a thousand.
    """

    name, sha256 = "xdog", None

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {**PARAMETERS}

    def __call__(self, frames: Tensor) -> Tensor:
        if frames.device.type != "cpu":
            return xdog((frames * 255).round() / 127.5 - 1)
        drawn: list[Array] = in_threads(_draw, [*frames.float().numpy()])
        return sketch_from_png(np.stack(drawn)[:, None])


def _draw(frames: list[Array]) -> list[Array]:
    """Draw frames (3 H W) => drawings uint8 (H W)."""
    return [draw_lines(levels(frame), **PARAMETERS) for frame in frames]
