"""XDoG: the lines of a cartoon by a difference of Gaussians, without weights. One formula for films and metrics.

letters: H W pixels.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]


def xdog(
    frames: Tensor,  # (n 3 H W) RGB in [-1, 1]
    sigma: float | None = None,  # px, the finer blur: about half a stroke's width; None = 0.65 at 64 rows, 1.45 at 320
    ratio: float = 1.6,  # the coarser blur over the finer one
    contrast: float = 0.03,  # how far a line dips under its surroundings, of the range from black to white
    black: float = 0.25,  # what is darker than this, and not large, is a line however thick
    softness: float = 120.0,  # slope of the soft threshold; infinite for pure black and white
) -> Tensor:
    """Draw the lines of a cartoon => sketch (n 1 H W) in [0, 1], 1.0 on a line.

    The difference of Gaussians of Winnemoeller's XDoG with its soft threshold, changed twice for flat colors. It is
    taken of each color channel and the strongest dip counts, so that two colors of one brightness still have an edge
    between them. And plain darkness, which XDoG turns into ink, counts only within a few px of something lighter: a
    thick black stroke stays one stroke and does not become two contours, a night sky does not become a blot.
    InputError: frames of another shape.
    """
    if frames.ndim != 4 or frames.shape[1] != 3:
        raise InputError(f"lines are found in frames of (n 3 H W), these are {tuple(frames.shape)}")
    if sigma is None:
        sigma = _sigma(*frames.shape[-2:])
    value = (frames + 1) / 2
    fine = _blur(value, sigma)
    dip = (_blur(value, ratio * sigma) - fine).amax(1, keepdim=True)
    light = fine.amax(1, keepdim=True)
    dark = (1 - light / black).clamp(min=0)
    near = ((_blur(light, 4 * sigma) - light) / (4 * contrast)).clamp(0, 1)
    sketch = torch.sigmoid(softness * (dip + 3 * contrast * dark * near - contrast))
    return ((sketch - 0.15) / 0.7).clamp(0, 1)  # paper is exactly blank, and keeps no trace of the colors


PARAMETERS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(xdog).parameters.items()
    if parameter.default is not parameter.empty
}
"""Name -> default of every parameter of `xdog`: what films are drawn with, and what EDMD compares."""


def draw_lines(
    colors: Sequence[Array], sigma: float | None, ratio: float, contrast: float, black: float, softness: float
) -> Array:
    """Draw one frame on a CPU as `xdog` does: its three colors, uint8 (H W) each => drawing uint8 (H W), 0 on a line.

    OpenCV adds up a blur in another order, ten times as fast: the drawing is within one level of 255 of `xdog`'s.
    """
    sigma = sigma or _sigma(*colors[0].shape)
    fine = [_blurred(color, sigma) for color in colors]
    coarse = (_blurred(color, ratio * sigma) for color in colors)
    dip = _greatest([cv2.subtract(blurred, own, dst=blurred) for blurred, own in zip(coarse, fine)])
    light = _greatest(fine)
    if light.min() < 255 * black:
        near = _blurred(light, 4 * sigma)
        near -= light
        near *= 0.75
        near.clip(0, 3 * contrast * 255, out=near)
        light /= 255 * black
        near *= np.maximum(np.subtract(1, light, out=light), 0, out=light)
        dip += near
    np.subtract(255 * contrast, dip, out=dip)
    dip *= softness / 255
    odds = cv2.exp(dip, dst=dip)  # of paper to line: sigmoid(x) = 1 / (1 + exp(-x))
    odds += 1
    sketch = np.divide(1, odds, out=odds)
    paper = cv2.addWeighted(sketch, -255 / 0.7, sketch, 0, 255 * 0.85 / 0.7, dtype=cv2.CV_8U)  # rounded, cut to 0..255
    return np.asarray(paper)


def _sigma(height: int, width: int) -> float:
    return 0.65 * (max(16, min(height, width)) / 64) ** 0.5


def _window(sigma: float) -> int:
    return 2 * math.ceil(3 * sigma) + 1


def _blur(x: Tensor, sigma: float) -> Tensor:
    from kornia.filters import gaussian_blur2d  # takes half a second, and OpenCV's way does without

    size = _window(sigma)
    return gaussian_blur2d(x, (size, size), (sigma, sigma), border_type="replicate")


def _blurred(plane: Array, sigma: float) -> Array:
    """Blur (H W) => float32 (H W)."""
    kernel = cv2.getGaussianKernel(_window(sigma), sigma, cv2.CV_32F)
    return cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def _greatest(planes: Sequence[Array]) -> Array:
    return functools.reduce(cv2.max, planes)
