"""Flats: one color between lines, as cel animation is painted, and the paint bucket that a colorist fills them with."""

from .bucket import PaintBucket
from .fills import as_array, draw_lines_over, fill_lines, line_color
from .regions import between_lines

__all__ = ["PaintBucket", "as_array", "between_lines", "draw_lines_over", "fill_lines", "line_color"]
