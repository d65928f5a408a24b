"""The frames of a clip that are trained on, and how a picture is brought to the size of the model.

letters: H W pixels
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]

Reference = Literal["any_earlier", "earliest_quarter", "first", "keyframes"]
"""Which frame becomes the reference of a window. The window begins at frame n of the clip, counted from 0:

any_earlier         any of the frames 0 .. n - 1, all equally likely (the paper)
earliest_quarter    the first max(1, n // 4) of them (the released code)
first               frame 0
keyframes           the last key before the window. Keys are the frames 0, k, 2k, ... for k = `keyframe_every`, as if a
                    studio had painted one drawing in k by hand. A window that begins on a key is painted from the key
                    before it, so the reference is 1 to k frames away and never the answer itself.
"""


@dataclass(frozen=True)
class WindowSampling:
    """The settings say how windows are cut from a clip, each with a reference. InputError: a setting makes no sense.

    A window begins anywhere from frame 1, so that a frame comes before it, to where it still fits. In a clip too short
    for that the stride is reduced to the largest that fits. If not even 1 does, the window begins at frame 1 and the
    last frame is held, as a drawing is held in animation. A clip of one frame is its own reference.
    """

    window: int = 14
    """The number of frames of a sample, without the reference."""
    reference: Reference = "any_earlier"
    stride: int = 1
    """Every how many frames the window takes one: 2 takes every other frame."""
    windows: int = 1
    """The number of samples of a clip. They begin at different frames as long as there are so many places to begin."""
    keyframe_every: int = 24
    """The number of frames from one key to the next; read by `keyframes` alone."""

    def __post_init__(self):
        if self.reference not in get_args(Reference):
            raise InputError(f"reference is one of {', '.join(get_args(Reference))}, not {self.reference!r}")
        for name in ("window", "stride", "windows", "keyframe_every"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"{name} is {value!r}: give a whole number from 1")

    def indices(self, frames: int, rng: np.random.Generator) -> list[list[int]]:
        """Draw the frame numbers of each sample: its reference, then its window. Nothing but the arguments decides.

        frames    length of the clip
        InputError: the clip is empty.
        """
        if frames < 1:
            raise InputError("the clip has no frames: leave it out")
        stride = max(1, min(self.stride, (frames - 2) // max(1, self.window - 1)))
        reach = stride * (self.window - 1)
        places = max(1, frames - 1 - reach)
        starts = 1 + rng.choice(places, self.windows, replace=self.windows > places)
        last = frames - 1
        return [
            [self._reference(start, rng), *(min(start + stride * i, last) for i in range(self.window))]
            for start in starts.tolist()
        ]

    def _reference(self, start: int, rng: np.random.Generator) -> int:
        if self.reference == "any_earlier":
            return int(rng.integers(start))
        if self.reference == "earliest_quarter":
            return int(rng.integers(max(1, start // 4)))
        if self.reference == "keyframes":
            return (start - 1) // self.keyframe_every * self.keyframe_every
        return 0


def fit(image: Array, height: int, width: int, at: tuple[float, float] = (0.5, 0.5)) -> Array:
    """Cut the largest part of an aspect ratio from a picture and scale it; the data type stays.

    (H W) or (H W 3) => (height width) or (height width 3)
    at    which part, as fractions of what is left over (down, right): 0 is the top or the left, 0.5 the middle

    The part is cut in whole pixels, so its proportions are off by less than one. Shrinking averages the area, as a
    camera does, and enlarging is bicubic. A picture of the right size is returned as it is.
    """
    assert height > 0 and width > 0 and all(0 <= fraction <= 1 for fraction in at)
    h, w = image.shape[:2]
    scale = min(h / height, w / width)
    cut_h, cut_w = (max(1, min(have, round(want * scale))) for have, want in ((h, height), (w, width)))
    top, left = round(at[0] * (h - cut_h)), round(at[1] * (w - cut_w))
    part = image[top : top + cut_h, left : left + cut_w]
    if part.shape[:2] == (height, width):
        return part
    how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
    return cv2.resize(part, (width, height), interpolation=how)
