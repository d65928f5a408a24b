"""The regions between the lines of a drawing, and scores of how well those of two drawings match.

letters: a regions of one drawing, b of the other, H W pixels. A sketch is in [0, 1], 1 on a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from .color_parts import part_by_color
from .fills import PAPER_MAX, Array, nearest_true
from .gaps import close_gaps

Gap = float | Literal["auto"]
"""px, or found by itself."""

LINE_THRESHOLD = 0.5
"""Sketch value above which a pixel is a line, which parts two regions."""
SCORE_WEIGHTS = {"overlap": 1.0, "position": 1.0, "area": 1.0, "shape": 1.0, "neighbors": 2.0}
"""Weight of each term of `match_scores`."""
NEIGHBOR_ROUNDS = 2
"""How often the scores of a region's neighbors are added to its own."""
SAME_COLOR = 0.15
"""Distance of two colors, Euclidean over RGB in [0, 1], below which a gap between them is not closed."""
POSITION_SCALE = 0.25
"""Distance, of the frame's height, at which the likeness of two regions' positions has fallen to 1/e."""


def between_lines(lines: Array, gap: float = 0.0) -> Array:
    """Number the 4-connected regions between lines: mask (H W) bool, True on a line => (H W) int, from 1; 0 on lines.

    gap  px. Regions that are joined only through gaps up to this width are parted there, as if a ball of that size
         could not pass (trapped-ball segmentation: Zhang et al. 2009, Vectorizing Cartoon Animations). It parts narrow
         necks too.
    """
    free = (~lines).astype(np.uint8)
    connected = cv2.connectedComponents(free, connectivity=4)[1]
    if not gap:
        return connected
    to_line = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5)
    balls = cv2.connectedComponents((to_line > gap / 2).astype(np.uint8), connectivity=4)[1]
    narrow = ~np.isin(connected, np.unique(connected[balls > 0])) & (connected > 0)  # where no ball fits
    found = np.where(narrow, connected + balls.max(), balls).astype(np.float32)  # dilate takes no int32
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while (grows := (found == 0) & (free > 0) & (cv2.dilate(found, cross) > 0)).any():
        found[grows] = cv2.dilate(found, cross)[grows]
    return np.unique(np.append(0, found), return_inverse=True)[1][1:].reshape(lines.shape)


@dataclass
class Regions:
    """The regions of one drawing."""

    map: Array
    """(H W) the number, from 0, of the region that a pixel is in or nearest to."""
    area: Array
    """(a) px."""
    center: Array
    """(a 2) y, x as fractions of the frame's height."""
    shape: Array
    """(a 3) logarithms of roundness, elongation and spread, which change little when a region moves, turns or grows."""
    borders: Array
    """(a a) the fraction of a region's border that it has in common with each of the others."""

    parts: Array
    """(p) of each part that gaps leave: the number of its region, from 0. Where color parts more: (H W) the number of
    the region, from 1, 0 on lines."""

    @classmethod
    def from_lines(
        cls,
        drawn: Array,
        gap: Gap = "auto",
        frame: Array | None = None,
        parts: Array | None = None,
        by_color: bool = True,
    ) -> Regions:
        """Find the regions of what is drawn (H W).

        gap    see `between_lines`; "auto": gaps are found, see `gaps`
        frame  (H W 3), the same in color: what a gap parts, and has one color here, stays one region; what has two
               colors on two sides of a broken line becomes two
        parts  which parts are one region, as `parts` of the same drawing says; then no frame is needed
        by_color  whether the frame's colors may part what no gap parts
        """
        H, W = drawn.shape
        lines = drawn > LINE_THRESHOLD
        found = between_lines(lines, 0.0 if gap == "auto" else gap)
        if gap == "auto":
            if parts is not None and parts.ndim == 2:
                found = parts
            else:
                parted = close_gaps(lines, found)
                if parts is None:
                    parts = _same_color(parted, found, frame, drawn) if frame is not None else np.arange(parted.max())
                found = np.append(0, parts + 1)[parted]
                if frame is not None and by_color and (colored := part_by_color(found, frame, drawn)) is not found:
                    found = parts = colored
        parts = np.arange(found.max()) if parts is None else parts
        inside = found[nearest_true(found > 0)] - 1 if found.any() else np.zeros((H, W), np.int64)
        count = int(inside.max()) + 1
        numbered = np.where(found > 0, found - 1, -1) if found.any() else inside
        flat, counted = numbered.ravel(), numbered.ravel() >= 0
        y, x = (grid.ravel()[counted] / H for grid in np.mgrid[:H, :W])
        area = np.bincount(flat[counted], minlength=count)

        def mean(values: Array) -> Array:
            return np.bincount(flat[counted], values, count) / area

        cy, cx = mean(y), mean(x)
        yy, xx, xy = mean(y * y) - cy**2, mean(x * x) - cx**2, mean(x * y) - cy * cx
        middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
        spread = area / H**2 / (4 * np.pi * np.sqrt(np.maximum(middle**2 - half**2, 1e-9)))  # 1 for an ellipse
        long = np.sqrt((middle + half + 1e-5) / (np.maximum(middle - half, 0) + 1e-5))
        edge = np.bincount(flat[counted], _edges(numbered).ravel()[counted], count) + 1
        round_ = np.log(4 * np.pi * area / edge**2 + 1e-3)
        shape = np.stack([round_, np.log(long), np.log(spread + 1e-3)], -1)
        return cls(inside, area, np.stack([cy, cx], -1), shape, _borders(inside, count), parts)


