"""Regions that lines do not close, parted where the color says so.

A region runs out through a hole in its line into what lies beside it, and gaps too wide to be found leave it so. Where
the frame is known in color, be it as a model painted it, the two have two colors, and nearly all of the border between
them is a line. A shade or a stain that a model painted inside a closed region has a border without a line, and parts
nothing.

letters: r regions, p parts, H W pixels. Frames are RGB in [0, 1]; what is drawn is in [0, 1], 1 on a line.
"""

from __future__ import annotations

import cv2
import numpy as np

from .fills import PAPER_MAX, Array, nearest_true

FAR = 0.3
"""Distance of two colors, Euclidean over RGB in [0, 1], above which they are two fills."""
MIN_PART, MIN_PART_PX = 8e-4, 12
"""Area of the smallest part, of the frame's, and px at least."""
MAX_OPEN = 0.25
"""Of the border of a part, without the frame's own: the fraction that no line runs along, at most. Half a disk, parted
from the other half, has 0.39."""
ROUNDS = 3
"""How often what is left is parted again."""


def part_by_color(regions: Array, frame: Array, drawn: Array) -> Array:
    """Part regions (H W), numbered from 1, 0 on lines, by the colors of a frame (H W 3) => the same, with more numbers.

    drawn  (H W), what parted them
    """
    found = regions
    clear = (drawn <= PAPER_MAX) & (regions > 0)
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))
    least = max(MIN_PART_PX, MIN_PART * drawn.size)
    for _ in range(ROUNDS):
        far = clear & (np.square(frame - _main_colors(found, frame, clear)[found]).sum(-1) > FAR**2)
        core = cv2.morphologyEx(far.astype(np.uint8), cv2.MORPH_OPEN, disk) > 0
        sizes = np.bincount(found[core], minlength=int(found.max()) + 1)
        before = found
        for region in np.flatnonzero(sizes >= least):
            found = _part(found, int(region), core, clear & ~far, least)
        if found is before:
            break
    return found


def _main_colors(regions: Array, frame: Array, clear: Array) -> Array:
    """Return the most frequent color (r 3) of the clear pixels of each region, to an eighth of the range."""
    number, pixel = regions[clear].astype(np.int64), frame[clear]
    code = np.minimum(pixel * 8, 7).astype(np.int64) @ np.array([64, 8, 1])
    keys, which, times = np.unique(number << 9 | code, return_inverse=True, return_counts=True)
    mean = np.stack([np.bincount(which, channel) for channel in pixel.T], -1) / times[:, None]
    order = np.lexsort((times, keys >> 9))  # the most frequent of a region comes last
    colors = np.zeros((int(regions.max()) + 1, 3), np.float32)
    colors[(keys >> 9)[order]] = mean[order]
    return colors


def _part(regions: Array, region: int, core: Array, rest: Array, least: float) -> Array:
    """Part one region (H W) where large pieces of `core` (H W) bool, of another color than `rest`, lie behind lines."""
    rows, columns = np.nonzero(regions == region)
    box = np.s_[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    here = regions[box] == region
    count, piece, stats, _ = cv2.connectedComponentsWithStats((core[box] & here).astype(np.uint8), connectivity=4)
    large = np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] >= least) + 1
    others = rest[box] & here
    if not len(large) or not others.any():
        return regions
    seed = np.where(np.isin(piece, large), piece, 0)
    side = np.where(here, seed[nearest_true((seed > 0) | others)], -1)
    parted = regions
    for one in large:
        mine = side == one
        opened, closed = _border(mine, here)
        if mine.sum() >= least and opened <= MAX_OPEN * (opened + closed):
            parted = parted.copy() if parted is regions else parted
            parted[box][mine] = parted.max() + 1
    return parted


def _border(mine: Array, here: Array) -> tuple[int, int]:
    """Return the length, px, of the border of a part (H W) bool to the rest of its region, and to what lies around."""
    opened = closed = 0
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        for inner, outer in ((one, other), (other, one)):
            edge = mine[inner] & ~mine[outer]
            opened += int((edge & here[outer]).sum())
            closed += int((edge & ~here[outer]).sum())
    return opened, closed
