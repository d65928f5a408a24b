"""The regions between the lines of a drawing, and how alike those of two drawings are.

letters: a regions of one drawing, b of the other, H W pixels
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .ink import Array, nearest

LINE = 0.5
"""What is darker parts two regions."""
WEIGHTS = {"overlap": 1.0, "position": 1.0, "area": 1.0, "shape": 1.0, "neighbors": 2.0}
ROUNDS = 2
"""How often regions ask their neighbors whom those match."""
CLOSE = 0.25
"""Of the height: regions that move so far keep 1/e of their likeness in position."""


def between_lines(lines: Array, gap: float = 0.0) -> Array:
    """Mask (H W) bool, line = True -> numbers of the regions (H W), from 1 up, 0 on lines. 4-connected.

    gap  px: what is joined by no more than gaps of this width is parted there, as if a ball of this size could not
         pass (trapped-ball segmentation: Zhang et al. 2009, Vectorizing Cartoon Animations). It parts narrow necks too.
    """
    free = (~lines).astype(np.uint8)
    whole = cv2.connectedComponents(free, connectivity=4)[1]
    if not gap:
        return whole
    apart = cv2.distanceTransform(free, cv2.DIST_L2, cv2.DIST_MASK_5)
    balls = cv2.connectedComponents((apart > gap / 2).astype(np.uint8), connectivity=4)[1]
    narrow = ~np.isin(whole, np.unique(whole[balls > 0])) & (whole > 0)  # where no ball fits
    found = np.where(narrow, whole + balls.max(), balls).astype(np.float32)  # dilate takes no int32
    beside = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    while (grows := (found == 0) & (free > 0) & (cv2.dilate(found, beside) > 0)).any():
        found[grows] = cv2.dilate(found, beside)[grows]
    return np.unique(np.append(0, found), return_inverse=True)[1][1:].reshape(lines.shape)


@dataclass
class Regions:
    """The regions of one drawing."""

    map: Array
    """(H W) number of the region, from 0, that a pixel is in or nearest to"""
    area: Array
    """(a) px"""
    center: Array
    """(a 2) y, x as shares of the height"""
    shape: Array
    """(a 3) what does not change when a region moves, turns or grows: how round, how long, how much of its box"""
    beside: Array
    """(a a) share of a region's border that it has with each of the others"""

    @classmethod
    def of(cls, sketch: Array, gap: float = 0.0) -> Regions:
        """sketch (H W) in [0, 1]; gap: see `between_lines`"""
        H, W = sketch.shape
        found = between_lines(sketch > LINE, gap)
        inside = found[nearest(found > 0)] - 1 if found.any() else np.zeros((H, W), np.int64)
        count = int(inside.max()) + 1
        own = np.where(found > 0, found - 1, -1) if found.any() else inside
        flat, kept = own.ravel(), own.ravel() >= 0
        y, x = (grid.ravel()[kept] / H for grid in np.mgrid[:H, :W])
        area = np.bincount(flat[kept], minlength=count)

        def mean(values: Array) -> Array:
            return np.bincount(flat[kept], values, count) / area

        cy, cx = mean(y), mean(x)
        yy, xx, xy = mean(y * y) - cy**2, mean(x * x) - cx**2, mean(x * y) - cy * cx
        middle, half = (yy + xx) / 2, np.sqrt(((yy - xx) / 2) ** 2 + xy**2)
        spread = area / H**2 / (4 * np.pi * np.sqrt(np.maximum(middle**2 - half**2, 1e-9)))  # 1 for an ellipse
        long = np.sqrt((middle + half + 1e-5) / (np.maximum(middle - half, 0) + 1e-5))
        edge = np.bincount(flat[kept], _edges(own).ravel()[kept], count) + 1
        round_ = np.log(4 * np.pi * area / edge**2 + 1e-3)
        shape = np.stack([round_, np.log(long), np.log(spread + 1e-3)], -1)
        return cls(inside, area, np.stack([cy, cx], -1), shape, _beside(inside, count))


def _edges(regions: Array) -> Array:
    """(H W) => 1.0 where a neighbor is of another region"""
    padded = np.pad(regions, 1, constant_values=-2)
    center = padded[1:-1, 1:-1]
    others = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
    return np.any([other != center for other in others], 0).astype(float)


def _beside(inside: Array, count: int) -> Array:
    """(H W) => (a a), rows that sum to 1, or 0 for a region alone"""
    shared = np.zeros((count, count))
    for one, other in ((inside[:, 1:], inside[:, :-1]), (inside[1:], inside[:-1])):
        apart = one != other
        np.add.at(shared, (one[apart], other[apart]), 1)
    shared += shared.T
    return shared / np.maximum(shared.sum(1, keepdims=True), 1)


def likeness(a: Regions, b: Regions) -> Array:
    """(a b), larger for regions that are more likely the same."""
    meet = np.zeros((len(a.area), len(b.area)))
    np.add.at(meet, (a.map.ravel(), b.map.ravel()), 1)
    union = meet.sum(1)[:, None] + meet.sum(0) - meet
    distance = np.square(a.center[:, None] - b.center).sum(-1)
    ratio = np.abs(np.log(a.area[:, None] / b.area))
    form = np.square(a.shape[:, None] - b.shape).sum(-1)
    alike = (
        WEIGHTS["overlap"] * meet / union
        + WEIGHTS["position"] * np.exp(-distance / CLOSE**2)
        + WEIGHTS["area"] * np.exp(-ratio)
        + WEIGHTS["shape"] * np.exp(-form)
    )
    total = alike
    for _ in range(ROUNDS):
        sure = np.square(total / total.max())
        best = np.stack([(sure * (row > 0)).max(1) for row in b.beside], 1)  # (a b): among the neighbors of b
        total = alike + WEIGHTS["neighbors"] * (a.beside @ best)
    return total
