"""Gaps in the lines of a drawing, found by themselves: the open end of a line is joined to what it points at.

A closed drawing has none, however narrow its regions are: two walls of a corridor have no ends. (Trapped-ball
segmentation parts corridors too; see `between_lines`.)

letters: H W pixels, n ends of lines.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .fills import Array

REACH, MIN_REACH_PX = 0.06, 6
"""Width of the widest gap between two open ends, of the drawing's height, and px at least."""
SIDE_REACH, MIN_SIDE_REACH_PX = 0.02, 3
"""The same between an open end and the side of a line, where most are meant: a mouth, a fold, a strand of hair."""
GAP_TO_ROOT_AREA = 0.35
"""A joint parts regions only where it is at most this times the square root of the smaller one's area: the mouth of a
shape that is wide open is no gap."""
MIN_AREA_PX = 12
"""Smaller parts are not parted."""
SIDEWAYS = 0.35
"""Cosine of the angle between the direction of a line's end and that of its joint, at least."""
RING_POINTS = 48
MAX_ENDS = 20_000
"""A drawing with more is grain, not lines."""


def close_gaps(lines: Array, regions: Array) -> Array:
    """Part regions at gaps in lines (H W) bool. regions: their numbers (H W), 0 on lines => the same, parted."""
    joints = [*_pinholes(lines), *_extensions(lines)]
    if not joints:
        return regions
    free = (~lines).astype(np.uint8)
    open_ = free.copy()
    for joint in joints:
        open_[joint.rows, joint.columns] = 0
    count, parts, stats, _ = cv2.connectedComponentsWithStats(open_, connectivity=4)
    area = stats[:, cv2.CC_STAT_AREA].astype(float)
    of_region = np.zeros(count, int)
    of_region[parts[open_ > 0]] = regions[open_ > 0]
    parent = np.arange(count)

    def find(one: int) -> int:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = int(parent[one])
        return one

    for joint in sorted(joints, key=lambda joint: -joint.length):  # the widest is the least likely to be a gap
        groups: dict[int, set[int]] = {}
        for part in _touching(parts, joint):
            groups.setdefault(int(of_region[part]), set()).add(find(part))
        for roots in groups.values():
            while len(roots) > 1:
                small, large, *_ = sorted(roots, key=lambda root: area[root])
                roots.discard(small)
                if area[small] < MIN_AREA_PX or joint.length > GAP_TO_ROOT_AREA * area[small] ** 0.5:
                    parent[small] = large
                    area[large] += area[small]
    root = np.array([find(one) for one in range(count)])
    parted = _grow(root[parts], free)
    parted = np.where((parted == 0) & (regions > 0), regions + count, parted)  # what lies under joints alone
    return np.unique(np.append(0, parted), return_inverse=True)[1][1:].reshape(lines.shape)


@dataclass(frozen=True)
class _Joint:
    """Pixels that may close a gap."""

    rows: Array
    columns: Array
    length: float
    """px: how wide the gap is."""


def _pinholes(lines: Array) -> list[_Joint]:
    """Return gaps that are narrower than the lines are wide, where a circle around the end would cross both sides."""
    solid: Array = lines.astype(np.uint8)
    edge = 4
    padded: Array = cv2.copyMakeBorder(solid, edge, edge, edge, edge, cv2.BORDER_REPLICATE)
    joints: list[_Joint] = []
    if not lines.any():
        return joints
    half = cv2.distanceTransform(padded, cv2.DIST_L2, 5)
    for gap in (2, 4):
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (gap + 1, gap + 1))
        added = (cv2.morphologyEx(padded, cv2.MORPH_CLOSE, kernel) - padded)[edge:-edge, edge:-edge]
        count, number, stats, _ = cv2.connectedComponentsWithStats(added, connectivity=8)
        width = cv2.dilate(half, np.ones((2 * gap + 3, 2 * gap + 3), np.uint8))[edge:-edge, edge:-edge]
        for i in range(1, count):
            left, top, w, h, size = stats[i]
            box = number[top : top + h, left : left + w] == i
            thick = 2 * float(width[top : top + h, left : left + w][box].min())
            if max(w, h) <= max(gap, thick) + 1 and size <= (gap + 1) * (thick + 1):
                rows, columns = np.nonzero(box)
                joints.append(_Joint(rows + top, columns + left, float(gap)))
    return joints


def _extensions(lines: Array) -> list[_Joint]:
    """Return the ways on from open ends of lines to the nearest line ahead."""
    ends, directions = line_ends(lines)
    if not 0 < len(ends) <= MAX_ENDS:
        return []
    found = []
    H, W = lines.shape
    for start, end in _ways(lines, ends, directions):
        (top, left), (bottom, right) = np.minimum(start, end), np.maximum(start, end)
        box = np.zeros((bottom - top + 5, right - left + 5), np.uint8)
        cv2.line(box, (start[1] - left + 2, start[0] - top + 2), (end[1] - left + 2, end[0] - top + 2), 1, 2)
        rows, columns = np.nonzero(box)  # two px wide, so that no 4-connected path crosses it
        rows, columns = rows + top - 2, columns + left - 2
        inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
        found.append(_Joint(rows[inside], columns[inside], float(np.hypot(*np.subtract(start, end)))))
    return found


