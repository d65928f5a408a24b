"""Pictures for people: contact sheets, and maps laid over a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray
GAP, LABEL, INK = 6, 16, (40, 40, 40)
GLOW = (255, 140, 0)


def contact_sheet(rows: Mapping[str, Sequence[Array | None]], scale: float = 1.0) -> Image.Image:
    """Rows of equally large frames, each under its name: {name: [uint8 (H W 3) or (H W), None = an empty place]}.

    `scale` enlarges small frames, without smoothing when it is a whole number.
    """
    first = next(frame for row in rows.values() for frame in row if frame is not None)
    height, width = (round(n * scale) for n in first.shape[:2])
    columns = max(len(row) for row in rows.values())
    sheet = Image.new(
        "RGB", (GAP + columns * (width + GAP), GAP + len(rows) * (LABEL + height + GAP)), color=(255, 255, 255)
    )
    draw = ImageDraw.Draw(sheet)
    for i, (name, row) in enumerate(rows.items()):
        top = GAP + i * (LABEL + height + GAP)
        draw.text((GAP, top), name, fill=INK)
        for j, frame in enumerate(row):
            if frame is not None:
                how = Image.Resampling.NEAREST if float(scale).is_integer() else Image.Resampling.BICUBIC
                picture = Image.fromarray(frame).convert("RGB").resize((width, height), how)
                sheet.paste(picture, (GAP + j * (width + GAP), top + LABEL))
    return sheet


def below(sheets: Sequence[Image.Image]) -> Image.Image:
    """One below another, as wide as the widest."""
    whole = Image.new("RGB", (max(s.width for s in sheets), sum(s.height for s in sheets)), color=(255, 255, 255))
    top = 0
    for sheet in sheets:
        whole.paste(sheet, (0, top))
        top += sheet.height
    return whole


def heat(frame: Array, weights: Array) -> Array:
    """A map (h w), 0 or more, as a glow over a greyed, darkened frame, uint8 (H W 3) => uint8 (H W 3).

    The largest weight is full orange, and zero is no glow. The map is scaled up smoothly.
    """
    grey = frame.astype(np.float32).mean(-1, keepdims=True) * 0.5 + 40
    share = (weights / max(float(weights.max()), 1e-12) * 255).round().astype(np.uint8)
    glow = Image.fromarray(share).resize(frame.shape[1::-1], Image.Resampling.BICUBIC)
    strength = np.asarray(glow, np.float32)[..., None] / 255
    return (grey * (1 - strength) + np.array(GLOW, np.float32) * strength).round().astype(np.uint8)


def mark(frame: Array, y: float, x: float) -> Array:
    """The frame, uint8 (H W 3), with a ring around the point (y, x), px from the top and the left."""
    picture = Image.fromarray(frame).convert("RGB")
    draw = ImageDraw.Draw(picture)
    for radius, ink in ((9, (255, 255, 255)), (8, INK), (7, INK), (6, (255, 255, 255))):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=ink)
    return np.asarray(picture)
