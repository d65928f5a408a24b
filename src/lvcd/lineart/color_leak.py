"""Color leaks of sketches: grey left in what should be blank paper, from which the colors below it can be predicted.

LVCD recolors from such grey even without a reference (AniDoc). The measure is the correlation ratio: of all variance of
the frame under the paper, in RGB or in luminance, the fraction that goes away once the grey of the paper is known.
Any relation counts, be it luminance, its inverse or a shade by hue; blank paper, noise and what does not vary with the
color give 0.

letters: H W pixels. A drawing is uint8 (H W), 0 = line, 255 = paper.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

Array = np.ndarray[Any, Any]

LEAK_THRESHOLD = 0.2
"""A clip whose grey explains more than this fraction is flagged. Measured on 110 drawn cartoons of five styles, 64 and
240 rows, 4 frames each. Clean: exact line art at most 0.007, xdog 0.001, noise of 4 levels 0.023, lines blurred by 0.8
px 0.278 (one of 110 over 0.2), JPEG at quality 80 0.243 (3 of 110). Leaking: all luminance 1.000, 5 % of it under the
lines at least 0.877, with noise of 2 levels on top 0.482, shades by hue 0.850. Mistaken for a leak: an uneven paper,
12 levels darker in the corners, is flagged in 16 % of clips. Missed: one grey in one region alone explains little."""
STEP_LEVELS = 16
"""Of 255: a change by more within 3 px, or a dip by more below the surroundings, is a line and not paper."""
SOLID_LEVELS = 25
"""Of 255: what is darker is ink, however large."""
LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of R, G and B (Rec. 601)."""


def paper_mask(drawing: Array) -> Array:
    """Return, bool (H W), the pixels that are no line, nor within 1/100 of the height of one, nor solid black."""
    margin = 2 * max(1, round(len(drawing) / 100)) + 1
    around = np.ones((3, 3), np.uint8)
    step = cv2.dilate(drawing, around) - cv2.erode(drawing, around)
    lines = ((step > STEP_LEVELS) | (line_contrast(drawing) > STEP_LEVELS)).astype(np.uint8)
    return (cv2.dilate(lines, np.ones((margin, margin), np.uint8)) == 0) & (drawing > SOLID_LEVELS)


def line_contrast(drawing: Array) -> Array:
    """Return, uint8 (H W), by how much a pixel is darker than its surroundings: strokes up to 1/20 of the height."""
    size = 2 * round(len(drawing) / 40) + 3
    return cv2.morphologyEx(drawing, cv2.MORPH_BLACKHAT, np.ones((size, size), np.uint8))


class ColorLeak:
    """Accumulates the color leak over the frames of one clip: a grey must mean the same color in all of them."""

    def __init__(self) -> None:
        self._pixels, self._sum = np.zeros(256), np.zeros((256, 4))  # by grey; R G B, luminance
        self._squares = np.zeros(4)
        self._total = 0

    def add(self, frame: Array, drawing: Array) -> None:
        """Add a frame, uint8 (H W 3) RGB, and its drawing (H W)."""
        blank = paper_mask(drawing)
        weight = blank.astype(np.float32)
        grey = cv2.boxFilter(drawing * weight, -1, (5, 5), normalize=False)  # over noise, of paper alone
        level = np.rint(grey[blank] / cv2.boxFilter(weight, -1, (5, 5), normalize=False)[blank]).astype(np.intp)
        color = frame[blank].astype(np.float64)
        color = np.column_stack([color, color @ LUMINANCE])
        self._pixels += np.bincount(level, minlength=256)
        for channel in range(4):
            self._sum[:, channel] += np.bincount(level, color[:, channel], 256)
        self._squares += (color**2).sum(0)
        self._total += drawing.size

    @property
    def paper(self) -> float:
        """The fraction of all pixels that is paper."""
        return float(self._pixels.sum() / max(1, self._total))

    @property
    def color_r2(self) -> float | None:
        """The fraction of variance that grey explains, of RGB or of luminance, whichever is more, 0 to 1.

        None: there is too little paper to say.
        """
        count = self._pixels.sum()
        if count < 100:
            return None
        constant = self._sum.sum(0) ** 2 / count
        used = self._pixels > 0
        between = (self._sum[used] ** 2 / self._pixels[used, None]).sum(0) - constant
        total = self._squares - constant
        fractions = [
            between[part].sum() / total[part].sum()
            for part in (slice(3), slice(3, 4))
            if total[part].sum() > count  # less than one level of standard deviation: there is nothing to explain
        ]
        return float(np.clip(max(fractions, default=0.0), 0, 1))
