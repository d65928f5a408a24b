"""Sketches: what a drawing becomes for the networks. Polarity and range of line art are decided here and nowhere else.

A sketch is float32 in [0, 1], 1.0 on a line and 0.0 on blank paper, whatever it was made from. In files a drawing is
uint8 the other way round, 0 on a line and 255 on paper, as an image viewer shows it. Nothing else flips line art.

letters: H W pixels.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.pixel_values import uint8_from_unit, unit_from_uint8

Array = np.ndarray[Any, Any]
Levels = TypeVar("Levels", Tensor, Array)

Lines = Literal["dark", "light", "alpha"]
"""How a drawing shows its lines: dark on a light ground, light on a dark ground, or on transparency."""


def sketch_from_png(drawing: Tensor | Array) -> Tensor:
    """Turn the uint8 values of a drawing's PNG, 0 on a line, into a sketch of the same shape."""
    return 1 - unit_from_uint8(torch.from_numpy(drawing) if isinstance(drawing, np.ndarray) else drawing)


def png_from_sketch(sketch: Tensor) -> Tensor:
    """Turn a sketch into the uint8 values of a PNG of the same shape, 0 on a line and 255 on paper."""
    return uint8_from_unit(picture_from_sketch(sketch))


def picture_from_sketch(sketch: Tensor) -> Tensor:
    """Turn a sketch into black lines on white paper, in [0, 1], as a picture shows it."""
    return 1 - sketch


def ink_from_png(drawing: Levels) -> Levels:
    """Turn the uint8 values of a drawing's PNG into coverage by ink: 255 on a line, 0 on paper."""
    return 255 - drawing


def png_from_ink(ink: Levels) -> Levels:
    """Turn uint8 coverage by ink, 255 on a line, into the values of a drawing's PNG: 0 on a line, 255 on paper."""
    return 255 - ink


def to_sketch(image: Array, lines: Lines) -> Tensor:
    """Turn a drawing, uint8 (H W), (H W 3) RGB or (H W 4) RGBA, into a sketch (1 H W).

    "dark": 1 - luminance, which for grey is exactly 1 - value / 255, the original's rule. "light": luminance.
    "alpha": ink of one color, be it white, is as strong as it is opaque; of several colors, the dark ones are lines and
    the light ones fill; where none is dark, light ones are lines. An image of one value throughout is always blank.
    InputError: bad arrays and unknown modes.
    """
    color, alpha = split_alpha(image)
    if lines == "dark":
        sketch = 1 - (luminance(color) * alpha + (1 - alpha))  # over white
        sketch = np.where(alpha == 1, 1 - luminance(color), sketch)
    elif lines == "light":
        sketch = luminance(color) * alpha  # over black
    elif lines == "alpha":
        sketch = _from_transparency(color, alpha)
    else:
        raise InputError(f"lines are {' or '.join(get_args(Lines))}, not {lines!r}")
    if sketch.min() == sketch.max():
        sketch = np.zeros_like(sketch)
    return torch.from_numpy(np.ascontiguousarray(sketch, np.float32)).clamp_(0, 1)[None]


def _from_transparency(color: Array, alpha: Array) -> Array:
    """Find the lines of color (H W 3) with alpha (H W), both in [0, 1] => (H W) in [0, 1]."""
    solid = color[alpha > 0.5]
    if not len(solid):
        return alpha
    if (solid.max(0) - solid.min(0)).max() < 0.1:
        return alpha
    darkness = alpha * (1 - luminance(color))  # one minus the picture over white
    return darkness if darkness.max() > 0.5 else alpha * luminance(color)


def split_alpha(image: Array) -> tuple[Array, Array]:
    """Split uint8 (H W), (H W 3) or (H W 4) into color (H W 3) and alpha (H W), float32 in [0, 1]."""
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


def luminance(color: Array) -> Array:
    """Return the luminance (...) of (... 3) in [0, 1] by Rec. 601; exactly the value where the three are equal."""
    r, g, b = color[..., 0], color[..., 1], color[..., 2]
    grey = (r == g) & (g == b)
    return np.where(grey, r, np.float32(0.299) * r + np.float32(0.587) * g + np.float32(0.114) * b)


def greatest(color: Array) -> Array:
    """Return the greatest of three channels: (... 3) => (...). NumPy's own reduction is ten times as slow."""
    return np.maximum(np.maximum(color[..., 0], color[..., 1]), color[..., 2])


def least(color: Array) -> Array:
    """Return the least of three channels: (... 3) => (...)."""
    return np.minimum(np.minimum(color[..., 0], color[..., 1]), color[..., 2])
