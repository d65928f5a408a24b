"""LazyBrush, the free rival in the colorist's own program: fills that grow from scribbles by minimum cuts.

Sykora, Dingliana, Collins: LazyBrush: Flexible Painting Tool for Hand-drawn Cartoons, Eurographics 2009. It is in
TVPaint, and in Krita as the colorize mask.

letters: l labels, one for each color; H W pixels. Frames are RGB in [0, 1]; ink is in [0, 1], 1 on a line.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import cv2
import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from lvcd.errors import InputError
from lvcd.flats import PAPER_MAX, as_array, draw_lines_over, line_color
from lvcd.flats.fills import Array

from .line_flow import LineFlow

SOFT = 0.3
"""Cost of each pixel of a scribble that gets another color, of that of a cut through a pixel of paper: scribbles are
soft, and where they overlap a line the larger part of one decides. Of 0.05, 0.3, 1 and 4 the one with the highest
SegmentAccuracy on 4 clips of the validation split."""
CORE = 0.5
"""A scribble covers what is at least so far from the edge of its area, of the distance of the area's middle."""
MIN_SCRIBBLE_PX = 3
"""Smaller areas get no scribble."""
MAX_COLORS = 64
"""A reference with more has scribbles of the colors of the largest areas alone."""
EDGE = 8 / 255
"""Difference of a channel from one pixel to the next above which two areas of the reference meet there."""
SAME_COLOR = 4 / 255
"""Difference of all channels up to which two areas have one color."""


class LazyBrush:
    """`Method` that fills each drawing from scribbles, as a colorist who places them once, on the reference.

    The scribbles of the reference are the cores of its areas of one color, as it shows them between its lines, so that
    there is one for every part, also where lines are open. Those of each later drawing are the cores of what was filled
    in the drawing before, carried along the flow of the lines (`LineFlow`). Nobody corrects them; a colorist would, so
    a score is that of LazyBrush without its user. Lines are drawn over the fills in the color of the reference's.
    InputError: PyMaxflow is not installed, or frames are too small for a flow.
    """

    name = "lazybrush"

    def __init__(self) -> None:
        if importlib.util.find_spec("maxflow") is None:
            raise InputError("method=lazybrush needs PyMaxflow, which is under the GPL: pip install lvcd[lazybrush]")
        self.settings: dict[str, Any] = {
            "kind": "lazybrush", "soft": SOFT, "core": CORE, "least": MIN_SCRIBBLE_PX, "colors": MAX_COLORS,
            **LineFlow.settings,
        }  # fmt: skip
        self._flow = LineFlow()

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        frame, before = as_array(reference), as_array(reference_sketch)[..., 0]
        scribbles, colors = scribbles_of(frame, before)
        ink_color, painted = line_color(frame, before), []
        for sketch in as_array(sketches)[..., 0]:
            labels = grow_scribbles(sketch, self._flow.carry(scribbles.astype(np.int16), before, sketch))
            painted.append(draw_lines_over(colors[labels], sketch, ink_color))
            scribbles, before = cores(labels, sketch), sketch
        return torch.from_numpy(np.stack(painted).astype(np.float32)).movedim(-1, 1)


def scribbles_of(frame: Array, ink: Array) -> tuple[Array, Array]:
    """Place scribbles on a colored frame (H W 3) with lines (H W) => labels (H W), -1 without one, and colors (l 3)."""
    areas, sizes = _areas(frame, ink <= PAPER_MAX)
    labels, colors = np.full(ink.shape, -1), np.zeros((0, 3), np.float32)
    for area in np.argsort(-sizes, kind="stable"):
        if sizes[area] < MIN_SCRIBBLE_PX:
            break
        here = areas == area
        color = _middle(frame[here])
        same = np.flatnonzero((np.abs(colors - color) <= SAME_COLOR).all(1))
        if not len(same) and len(colors) < MAX_COLORS:
            same, colors = np.array([len(colors)]), np.append(colors, color[None], 0)
        if len(same):
            labels[here] = same[0]
    if not len(colors):  # nothing has a color of its own: one color, the middle of all
        return np.zeros(ink.shape, int), _middle(frame.reshape(-1, 3))[None]
    return cores(labels, ink), colors


