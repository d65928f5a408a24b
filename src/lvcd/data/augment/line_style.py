"""Changes of line art, as other hands and programs draw it: thicker, thinner, moved, broken, dusty, black and white.

How much of it is drawn once for the clip: all its drawings are as thick and as worn as each other. Where it falls, the
gaps, the dust and the wobble, is drawn anew for every drawing, because every drawing is another sheet of paper: noise
that stood still would be dirt on the lens, and a network would learn to look past it at the next frame. A drawing
held for several frames is one sheet, and keeps its noise.

letters: t frames, H W pixels. Sketches are (t 1 H W) in [0, 1],
1.0 on a line. Lengths are px of a sketch 320 rows high. cv2 does what kornia.morphology does, twenty times as fast on
the one core that a loader's worker has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

Array = np.ndarray[Any, Any]
Rng = np.random.Generator


def thicken(sketches: Tensor, rng: Rng) -> Tensor:
    """Make lines wider by 1 or 2 px, and at least by one pixel: dilation."""
    brush = _brush(rng.integers(1, 3) * sketches.shape[-2] / 320)
    return _join([cv2.dilate(sheet, brush) for sheet in sketches[:, 0].numpy()])


def thin(sketches: Tensor, rng: Rng) -> Tensor:
    """Make lines narrower by 1 or 2 px, and at least by one pixel: erosion, but lines too narrow for it stay.

    One step of Lantuejoul's skeleton: what is left of the lines eroded, and what their opening loses. Before that a
    line gives up its grey edge, for a grey edge on both sides makes a narrow line look wide.
    """
    brush = _brush(rng.integers(1, 3) * sketches.shape[-2] / 320)
    edge = np.float32(rng.uniform(0.2, 0.4))
    other = (len(brush) - 1 - len(brush) // 2,) * 2  # the anchor that brings an even brush back to where it was

    def narrow(sheet: Array) -> Array:
        core = ((sheet - edge) / (1 - edge)).clip(0)
        eroded = cv2.erode(core, brush)
        return np.maximum(eroded, core - cv2.dilate(eroded, brush, anchor=other))

    return _join([narrow(sheet) for sheet in sketches[:, 0].numpy()])


def wobble(sketches: Tensor, rng: Rng) -> Tensor:
    """Move lines by a smooth field, of 0.3 to 1 px standard deviation, that turns every 12 to 40 px."""
    height, width = sketches.shape[-2:]
    scale = height / 320
    far, cell = rng.uniform(0.3, 1) * scale, rng.uniform(12, 40) * scale
    y, x = np.mgrid[:height, :width].astype(np.float32)

    def move(sheet: Array) -> Array:
        dx, dy = (np.float32(far) * _smooth(rng, height, width, cell) for _ in range(2))
        return cv2.remap(sheet, x + dx, y + dy, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE).clip(0, 1)

    return _per_drawing(sketches, move)


def breaks(sketches: Tensor, rng: Rng) -> Tensor:
    """Make gaps, most of 3 to 20 px, in 2 to 15 of 100 px of line."""
    height, width = sketches.shape[-2:]
    cell, fraction = rng.uniform(3, 10) * height / 320, rng.uniform(0.02, 0.15)

    def tear(sheet: Array) -> Array:
        noise = _smooth(rng, height, width, cell)
        limit = np.quantile(noise[::4, ::4], 1 - fraction)
        return sheet * ((limit - noise) * 4 + 0.5).clip(0, 1)

    return _per_drawing(sketches, tear)


def specks(sketches: Tensor, rng: Rng) -> Tensor:
    """Add up to 60 grains of dust and up to 6 pencil strokes that belong to nothing, darker or lighter."""
    height, width = sketches.shape[-2:]
    scale = height / 320
    grains, strokes = rng.uniform(5, 60), rng.uniform(0, 6)

    def soil(sheet: Array) -> Array:
        dirt = np.zeros((height, width), np.uint8)
        for lengths, thickness in [
            (np.full(rng.poisson(grains), 0.5), 2),
            (rng.uniform(5, 40, rng.poisson(strokes)), 1),
        ]:
            for length in lengths * scale:
                start, angle = rng.random(2) * (width, height), rng.uniform(0, 2 * np.pi)
                end = start + length * np.array([np.cos(angle), np.sin(angle)])
                a, b = ((point * 16).round().astype(int).tolist() for point in (start, end))
                shade = int(rng.integers(90, 256))
                cv2.line(dirt, a, b, shade, max(1, round(thickness * scale)), cv2.LINE_AA, shift=4)
        return np.maximum(sheet, dirt / np.float32(255))

    return _per_drawing(sketches, soil)


def binarize(sketches: Tensor, rng: Rng) -> Tensor:
    """Set every pixel to 0 or 1 at one threshold, 0.3 to 0.6, so that no grey line shows the colors."""
    return (sketches > rng.uniform(0.3, 0.6)).float()


def _brush(extra: float) -> Array:
    """Return a disc that makes a line wider by `extra` px, at least one; it is the same from all sides."""
    n = 1 + max(1, round(extra))
    at = np.arange(n) - (n - 1) / 2
    return (at[:, None] ** 2 + at**2 <= 0.85 * (n / 2) ** 2).astype(np.uint8)


def _smooth(rng: Rng, height: int, width: int, cell: float) -> Array:
    """Draw float32 noise (H W) of mean 0 and variance about 1 that turns every `cell` px."""
    rows, columns = (max(2, round(n / max(cell, 1))) + 1 for n in (height, width))
    noise = rng.standard_normal((rows, columns), np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)


def _per_drawing(sketches: Tensor, change: Callable[[Array], Array]) -> Tensor:
    """Change every drawing of (t 1 H W); one that is held for several frames is changed once."""
    frames = sketches[:, 0].numpy()
    changed: list[Array] = []
    for i, frame in enumerate(frames):
        held = i > 0 and np.array_equal(frame, frames[i - 1])
        changed.append(changed[-1] if held else change(frame))
    return _join(changed)


def _join(sheets: Sequence[Array]) -> Tensor:
    """Stack t drawings (H W) => (t 1 H W)."""
    return torch.from_numpy(np.stack(sheets).astype(np.float32, copy=False))[:, None]
