"""Images for people: contact sheets, heat maps over a frame, and marked points.

letters: H W pixels, h w cells of a map
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

Array = np.ndarray
GAP_PX, LABEL_HEIGHT_PX = 6, 16
WHITE, TEXT_COLOR, HEAT_COLOR = (255, 255, 255), (40, 40, 40), (255, 140, 0)


def contact_sheet(rows: Mapping[str, Sequence[Array | None]], scale: float = 1.0, labels: bool = True) -> Image.Image:
    """Draw rows of equally large frames, each below its label.

    rows: label -> frames, uint8 (H W 3) RGB or (H W) grey; None leaves a place empty. scale: enlarges small frames,
    without smoothing where it is a whole number. labels: False leaves the labels out.
    """
    first = next(frame for row in rows.values() for frame in row if frame is not None)
    height, width = (round(n * scale) for n in first.shape[:2])
    columns = max(len(row) for row in rows.values())
    above = LABEL_HEIGHT_PX if labels else 0
    size = GAP_PX + columns * (width + GAP_PX), GAP_PX + len(rows) * (above + height + GAP_PX)
    sheet = Image.new("RGB", size, color=WHITE)
    draw = ImageDraw.Draw(sheet)
    resampling = Image.Resampling.NEAREST if float(scale).is_integer() else Image.Resampling.BICUBIC
    for i, (label, row) in enumerate(rows.items()):
        top = GAP_PX + i * (above + height + GAP_PX)
        if labels:
            draw.text((GAP_PX, top), label, fill=TEXT_COLOR)
        for j, frame in enumerate(row):
            if frame is not None:
                image = Image.fromarray(frame).convert("RGB").resize((width, height), resampling)
                sheet.paste(image, (GAP_PX + j * (width + GAP_PX), top + above))
    return sheet


def vstack(images: Sequence[Image.Image]) -> Image.Image:
    """Paste images one below another, on white as wide as the widest."""
    size = max(image.width for image in images), sum(image.height for image in images)
    stacked = Image.new("RGB", size, color=WHITE)
    top = 0
    for image in images:
        stacked.paste(image, (0, top))
        top += image.height
    return stacked


def overlay_heatmap(frame: Array, weights: Array) -> Array:
    """Draw a map (h w) of weights >= 0 over a greyed, darkened frame, both uint8 (H W 3).

    The largest weight is full orange, and a weight of 0 leaves the grey. The map is enlarged smoothly.
    """
    grey = frame.astype(np.float32).mean(-1, keepdims=True) * 0.5 + 40
    levels = (weights / max(float(weights.max()), 1e-12) * 255).round().astype(np.uint8)
    enlarged = Image.fromarray(levels).resize(frame.shape[1::-1], Image.Resampling.BICUBIC)
    strength = np.asarray(enlarged, np.float32)[..., None] / 255
    return (grey * (1 - strength) + np.array(HEAT_COLOR, np.float32) * strength).round().astype(np.uint8)


def draw_ring(frame: Array, y: float, x: float) -> Array:
    """Return the frame, uint8 (H W 3), with a ring around the point (y, x), in px from the top and the left."""
    image = Image.fromarray(frame).convert("RGB")
    draw = ImageDraw.Draw(image)
    for radius, color in ((9, WHITE), (8, TEXT_COLOR), (7, TEXT_COLOR), (6, WHITE)):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=color)
    return np.asarray(image)
