"""Where the sketches of a film come from, behind one small interface.

letters: H W pixels. A drawing is a uint8 array (H W): black lines on white paper, as an image viewer shows it and as
`to_sketch(drawing, "dark")` reads it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError

from .lineart import detect_lines, to_sketch, xdog

Array = np.ndarray[Any, Any]

Extract = Callable[[int, Array], Array]
"""(number of the frame in its film, frame (H W 3) uint8 RGB) => its drawing (H W) uint8"""

ASPECT_TOLERANCE = 0.02
"""Drawings may differ from the frames' aspect ratio by this share: rounding of a resize, not another shape."""


class Drawings(Protocol):
    """The line art of a whole film, by frame number: uint8 (H W 3) or (H W 4)."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Array: ...


def by_xdog(index: int, frame: Array) -> Array:
    """An `Extract`. One frame at a time, on the CPU: the result does not depend on its neighbors or on the machine."""
    with torch.inference_mode():
        pixels = torch.from_numpy(frame).movedim(-1, 0)[None].float() / 127.5 - 1
        return to_drawing(xdog(pixels)[0])


def xdog_settings() -> dict[str, Any]:
    """What `by_xdog` depends on, as JSON values; sigma None = by the size of the frame."""
    return {
        name: parameter.default
        for name, parameter in inspect.signature(xdog).parameters.items()
        if parameter.default is not parameter.empty
    }


def given(drawings: Drawings, frames: int, size: tuple[int, int], name: str) -> Extract:
    """The film's own line art, of any polarity, as an `Extract`.

    drawings    one for each of the film's `frames` frames
    size        (height, width) of the film; drawings of another size are scaled to that of the frame
    name        what a message calls the drawings
    InputError: another number of drawings than of frames, or another shape.
    """
    if len(drawings) != frames:
        raise InputError(f"{name} has {len(drawings)} drawings for {frames} frames: give one for each frame")
    (h, w), (height, width) = drawings[0].shape[:2], size
    if abs(h * width / (w * height) - 1) > ASPECT_TOLERANCE:
        raise InputError(f"{name} is {w}x{h} and its film {width}x{height}: crop one to the aspect ratio of the other")
    lines = detect_lines([drawings[i] for i in _some(frames)])

    def extract(index: int, frame: Array) -> Array:
        drawing = to_drawing(to_sketch(drawings[index], lines))
        if drawing.shape == frame.shape[:2]:
            return drawing
        return cv2.resize(drawing, (frame.shape[1], frame.shape[0]), interpolation=cv2.INTER_AREA)

    return extract


def to_drawing(sketch: Tensor) -> Array:
    """(1 H W) in [0, 1], 1 on a line => uint8 (H W), 0 on a line: undone by `to_sketch(..., "dark")`."""
    return ((1 - sketch[0]) * 255).round().byte().numpy()


def _some(count: int) -> Sequence[int]:
    return sorted({round(i * (count - 1) / 4) for i in range(5)})
