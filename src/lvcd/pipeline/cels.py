"""Cels: filled drawings with clear paper, in layers, or without anti-aliasing, as compositing takes them.

letters: H W pixels. Colors and coverage are in [0, 1].
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from lvcd.flats import Cel, ground_of, hard, nearest_entries
from lvcd.io.frame_formats import LayeredFrame
from lvcd.lineart.sketch import Array

from .flat_filler import FlatFiller
from .render_settings import RenderSettings


class CelMaker:
    """Makes the output's frames of what a filler filled.

    ground   (3), the color of the ground of the reference; None = it shows none
    """

    def __init__(self, settings: RenderSettings, ground: Array | None):
        self.settings, self.ground = settings, ground

    def __call__(self, filler: FlatFiller) -> Array | LayeredFrame:
        """Return the drawing that was filled last, as uint8 (H W 3), (H W 4) with clear paper, or in layers."""
        settings, cel = self.settings, filler.bucket.cel
        assert cel is not None
        traces = filler.traces
        if settings.aliased:
            cel = Cel(exact_fill(cel, filler), cel.line, cel.coverage, cel.ground).aliased()
            traces = [(hard(cover), color) for cover, color in traces]
        shown = traces if settings.trace == "keep" else []
        painted = np.ones(cel.ground.shape, np.float32)
        merged = _stack([(cel.fill, painted if not settings.alpha else (~cel.ground).astype(np.float32)),
                         (cel.line, cel.coverage), *((color, cover) for cover, color in shown)])  # fmt: skip
        whole = merged if settings.alpha else merged[..., :3]
        if not settings.layers:
            return whole
        layers = {
            "ground": _stack([] if self.ground is None else [(self.ground, painted)], painted.shape),
            "color": _stack([(cel.fill, (~cel.ground).astype(np.float32))]),
            "trace": _stack([(color, cover) for cover, color in traces], painted.shape),
            "line": _stack([(cel.line, cel.coverage)]),
        }
        hidden = {"ground"} if settings.alpha else set()
        return LayeredFrame(whole, layers, frozenset(hidden if shown else {*hidden, "trace"}))


def find_ground(reference: Tensor, ink: Array, picture: Array) -> tuple[Array, Array | None]:
    """Find where a reference (3 H W) shows its ground => (H W) bool, and the ground's color (3), None without any.

    ink: (H W), its lines. picture: the same as uint8 (H W 3) or (H W 4), with its transparency.
    """
    frame = reference.movedim(0, -1).numpy()
    ground = ground_of(frame, ink, picture[..., 3] / np.float32(255) if picture.shape[2] == 4 else None)
    return ground, np.median(frame[ground], 0).astype(np.float32) if ground.any() else None


def exact_fill(cel: Cel, filler: FlatFiller) -> Array:
    """Return the fill (H W 3) in colors of the palette, or of the reference, alone: the nearest of what is kept."""
    bucket = filler.bucket
    kept = bucket.kept[bucket.before.map]
    if not kept.any():
        return cel.fill
    colors = bucket.palette_of_reference if bucket.palette is None else bucket.palette / np.float32(255)
    unique = np.unique(np.rint(colors * 255).astype(np.uint8), axis=0)
    fill = cel.fill.copy()
    for start in range(0, len(unique), 256):  # numbers of a palette are bytes
        part = unique[start : start + 256]
        nearest = part[nearest_entries(cel.fill[kept], part)].astype(np.float32) / 255
        closer = np.square(nearest - cel.fill[kept]).sum(-1) < np.square(fill[kept] - cel.fill[kept]).sum(-1)
        fill[kept] = np.where(closer[:, None] | (start == 0), nearest, fill[kept])
    return fill


def _stack(parts: list[tuple[Array, Array]], shape: tuple[int, ...] | None = None) -> Array:
    """Lay colors (3) or (H W 3) of coverage (H W) over each other, the lowest first => uint8 (H W 4), straight."""
    if not parts:
        assert shape is not None
        return np.zeros((*shape[:2], 4), np.uint8)
    H, W = parts[0][1].shape
    color, alpha = np.zeros((H, W, 3), np.float32), np.zeros((H, W), np.float32)
    for over, cover in parts:
        if (alpha == 1).all():
            color = color + cover[..., None] * (over - color)
            continue
        total = cover + alpha * (1 - cover)
        share = np.divide(cover, total, out=np.ones_like(total), where=total > 0)[..., None]
        color, alpha = color + share * (over - color), total
    color[alpha == 0] = 0
    return np.rint(np.clip(np.dstack([color, alpha]), 0, 1) * 255).astype(np.uint8)
