"""The extractor that needs no weights: lines by difference of Gaussians."""

from __future__ import annotations

from typing import Any

import cv2
import torch
from torch import Tensor

from lvcd.pixel_values import signed_from_uint8

from ..sketch import png_from_sketch
from ..xdog import PARAMETERS, draw_lines, xdog
from .extractor import Array, draw_in_batches

FRAMES_PER_BATCH = 8
"""On a GPU."""


class XDoG:
    """A `SketchExtractor` by the formula of `lineart.xdog`.

    On a CPU by OpenCV, a frame at a time; on a GPU by kornia, in batches. Drawings by the two differ by at most one
    level of 255, in fewer than one pixel of a thousand (both on a CPU).
    """

    def __init__(self, device: str = "cpu"):
        self._device = torch.device(device)
        self.settings: dict[str, Any] = {"name": "xdog", "device": self._device.type, **PARAMETERS}

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        if self._device.type == "cpu":
            return [draw_lines(cv2.split(frame), **PARAMETERS) for frame in frames]
        return draw_in_batches(frames, FRAMES_PER_BATCH, self._device, _draw)


def _draw(pixels: Tensor) -> Tensor:
    return png_from_sketch(xdog(signed_from_uint8(pixels))[:, 0])
