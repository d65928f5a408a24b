"""Exact 8-bit colors: as one number each, as #rrggbb, and where a picture has them without the mixtures of soft edges.

letters: n colors, H W pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from .fills import Array


def color_codes(colors: Array) -> Array:
    """Return one number, int64 (...), for each color (... 3): uint8, or floats in [0, 1]. Equal colors have equal ones.

    It is 0xrrggbb.
    """
    levels = colors if colors.dtype == np.uint8 else np.rint(colors * 255)
    return levels.astype(np.int64) @ np.array([0x10000, 0x100, 1])  # type: ignore[no-any-return]


def colors_of_codes(codes: Array) -> Array:
    """Return the colors (... 3) in 0 .. 255 of `color_codes` (...)."""
    return np.stack([codes >> 16, codes >> 8 & 255, codes & 255], -1)


def hex_names(colors: Array) -> list[str]:
    """Return the names, #rrggbb, of colors (n 3): uint8, or floats in [0, 1]."""
    return [f"#{code:06x}" for code in color_codes(colors).tolist()]


def colors_of_hex(names: list[str]) -> Array:
    """Return the colors, uint8 (n 3), of n names as #rrggbb. ValueError: one is no such name."""
    return colors_of_codes(np.array([int(name.removeprefix("#"), 16) for name in names], np.int64)).astype(np.uint8)


def even_pixels(picture: Array) -> Array:
    """Return which pixels of a picture (H W 3) have the color of all their neighbors (H W) bool: no soft edge does."""
    around = np.ones((3, 3), np.uint8)
    return (cv2.dilate(picture, around) == cv2.erode(picture, around)).all(-1)  # type: ignore[no-any-return]
