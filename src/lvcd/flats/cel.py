"""A filled drawing as a cel: lines apart from fills, and where the paper shows.

letters: H W pixels. Colors and coverage are in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from .fills import LINE_MIN, Array, draw_lines_over
from .regions import LINE_THRESHOLD

WHITE = 250 / 255
"""From this value on, in all channels, a pixel of a reference is white paper."""


@dataclass(frozen=True)
class Cel:
    """A cel is a filled drawing in its parts, which compositing puts together."""

    fill: Array
    """Colors of the fills (H W 3), under lines too."""
    line: Array
    """Color of the lines: one (3), or one for each pixel (H W 3)."""
    coverage: Array
    """Coverage (H W): how much of a pixel the line covers."""
    ground: Array
    """(H W) bool: nothing is painted here, the paper shows."""

    @property
    def frame(self) -> Array:
        """The drawing as one picture (H W 3)."""
        return draw_lines_over(self.fill, self.coverage, self.line)

    def aliased(self) -> Cel:
        """Return the same with lines that cover a pixel wholly or not at all."""
        return replace(self, coverage=hard(self.coverage))


def hard(coverage: Array) -> Array:
    """Return coverage (H W) without anything between 0 and 1."""
    return (coverage > LINE_THRESHOLD).astype(np.float32)


def ground_of(frame: Array, ink: Array, alpha: Array | None) -> Array:
    """Find where a colored frame (H W 3) shows its ground => (H W) bool.

    The ground is what is transparent. Of a frame without transparency it is the white that reaches the frame's border:
    white that lines (H W) enclose may be an eye.
    """
    if alpha is not None and (alpha < 0.5).any():
        return alpha < 0.5
    white = (frame >= WHITE).all(-1) & (ink <= LINE_MIN)
    number = cv2.connectedComponents(white.astype(np.uint8), connectivity=4)[1]
    border = np.concatenate([number[0], number[-1], number[:, 0], number[:, -1]])
    return np.isin(number, border[border > 0])
