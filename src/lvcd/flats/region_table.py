"""The table of a filled drawing's regions, for people to check: where each is, its color, how sure that color is."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from .bucket import PaintBucket
from .exact_colors import hex_names
from .fills import Array
from .indexed import nearest_entries
from .regions import LINE_THRESHOLD


def region_table(bucket: PaintBucket) -> dict[str, Any]:
    """Return the table of the drawing that a bucket filled last, as JSON values.

    regions  for each: area (px); box (top, left, bottom, right; px, the last two excluded); color; doubt in [0, 1], see
             `PaintBucket.doubt`; open: it is not filled; was: the color that it had in the drawing before, if it is
             another one; alone: no neighbor has its color
    lines    the colors of lines
    """
    palette = bucket.palette
    fills, lines = (_hex(bucket.matched[:, part], palette) for part in (slice(3), slice(3, 6)))
    was = _hex(bucket.was, palette)
    number_of = bucket.before.map.astype(np.int32) + 1
    wide = ndimage.find_objects(number_of)
    boxes = ndimage.find_objects(np.where(bucket.drawn <= LINE_THRESHOLD, number_of, 0), len(wide))
    rows = []
    for number, box in enumerate(boxes):
        box = box or wide[number]
        if box is None:
            continue
        neighbors = np.flatnonzero(bucket.before.borders[number])
        rows.append({
            "area": int(bucket.before.area[number]),
            "box": [box[0].start, box[1].start, box[0].stop, box[1].stop],
            "color": fills[number],
            "doubt": round(float(bucket.doubt[number]), 4),
            "open": bool(bucket.kept[number]),
            "was": was[number] if bucket.changed[number] and was[number] != fills[number] else None,
            "alone": bool(len(neighbors)) and all(fills[other] != fills[number] for other in neighbors),
        })  # fmt: skip
    return {"regions": rows, "lines": sorted(set(lines))}


def _hex(colors: Array, palette: Array | None) -> list[str]:
    """Return the names, #rrggbb, of colors (r 3) in [0, 1], or of the nearest in a palette, uint8 (n 3)."""
    return hex_names(colors if palette is None else palette[nearest_entries(colors, palette)])
