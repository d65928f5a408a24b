"""Lines by difference of Gaussians: the extractor that needs no weights."""

from __future__ import annotations

import inspect
from typing import Any

import cv2
import torch
from torch import Tensor

from ..xdog import draw_lines, xdog
from .extractor import Array, in_batches

BATCH = 8
"""Frames at once on a GPU."""


class XDoG:
    """An `Extractor`. On a CPU by OpenCV, a frame at a time; on a GPU by kornia, in batches. Drawings by the two differ
    by at most one level of 255, in fewer than one pixel of a thousand (both on a CPU)."""

    def __init__(self, device: str = "cpu"):
        self._device = torch.device(device)
        self._parameters = {
            name: parameter.default
            for name, parameter in inspect.signature(xdog).parameters.items()
            if parameter.default is not parameter.empty
        }
        self.settings: dict[str, Any] = {"name": "xdog", "device": self._device.type, **self._parameters}

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        if self._device.type == "cpu":
            return [draw_lines(cv2.split(frame), **self._parameters) for frame in frames]
        return in_batches(frames, BATCH, self._device, _paper)


def _paper(pixels: Tensor) -> Tensor:
    return 1 - xdog(pixels.float() / 127.5 - 1)[:, 0]
