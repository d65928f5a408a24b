"""A click on a painted drawing as the strokes of color that `render_clip` takes as a scribble.

letters: H W pixels.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError
from lvcd.flats.regions import LINE_THRESHOLD, Gap, Regions
from lvcd.io.images import read_image, write_png
from lvcd.lineart.reading import Drawing

Array = np.ndarray[Any, Any]


def region_at(drawing: Drawing, frame: Array, gap: Gap, x: float, y: float) -> Array:
    """Return where the region under a point is, without lines, bool (H W).

    frame: uint8 (H W 3) or (H W 4), the drawing as it is painted. x, y: shares of width and height.
    InputError: the point is on a line.
    """
    height, width = drawing.ink.shape
    row, column = min(int(y * height), height - 1), min(int(x * width), width - 1)
    if drawing.lines[row, column] > LINE_THRESHOLD:
        raise InputError("there is a line: click inside a region")
    regions = Regions.from_lines(drawing.lines, gap, frame[..., :3].astype(np.float32) / 255)
    found: Array = (regions.map == regions.map[row, column]) & (drawing.lines <= LINE_THRESHOLD)
    return found


def add_stroke(file: Path, region: Array, color: tuple[int, int, int]) -> Array:
    """Add a region (H W), in a color, to the strokes in a file, which is made if it is not there => uint8 (H W 4)."""
    strokes = read_image(file).copy() if file.exists() else np.zeros((*region.shape, 4), np.uint8)
    strokes[region] = (*color, 255)
    file.parent.mkdir(exist_ok=True)
    write_png(file, strokes)
    return strokes


def parse_color(text: str) -> tuple[int, int, int]:
    """Read a color as browsers write it: #e0a080, or rgb(224, 160, 128). InputError: it is none."""
    if found := re.fullmatch(r"#([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})([0-9a-fA-F]{2})?", text.strip()):
        return int(found[1], 16), int(found[2], 16), int(found[3], 16)
    if re.fullmatch(r"rgba?\([0-9.,\s]+\)", text.strip()):
        numbers = [float(part) for part in re.findall(r"[0-9]+(?:\.[0-9]+)?", text)]
        if len(numbers) >= 3 and max(numbers[:3]) <= 255:
            return round(numbers[0]), round(numbers[1]), round(numbers[2])
    raise InputError(f"{text!r} is no color: choose one")