def line_ends(lines: Array) -> tuple[Array, Array]:
    """Find the open ends of lines (H W) bool => row and column of each (n 2), and where it points (n 2), of length 1.

    An end is in the middle of a line, and a circle around it crosses that line once.
    """
    solid: Array = lines.astype(np.uint8)
    half = cv2.distanceTransform(cv2.copyMakeBorder(solid, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0), cv2.DIST_L2, 5)
    half = half[1:-1, 1:-1]
    middle = lines & (half >= cv2.dilate(half, np.ones((3, 3), np.uint8)) - 0.5)
    rows, columns = np.nonzero(middle)
    if not len(rows):
        return np.zeros((0, 2), int), np.zeros((0, 2))
    width = half[rows, columns]
    keep = width <= max(3.0, 0.012 * lines.shape[0])  # solid blacks have corners, not ends
    rows, columns, width = rows[keep], columns[keep], width[keep]
    angles = np.arange(RING_POINTS) * 2 * np.pi / RING_POINTS
    open_end = np.ones(len(rows), bool)
    toward = np.zeros((len(rows), 2))
    H, W = lines.shape
    for scale, more in ((1.5, 1.5), (2.0, 3.0)):  # two circles, so that a bump of a wide line is no end
        radius = scale * width + more
        y = np.rint(rows[:, None] + radius[:, None] * np.sin(angles)).astype(int)
        x = np.rint(columns[:, None] + radius[:, None] * np.cos(angles)).astype(int)
        inside = (y >= 0) & (y < H) & (x >= 0) & (x < W)
        ink = lines[y.clip(0, H - 1), x.clip(0, W - 1)]
        ink |= ~inside  # the frame closes what runs out of it
        arcs = (ink & ~np.roll(ink, 1, 1)).sum(1)
        arc = ink.sum(1) / RING_POINTS * 2 * np.pi * radius
        open_end &= (arcs == 1) & (arc <= 2.8 * width + 2)
        back = np.stack([(ink * np.sin(angles)).sum(1), (ink * np.cos(angles)).sum(1)], 1)
        toward = -back / np.maximum(np.linalg.norm(back, axis=1, keepdims=True), 1e-9)
    rows, columns, toward = rows[open_end], columns[open_end], toward[open_end]
    if not len(rows):
        return np.zeros((0, 2), int), np.zeros((0, 2))
    mask = np.zeros(lines.shape, np.uint8)  # one of each cluster: the foremost
    mask[rows, columns] = 1
    cluster = cv2.connectedComponents(cv2.dilate(mask, np.ones((3, 3), np.uint8)), connectivity=8)[1][rows, columns]
    ends, directions = [], []
    order = np.argsort(cluster, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1):
        direction = toward[members].mean(0)
        norm = np.linalg.norm(direction)
        if norm < 0.5:  # ends of two lines, or a dot
            continue
        direction = direction / norm
        first = members[np.argmax(rows[members] * direction[0] + columns[members] * direction[1])]
        ends.append((rows[first], columns[first]))
        directions.append(direction)
    return np.array(ends, int).reshape(-1, 2), np.array(directions).reshape(-1, 2)


def _ways(lines: Array, ends: Array, directions: Array) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return from where to where, each (row, column), lines are to be drawn on: the nearest line ahead of each end."""
    H, W = lines.shape
    reach, side_reach = max(MIN_REACH_PX, REACH * H), max(MIN_SIDE_REACH_PX, SIDE_REACH * H)
    near_end: Array = np.zeros(lines.shape, np.uint8)
    near_end[ends[:, 0], ends[:, 1]] = 1
    near_end = cv2.dilate(near_end, np.ones((7, 7), np.uint8))
    size = int(np.ceil(reach)) + 3
    dy, dx = np.mgrid[-size : size + 1, -size : size + 1].astype(np.float32)
    away = np.hypot(dy, dx)
    ways = []
    for (row, column), (ahead_y, ahead_x) in zip(ends.tolist(), directions.tolist()):
        top, left = max(0, row - size), max(0, column - size)
        bottom, right = min(H, row + size + 1), min(W, column + size + 1)
        part = np.s_[top - row + size : bottom - row + size, left - column + size : right - column + size]
        along = (dy[part] * ahead_y + dx[part] * ahead_x) / np.maximum(away[part], 1e-6)
        hit = lines[top:bottom, left:right] & (away[part] > 1.5) & (away[part] <= reach + 2) & (along >= SIDEWAYS)
        # the end's own tip lies ahead too: what is joined to it through ink is itself
        label = cv2.connectedComponents((lines[top:bottom, left:right] & (along >= SIDEWAYS - 0.2)
                                         | (away[part] <= 1.5)).astype(np.uint8), connectivity=8)[1]  # fmt: skip
        hit &= label != label[row - top, column - left]
        hit &= (near_end[top:bottom, left:right] > 0) | (away[part] <= side_reach + 2)
        if not hit.any():
            continue
        cost = np.where(hit, away[part] * (1.5 - 0.5 * along), np.inf)
        y, x = np.unravel_index(int(cost.argmin()), cost.shape)
        ways.append(((row, column), (int(y) + top, int(x) + left)))
    return ways


def _touching(parts: Array, joint: _Joint) -> set[int]:
    """Return the numbers of the parts that a joint touches."""
    H, W = parts.shape
    found: set[int] = set()
    for oy in (-1, 0, 1):
        for ox in (-1, 0, 1):
            found |= set(parts[(joint.rows + oy).clip(0, H - 1), (joint.columns + ox).clip(0, W - 1)].tolist())
    return found - {0}


def _grow(parts: Array, free: Array) -> Array:
    """Give free pixels without a number that of the part they touch, pixel by pixel."""
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    found = parts.astype(np.float32)
    while True:
        wide = cv2.dilate(found, cross)
        grows = (found == 0) & (free > 0) & (wide > 0)
        if not grows.any():
            return found.astype(np.int64)
        found[grows] = wide[grows]
