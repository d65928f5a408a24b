"""Whether a sketch tells the colors below it: grey left in what should be blank paper.

LVCD recolors from such grey even without a reference (AniDoc). Here it is a number, the correlation ratio: of all
variance of the frame under the paper, in RGB or in luminance, how much goes away once the grey of the paper is known.
Any relation counts, be it luminance, its inverse or a shade by hue; blank paper, noise and what does not vary with the
color tell nothing.

letters: H W pixels. A drawing is uint8 (H W), 0 = line, 255 = paper.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

LEAKS = 0.2
"""A clip that tells more than this share is flagged. Measured on 110 drawn cartoons of five styles, 64 and 240 rows, 4
frames each. Clean: exact line art at most 0.007, xdog 0.001, noise of 4 levels 0.023, lines blurred by 0.8 px 0.278
(one of 110 over 0.2), JPEG at quality 80 0.243 (3 of 110). Leaking: all luminance 1.000, 5 % of it under the lines at
least 0.877, with noise of 2 levels on top 0.482, shades by hue 0.850. Not told apart from a leak: an uneven paper, 12
levels darker in the corners, is flagged in 16 % of clips. One grey in one region alone tells little, and passes."""
STEP = 16
"""Levels: a change of more within 3 px, or a dip of more below the surroundings, is a line and not paper."""
SOLID = 25
"""Levels: what is darker is ink, however large."""
LUMINANCE = (0.299, 0.587, 0.114)
"""of R G B, Rec. 601"""


def paper(drawing: Array) -> Array:
    """=> bool (H W): pixels that are no line, nor within about a hundredth of the height of one, nor solid black."""
    margin = 2 * max(1, round(len(drawing) / 100)) + 1
    around = np.ones((3, 3), np.uint8)
    step = cv2.dilate(drawing, around) - cv2.erode(drawing, around)
    lines = ((step > STEP) | (contrast(drawing) > STEP)).astype(np.uint8)
    return (cv2.dilate(lines, np.ones((margin, margin), np.uint8)) == 0) & (drawing > SOLID)


def contrast(drawing: Array) -> Array:
    """=> uint8 (H W): how far a pixel is darker than what surrounds it, for strokes up to a twentieth of the height."""
    size = 2 * round(len(drawing) / 40) + 3
    return cv2.morphologyEx(drawing, cv2.MORPH_BLACKHAT, np.ones((size, size), np.uint8))


class Leak:
    """Counts over the frames of one clip: a grey must mean a color in all of them."""

    def __init__(self) -> None:
        self._pixels, self._sum = np.zeros(256), np.zeros((256, 4))  # by grey; R G B, luminance
        self._squares = np.zeros(4)
        self._seen = 0

    def add(self, frame: Array, drawing: Array) -> None:
        """frame (H W 3) uint8 RGB, drawing (H W)"""
        blank = paper(drawing)
        weight = blank.astype(np.float32)
        grey = cv2.boxFilter(drawing * weight, -1, (5, 5), normalize=False)  # over noise, of paper alone
        level = np.rint(grey[blank] / cv2.boxFilter(weight, -1, (5, 5), normalize=False)[blank]).astype(np.intp)
        color = frame[blank].astype(np.float64)
        color = np.column_stack([color, color @ LUMINANCE])
        self._pixels += np.bincount(level, minlength=256)
        for channel in range(4):
            self._sum[:, channel] += np.bincount(level, color[:, channel], 256)
        self._squares += (color**2).sum(0)
        self._seen += drawing.size

    @property
    def paper(self) -> float:
        """Share of all pixels that is paper."""
        return float(self._pixels.sum() / max(1, self._seen))

    @property
    def told(self) -> float | None:
        """The share of variance that grey tells, of RGB or of luminance, whichever is more, 0 to 1.

        None: there is too little paper to say.
        """
        count = self._pixels.sum()
        if count < 100:
            return None
        constant = self._sum.sum(0) ** 2 / count
        used = self._pixels > 0
        between = (self._sum[used] ** 2 / self._pixels[used, None]).sum(0) - constant
        total = self._squares - constant
        shares = [
            between[part].sum() / total[part].sum()
            for part in (slice(3), slice(3, 4))
            if total[part].sum() > count  # less than one level of standard deviation: there is nothing to tell
        ]
        return float(np.clip(max(shares, default=0.0), 0, 1))
