"""Images in every form that Python users have them: PIL, arrays, tensors and files. Each has one meaning, or none."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.images import image_size, read_image

Image = PIL.Image.Image | np.ndarray | Tensor | str | os.PathLike
"""One image: PIL of any mode, the path of a file, an array or a tensor.

Arrays and tensors are grey, RGB or RGBA, with channels last or first: (H W), (H W c), (c H W), (1 c H W) or (1 H W c).
Their type gives their range: floats are in [0, 1], uint8 in 0 .. 255, uint16 in 0 .. 65535, booleans black and white.
As a sketch, a tensor of one channel is a sketch already, with line = 1; all else is a picture of line art.
"""

CHANNELS = (1, 3, 4)
"""Grey, RGB, RGBA."""

OVERSHOOT = 0.05
"""A float image may leave [0, 1] by so much, as a bicubic resize does; it is clamped."""

_WHITE = {torch.bool: 1, torch.uint8: 255, torch.uint16: 65535}
"""The value of white in each type that is no float."""


def array(image: PIL.Image.Image | np.ndarray | Tensor) -> np.ndarray:
    """Convert an image to uint8 (H W 3), or (H W 4) with transparency; palettes and grey become RGB.

    image   PIL, uint8 array (H W), (H W 1 | 3 | 4), or tensor (c H W), which is clamped to [0, 1]
    """
    if isinstance(image, PIL.Image.Image):
        if image.mode.startswith("I"):  # 16 bits, which PIL would clip
            return array((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535)
        clear = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if clear else "RGB"))
    if isinstance(image, Tensor):
        return array((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    if image.ndim == 2:
        image = image[..., None]
    return np.repeat(image, 3, axis=-1).astype(np.uint8) if image.shape[-1] == 1 else image


def standard_form(image: Image, name: str = "the image") -> np.ndarray | Tensor:
    """Convert an image of any form => uint8 array (H W 3 | 4), or tensor (c H W) in [0, 1], c = 1, 3 or 4.

    Floats and 16 bits become tensors, so that nothing is rounded.
    name   of the image, for messages
    Raises InputError for another shape, type or range.
    """
    if isinstance(image, (str, os.PathLike)):
        return read_image(image)
    if isinstance(image, PIL.Image.Image):
        if image.mode != "F":
            return array(image)
        image = np.asarray(image)
    axis = channel_axis(image, name)
    pixels = image.detach().cpu() if isinstance(image, Tensor) else torch.from_numpy(_native(image, name))
    if pixels.ndim == 4:
        pixels = pixels[0]
    pixels = pixels[None] if axis is None else pixels.movedim(axis, 0)
    if isinstance(image, np.ndarray) and pixels.dtype == torch.uint8:
        return array(pixels.permute(1, 2, 0).numpy())
    if pixels.dtype in _WHITE:
        return pixels.float() / _WHITE[pixels.dtype]
    if not pixels.is_floating_point():
        kind = str(pixels.dtype).removeprefix("torch.")
        raise InputError(f"{name} has values of type {kind}: give floats in [0, 1], uint8 or uint16")
    low, high = float(pixels.min()), float(pixels.max())
    if not (low >= -OVERSHOOT and high <= 1 + OVERSHOOT):  # so that NaN is refused, too
        advice = "give image / 2 + 0.5" if low >= -1 - OVERSHOOT and high <= 1 + OVERSHOOT else "scale them"
        raise InputError(f"{name} has values from {low:.4g} to {high:.4g}, and floats are in [0, 1]: {advice}")
    return pixels.float().clamp(0, 1)


def standard_sketch(image: Image, name: str = "the sketch") -> np.ndarray | Tensor:
    """Convert a line drawing of any form => a sketch, tensor (1 H W) with line = 1, or a picture, uint8 (H W 3 | 4).

    Raises InputError as `standard_form` does.
    """
    pixels = standard_form(image, name)
    return pixels if is_sketch(image) else array(pixels)


def is_sketch(image: Image) -> bool:
    """Return whether an image is a sketch already, and no picture of line art: a tensor of one channel."""
    if not isinstance(image, Tensor):
        return False
    axis = channel_axis(image, "the sketch")
    return axis is None or image.shape[axis] == 1


def size_of(image: Image, name: str = "the image") -> tuple[int, int]:
    """Return the height and width of an image in pixels. InputError: it is no image."""
    if isinstance(image, (str, os.PathLike)):
        return image_size(Path(image))
    if isinstance(image, PIL.Image.Image):
        return image.height, image.width
    axis = channel_axis(image, name)
    height, width = image.shape[-3:-1] if axis == -1 else image.shape[-2:]
    return height, width


def channel_axis(image: np.ndarray | Tensor, name: str) -> int | None:
    """Return where an image has its channels, -3 or -1; None if it has no such axis.

    Where both could be channels, tensors have them first and arrays last.
    Raises InputError if it is not one image.
    """
    if not isinstance(image, (np.ndarray, Tensor)):
        raise InputError(f"{name} is of type {type(image).__name__}: give a PIL image, an array, a tensor or a path")
    shape = tuple(image.shape)
    if 0 not in shape:
        if len(shape) == 2:
            return None
        if len(shape) == 3 or (len(shape) == 4 and shape[0] == 1):
            for axis in (-3, -1) if isinstance(image, Tensor) else (-1, -3):
                if shape[axis] in CHANNELS:
                    return axis
    raise InputError(f"{name} has the shape {shape}: give one image, (H W), (H W c) or (c H W) with c = 1, 3 or 4")


def _native(image: np.ndarray, name: str) -> np.ndarray:
    """Return a copy that torch can take: in this machine's byte order, and at most 64 bits a value."""
    if image.dtype.kind not in "buif":
        raise InputError(f"{name} has values of type {image.dtype}: give floats in [0, 1], uint8 or uint16")
    return image.astype(np.float64 if image.dtype.itemsize > 8 else image.dtype.newbyteorder("="), order="C")
