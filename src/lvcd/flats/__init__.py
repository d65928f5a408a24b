"""Flats: one color between lines, as cel animation is painted, and a colorist's paint bucket."""

from .bucket import PaintBucket
from .ink import as_array, fills, ink, inked
from .regions import between_lines

__all__ = ["PaintBucket", "as_array", "between_lines", "fills", "ink", "inked"]