def _same_color(parted: Array, whole: Array, frame: Array, drawn: Array) -> Array:
    """Return the number of a region (p), from 0, for each of the parts (H W) of whole regions (H W), from 1."""
    of = np.zeros(parted.max() + 1, int)
    of[parted] = whole
    split = np.flatnonzero(np.bincount(of)[of] > 1)
    split = split[split > 0]
    name = np.arange(len(of))
    if len(split):
        inside = np.isin(parted, split)
        counted = inside & (drawn <= PAPER_MAX)
        color = {}
        for part in split:
            here = parted == part
            clear = here & counted
            color[part] = np.median(frame[clear if clear.any() else here], 0)
        for i, part in enumerate(split):
            for other in split[:i]:
                if of[other] == of[part] and np.square(color[other] - color[part]).sum() < SAME_COLOR**2:
                    name[name == name[part]] = name[other]
    return np.unique(name[1:], return_inverse=True)[1]


def _edges(regions: Array) -> Array:
    """(H W) => 1.0 where a neighbor is of another region"""
    padded = np.pad(regions, 1, constant_values=-2)
    center = padded[1:-1, 1:-1]
    others = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([other != center for other in others], 0).astype(float)


def _borders(inside: Array, count: int) -> Array:
    """(H W) => (a a), rows that sum to 1, or 0 for a region alone"""
    shared = np.zeros((count, count))
    for one, other in ((inside[:, 1:], inside[:, :-1]), (inside[1:], inside[:-1])):
        apart = one != other
        np.add.at(shared, (one[apart], other[apart]), 1)
    shared += shared.T
    return shared / np.maximum(shared.sum(1, keepdims=True), 1)


def overlaps(a: Regions, b: Regions) -> tuple[Array, Array]:
    """Find the region of b that each of a overlaps most => their numbers (a), and the overlap (a), of the union.

    Every second pixel is looked at.
    """
    one, other = a.map[::2, ::2].ravel(), b.map[::2, ::2].ravel()
    meet = np.bincount(one * len(b.area) + other, minlength=len(a.area) * len(b.area)).reshape(len(a.area), -1)
    best = meet.argmax(1)
    most = meet[np.arange(len(best)), best]
    union = meet.sum(1) + meet.sum(0)[best] - most
    return best, most / np.maximum(union, 1)


def match_scores(a: Regions, b: Regions) -> Array:
    """Score each pair of regions of two drawings => (a b), larger for regions that are more likely the same."""
    meet = np.zeros((len(a.area), len(b.area)))
    np.add.at(meet, (a.map.ravel(), b.map.ravel()), 1)
    union = meet.sum(1)[:, None] + meet.sum(0) - meet
    distance = np.square(a.center[:, None] - b.center).sum(-1)
    ratio = np.abs(np.log(a.area[:, None] / b.area))
    form = np.square(a.shape[:, None] - b.shape).sum(-1)
    alike = (
        SCORE_WEIGHTS["overlap"] * meet / union
        + SCORE_WEIGHTS["position"] * np.exp(-distance / POSITION_SCALE**2)
        + SCORE_WEIGHTS["area"] * np.exp(-ratio)
        + SCORE_WEIGHTS["shape"] * np.exp(-form)
    )
    total = alike
    for _ in range(NEIGHBOR_ROUNDS):
        sure = np.square(total / total.max())
        best = np.stack([sure[:, row > 0].max(1, initial=0) for row in b.borders], 1)  # (a b): among the neighbors of b
        total = alike + SCORE_WEIGHTS["neighbors"] * (a.borders @ best)
    return total
