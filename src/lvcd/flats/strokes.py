"""Strokes of color over a filled drawing: each region that a stroke touches takes its color.

letters: H W pixels. Ink and trace lines are in [0, 1], 1 on a line; colors are uint8.
"""

from __future__ import annotations

import numpy as np

from .exact_colors import color_codes, colors_of_codes, hex_names
from .fills import PAPER_MAX, Array, nearest_true
from .regions import LINE_THRESHOLD, Gap, Regions

MIN_TOUCH_PX = 4
"""A stroke that runs over a line touches the region behind it from so many pixels on, or from half of a smaller one."""
SOLID = 128
"""From this alpha on, of 255, a pixel belongs to a stroke: soft edges do not."""


def paint_strokes(
    frame: Array,  # uint8 (H W 3) or (H W 4), the drawing as it is filled
    ink: Array,  # (H W)
    trace: Array | None,  # (H W), trace lines; None = there are none
    strokes: Array,  # uint8 (H W 4), clear where there is no stroke
    gap: Gap = "auto",  # px: see `Regions.from_lines`
) -> tuple[Array, list[str]]:
    """Give regions the color of the stroke that touches them => the frame, and what should be said, one line each.

    A region that several colors touch takes the one of most pixels. What of a stroke is on a line does not count. Under
    soft lines the new fill mixes with the line as the old one did. A clear region is painted.
    """
    drawn = ink if trace is None else np.maximum(ink, trace)
    regions = Regions.from_lines(drawn, gap, frame[..., :3].astype(np.float32) / 255)
    touched = (strokes[..., 3] >= SOLID) & (drawn <= LINE_THRESHOLD)
    found, notes = frame.copy(), []
    pixels = np.bincount(regions.map[touched], minlength=len(regions.area))
    for region in np.flatnonzero(pixels >= np.clip(regions.area / 2, 1, MIN_TOUCH_PX)):
        inside = regions.map == region
        codes, times = np.unique(color_codes(strokes[touched & inside][:, :3]), return_counts=True)
        color = colors_of_codes(codes[times.argmax()])
        if (times >= MIN_TOUCH_PX).sum() > 1:
            y, x = (int(place.mean()) for place in np.nonzero(touched & inside))
            used = ", ".join(hex_names(colors_of_codes(codes[times >= MIN_TOUCH_PX]).astype(np.uint8)))
            notes.append(f"the region around {x}, {y} is touched by {used}: it takes {hex_names(color[None])[0]}")
        _refill(found, frame, inside, ink, drawn, color)
    return found, notes


def _refill(found: Array, frame: Array, inside: Array, ink: Array, drawn: Array, color: Array) -> None:
    """Write a color (3) into `found` for what a frame shows of a fill inside a region (H W) bool."""
    clear = inside & (drawn <= PAPER_MAX)
    old = frame[nearest_true(clear)][..., :3].astype(np.float32) if clear.any() else frame[..., :3].astype(np.float32)
    share = np.where(ink > PAPER_MAX, 1 - ink, 1)[..., None]  # of the fill in a pixel
    shown = frame[..., :3] + share * (color - old)
    mixed = inside & (ink > PAPER_MAX)
    found[mixed, :3] = np.clip(np.rint(shown[mixed]), 0, 255)
    plain = inside & (ink <= PAPER_MAX)
    plain &= clear | (np.abs(frame[..., :3] - old) <= 2).all(-1)  # a painted trace line may show the fill beside it
    found[plain, :3] = color
    if frame.shape[2] == 4:
        found[inside & (frame[..., 3] < SOLID) & (ink <= PAPER_MAX), 3] = 255
