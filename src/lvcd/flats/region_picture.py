"""Pictures of the regions that a paint bucket would fill, for people to look at before anything is painted.

letters: H W pixels, a b regions of two drawings. Drawings are in [0, 1], 1 on a line.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from .fills import Array
from .gaps import close_gaps
from .regions import LINE_THRESHOLD, Gap, Regions, between_lines, overlaps

LINE, GAP_CLOSED = (40, 40, 40), (230, 0, 60)
GOLDEN = 0.381966
"""Of a turn of hue: with it, colors that are given one after the other are far apart."""


@dataclass
class RegionColors:
    """The colors of regions from drawing to drawing: what stays at its place keeps its color."""

    before: Regions | None = None
    hues: Array | None = None
    used: int = 0

    def __call__(self, drawn: Array, gap: Gap = "auto") -> tuple[Array, int, int]:
        """Draw what lines (H W) enclose, each region in a color of its own, and in red where gaps are closed.

        => uint8 (H W 3), the number of regions, the number of closed gaps
        """
        regions = Regions.from_lines(drawn, gap)
        hues = np.full(len(regions.area), -1)
        if self.before is not None and self.hues is not None:
            place, share = overlaps(regions, self.before)
            for region in np.argsort(-share, kind="stable"):  # one region hands its color on to one
                if share[region] > 0.2 and self.hues[place[region]] not in hues:
                    hues[region] = self.hues[place[region]]
        for region in np.flatnonzero(hues < 0):
            hues[region], self.used = self.used, self.used + 1
        self.before, self.hues = regions, hues
        palette = np.array([_pastel(int(hue)) for hue in hues], np.uint8)
        picture = palette[regions.map]
        closed = _closed_gaps(drawn > LINE_THRESHOLD, gap)
        picture[drawn > LINE_THRESHOLD] = LINE
        wide = cv2.dilate(closed.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        picture[wide & (drawn <= LINE_THRESHOLD)] = GAP_CLOSED
        return picture, len(regions.area), cv2.connectedComponents(wide.astype(np.uint8))[0] - 1


def _pastel(number: int) -> tuple[int, ...]:
    hue, level = number * GOLDEN % 1, (0.95, 0.8, 0.65)[number % 3]
    return tuple(round(255 * v) for v in colorsys.hsv_to_rgb(hue, 0.45, level))


def _closed_gaps(lines: Array, gap: Gap) -> Array:
    """Return where regions part without a line (H W) bool."""
    parted = close_gaps(lines, between_lines(lines)) if gap == "auto" else between_lines(lines, gap)
    found = np.zeros(lines.shape, bool)
    found[:, 1:] |= (parted[:, 1:] != parted[:, :-1]) & (parted[:, 1:] > 0) & (parted[:, :-1] > 0)
    found[1:] |= (parted[1:] != parted[:-1]) & (parted[1:] > 0) & (parted[:-1] > 0)
    return found