def _areas(frame: Array, clear: Array) -> tuple[Array, Array]:
    """Number the areas of clear pixels (H W) bool over which a frame (H W 3) changes by EDGE a pixel at most => numbers
    (H W), -1 where not clear, and sizes, px."""
    number = np.arange(clear.size).reshape(clear.shape)
    pairs = []
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        alike = (np.abs(frame[one] - frame[other]) <= EDGE).all(-1) & clear[one] & clear[other]
        pairs.append((number[one][alike], number[other][alike]))
    start, end = (np.concatenate(ends) for ends in zip(*pairs))
    graph = coo_matrix((np.ones(len(start), bool), (start, end)), (clear.size, clear.size))
    areas = np.where(clear, connected_components(graph, directed=False)[1].reshape(clear.shape), -1)
    return areas, np.bincount(areas[clear], minlength=int(areas.max()) + 1)


def _middle(pixels: Array) -> Array:
    """Return the one of pixels (n 3) that is nearest to their median."""
    return pixels[np.square(pixels - np.median(pixels, 0)).sum(1).argmin()]


def cores(labels: Array, ink: Array) -> Array:
    """Return the labels (H W) of the middle of each area of one label between lines (H W), -1 elsewhere."""
    clear = (labels >= 0) & (ink <= PAPER_MAX)
    inside = clear.copy()
    for one, other in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        inside[one] &= ~(clear[other] & (labels[one] != labels[other]))
    distance = cv2.distanceTransform(inside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    areas = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)[1].astype(np.intp)
    middle = np.zeros(areas.max() + 1, np.float32)
    np.maximum.at(middle, areas, distance)
    return np.where(inside & (distance >= CORE * middle[areas]), labels, -1)


def grow_scribbles(ink: Array, scribbles: Array) -> Array:
    """Give each pixel of a drawing (H W) a label, by scribbles (H W), -1 without one => labels (H W).

    It minimizes the sum of the cost of cuts, 1 + K (1 - ink) between neighbors of two labels, K = 2 (H + W), so that a
    cut along all of the frame's border on black lines costs less than one pixel of paper; and of the cost of scribbles
    that get another label, SOFT K for each pixel. Exact for two labels; for more, labels are cut off one by one, the
    frequent ones first, as in the paper.
    """
    import maxflow

    H, W = ink.shape
    present, times = np.unique(scribbles[scribbles >= 0], return_counts=True)
    if not len(present):
        return np.zeros(ink.shape, int)
    order = present[np.argsort(-times, kind="stable")]
    K = 2 * (H + W)
    right, below = np.zeros((2, H, W), np.int64)  # between a pixel and its neighbor
    light = 1 - ink.astype(np.float64)
    right[:, :-1] = np.rint(1 + K * np.minimum(light[:, :-1], light[:, 1:]))
    below[:-1] = np.rint(1 + K * np.minimum(light[:-1], light[1:]))
    soft = max(1, round(SOFT * K))
    found, left = np.full((H, W), order[-1]), np.ones((H, W), bool)
    for label in order[:-1]:
        graph = maxflow.GraphInt(H * W, 2 * H * W)
        nodes = graph.add_grid_nodes((H, W))
        for weights, axis in ((right, 1), (below, 0)):
            structure = np.zeros((3, 3), int)
            structure[(1, 2) if axis else (2, 1)] = 1
            both = left & np.roll(left, -1, axis)
            graph.add_grid_edges(nodes, weights * both, structure, symmetric=True)
        own, other = (scribbles == label) & left, (scribbles >= 0) & (scribbles != label) & left
        graph.add_grid_tedges(nodes, soft * own, soft * other)
        graph.maxflow()
        mine = ~graph.get_grid_segments(nodes) & left
        found[mine] = label
        left &= ~mine
    return found
