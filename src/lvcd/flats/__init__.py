"""Flats: one color between lines, as cel animation is painted, and the paint bucket that a colorist fills them with."""

from .bucket import PaintBucket, Trace
from .cel import Cel, ground_of, hard
from .fills import PAPER_MAX, as_array, draw_lines_over, fill_lines, line_color
from .gaps import close_gaps
from .indexed import IndexedFrame, nearest_entries
from .regions import Gap, between_lines

__all__ = [
    "PAPER_MAX",
    "Cel",
    "Gap",
    "IndexedFrame",
    "PaintBucket",
    "Trace",
    "as_array",
    "between_lines",
    "close_gaps",
    "draw_lines_over",
    "fill_lines",
    "ground_of",
    "hard",
    "line_color",
    "nearest_entries",
]
