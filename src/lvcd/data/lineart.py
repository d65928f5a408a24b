"""Sketches: everything that makes one, and the one place where polarity and range are decided.

A sketch is float32 in [0, 1], 1.0 on a line and 0.0 on blank paper, whatever it was made from. Nobody else flips it.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import cv2
import numpy as np
import torch
from kornia.filters import gaussian_blur2d
from torch import Tensor

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]

Lines = Literal["dark", "light", "alpha"]
"""How a drawing shows its lines: dark on a light ground, light on a dark ground, or on transparency."""


# --------------------------------------------------------------------------------------------- lines given as a drawing


def detect_lines(images: Sequence[Array]) -> Lines:
    """How a few frames of one clip show their lines. uint8 (H W), (H W 3) RGB or (H W 4) RGBA, not premultiplied.

    Transparency in more than one pixel of a thousand decides for "alpha"; else the ground, which is what most pixels
    are, is light or dark. Frames without a line count as ground. Raises InputError for no images and for bad arrays.
    """
    if not images:
        raise InputError("there is no sketch to find lines in: give at least one image")
    rgba = [_rgba(image) for image in images]
    pixels = sum(alpha.size for _, alpha in rgba)
    if sum(int((alpha < 0.5).sum()) for _, alpha in rgba) > 1e-3 * pixels:
        return "alpha"
    dark = sum(float((_luminance(color) < 0.5).mean()) for color, _ in rgba)
    return "light" if dark > len(rgba) / 2 else "dark"


def to_sketch(image: Array, lines: Lines) -> Tensor:
    """uint8 drawing (H W), (H W 3) RGB or (H W 4) RGBA -> sketch (1 H W) float32 in [0, 1], 1.0 on a line.

    "dark": 1 - luminance, which for grey is exactly 1 - value / 255, the original's rule. "light": luminance.
    "alpha": ink of one color, be it white, is as strong as it is opaque; of several colors, the dark ones are lines and
    the light ones fill; where none is dark, light ones are lines. An image of one value throughout is always blank.
    Raises InputError for bad arrays and unknown modes.
    """
    color, alpha = _rgba(image)
    if lines == "dark":
        sketch = 1 - (_luminance(color) * alpha + (1 - alpha))  # over white
        sketch = np.where(alpha == 1, 1 - _luminance(color), sketch)
    elif lines == "light":
        sketch = _luminance(color) * alpha  # over black
    elif lines == "alpha":
        sketch = _from_transparency(color, alpha)
    else:
        raise InputError(f"lines are {' or '.join(get_args(Lines))}, not {lines!r}")
    if sketch.min() == sketch.max():
        sketch = np.zeros_like(sketch)
    return torch.from_numpy(np.ascontiguousarray(sketch, np.float32)).clamp_(0, 1)[None]


def _from_transparency(color: Array, alpha: Array) -> Array:
    """color (H W 3), alpha (H W) -> (H W)."""
    solid = color[alpha > 0.5]
    if not len(solid):
        return alpha
    if (solid.max(0) - solid.min(0)).max() < 0.1:
        return alpha
    darkness = alpha * (1 - _luminance(color))  # one minus the picture over white
    return darkness if darkness.max() > 0.5 else alpha * _luminance(color)


def _rgba(image: Array) -> tuple[Array, Array]:
    """uint8 (H W), (H W 3) or (H W 4) -> color (H W 3) and alpha (H W), float32 in [0, 1]."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        kind = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"a drawing is an array of uint8, this is {kind}: convert it to 8 bit first")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[2] not in (3, 4)) or image.size == 0:
        raise InputError(f"a drawing is (H W), (H W 3) or (H W 4) and not empty, this is {image.shape}")
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, 2)
    value = image.astype(np.float32) / np.float32(255)
    alpha = value[..., 3] if image.shape[2] == 4 else np.ones(image.shape[:2], np.float32)
    return value[..., :3], alpha


def _luminance(color: Array) -> Array:
    """(... 3) in [0, 1] -> (...), weights of Rec. 601; exactly the value where the three are equal."""
    r, g, b = color[..., 0], color[..., 1], color[..., 2]
    grey = (r == g) & (g == b)
    return np.where(grey, r, np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b)


# ------------------------------------------------------------------------------------------------ lines found in a film


def xdog(
    frames: Tensor,  # (n 3 H W) RGB in [-1, 1]
    sigma: float | None = None,  # px, the finer blur: about half a stroke's width; None = 0.65 at 64 rows, 1.45 at 320
    ratio: float = 1.6,  # the coarser blur over the finer one
    contrast: float = 0.03,  # how far a line dips under its surroundings, of the range from black to white
    black: float = 0.25,  # what is darker than this, and not large, is a line however thick
    softness: float = 120.0,  # slope of the soft threshold; infinite for pure black and white
) -> Tensor:
    """Lines of a cartoon -> sketch (n 1 H W) in [0, 1], 1.0 on a line.

    The difference of Gaussians of Winnemoeller's XDoG with its soft threshold, changed twice for flat colors. It is
    taken of each color channel and the strongest dip counts, so that two colors of one brightness still have an edge
    between them. And plain darkness, which XDoG turns into ink, counts only within a few px of something lighter: a
    thick black stroke stays one stroke and does not become two contours, a night sky does not become a blot.
    Raises InputError for frames of another shape.
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


def draw_lines(
    frame: Array, sigma: float | None, ratio: float, contrast: float, black: float, softness: float
) -> Array:
    """`xdog`, with the same parameters, of one frame on a CPU: uint8 (H W 3) RGB => drawing uint8 (H W), 255 on paper.

    Within one level of 255 of what `xdog` gives, for OpenCV adds up a blur in another order, and ten times as fast.
    """
    sigma = sigma or _sigma(*frame.shape[:2])
    colors = cv2.split(frame)
    fine = [_blurred(color, sigma) for color in colors]
    dip = _greatest([cv2.subtract(_blurred(color, ratio * sigma), own) for color, own in zip(colors, fine)])
    light = _greatest(fine)
    if light.min() < 255 * black:
        near = np.clip((_blurred(light, 4 * sigma) - light) * 0.75, 0, 3 * contrast * 255)
        dip += near * np.maximum(1 - light / (255 * black), 0)
    odds = cv2.exp((255 * contrast - dip) * (softness / 255))  # of paper to line: sigmoid(x) = 1 / (1 + exp(-x))
    sketch = 1 / (1 + odds)
    paper = cv2.addWeighted(sketch, -255 / 0.7, sketch, 0, 255 * 0.85 / 0.7, dtype=cv2.CV_8U)  # rounded, cut to 0..255
    return np.asarray(paper)


def _sigma(height: int, width: int) -> float:
    return 0.65 * (max(16, min(height, width)) / 64) ** 0.5


def _window(sigma: float) -> int:
    return 2 * math.ceil(3 * sigma) + 1


def _blur(x: Tensor, sigma: float) -> Tensor:
    size = _window(sigma)
    return gaussian_blur2d(x, (size, size), (sigma, sigma), border_type="replicate")


def _blurred(plane: Array, sigma: float) -> Array:
    """(H W) => float32 (H W)"""
    kernel = cv2.getGaussianKernel(_window(sigma), sigma, cv2.CV_32F)
    return cv2.sepFilter2D(plane, cv2.CV_32F, kernel, kernel, borderType=cv2.BORDER_REPLICATE)


def _greatest(planes: Sequence[Array]) -> Array:
    return functools.reduce(cv2.max, planes)
