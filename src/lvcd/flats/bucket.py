"""Paint bucket: a region between lines takes the color of the region that it matches, as in a colorist's tool; where a
model has painted the frame, its colors help to choose.

letters: r regions of a drawing, H W pixels. Frames are RGB in [0, 1]; a sketch is in [0, 1], 1 on a line.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .fills import PAPER_MAX, Array, draw_lines_over, line_color
from .regions import LINE_THRESHOLD, NEIGHBOR_ROUNDS, POSITION_SCALE, SCORE_WEIGHTS, Regions, match_scores

REFERENCE_WEIGHT = 0.8
"""Weight of a match with a region of the reference; one with a region of the drawing before has 1."""
PAINTED_WEIGHT = 3.0
"""Weight of the likeness of colors, where a model has painted the frame; see SCORE_WEIGHTS for the others."""
SMALL_REGION = 0.0014
"""Area, of the frame's, of a region for which the likeness of colors counts half: paint runs over the lines around
small ones. With these numbers 24 drawn clips of the validation split come to 23.8 dB PSNR and SegmentAccuracy 0.66 with
the bundled model, to 20.4 and 0.59 by shapes alone; the model without flats has 22.1 and 0.43."""
COLOR_SCALE = 0.12
"""Distance of two colors, Euclidean over RGB in [0, 1], at which their likeness has fallen to e^-1/2."""


class PaintBucket:
    """A paint bucket that fills drawing after drawing with colors of the reference.

    A region is matched to the regions of the drawing before and of the reference by overlap, position, area and shape,
    and by what its neighbors match. Several may match one, as when a line parts it.
    """

    settings: dict[str, Any] = {
        "line": LINE_THRESHOLD, "weights": SCORE_WEIGHTS, "rounds": NEIGHBOR_ROUNDS, "reference": REFERENCE_WEIGHT,
        "close": POSITION_SCALE,
    }  # fmt: skip
    """What the filling depends on, as it is recorded with a result."""
    model_settings: dict[str, Any] = {"painted": PAINTED_WEIGHT, "shade": COLOR_SCALE, "small": SMALL_REGION}
    """The same, for what is added where a model has painted the frames."""

    def __init__(self, reference: Array, sketch: Array, gap: float = 0.0):
        """reference: the colored frame (H W 3); sketch: its line art (H W); gap: see `between_lines`."""
        self.gap = gap
        self.line_color = line_color(reference, sketch)
        self.first = self.before = Regions.from_sketch(sketch, gap)
        self.first_colors = self.colors = _medians(reference, self.first, sketch <= LINE_THRESHOLD)
        """(r 3): the color of each region of the reference, and of the drawing filled last."""

    def __call__(self, sketch: Array, painted: Array | None = None) -> Array:
        """Fill the next drawing (H W) => frame (H W 3). painted: the same frame as a model painted it (H W 3), if one
        did."""
        regions = Regions.from_sketch(sketch, self.gap)
        scores = np.concatenate(
            [match_scores(regions, self.before), REFERENCE_WEIGHT * match_scores(regions, self.first)], 1
        )
        colors = np.concatenate([self.colors, self.first_colors])
        if painted is not None:
            distance = np.square(_medians(painted, regions, sketch <= PAPER_MAX)[:, None] - colors).sum(-1)
            weight = PAINTED_WEIGHT * regions.area / (regions.area + SMALL_REGION * sketch.size)
            scores = scores + weight[:, None] * np.exp(-distance / (2 * COLOR_SCALE**2))
        self.before, self.colors = regions, colors[scores.argmax(1)]
        return draw_lines_over(self.colors[regions.map], sketch, self.line_color)

    def resume_after(self, sketch: Array, colors: Array) -> None:
        """Continue as if this drawing (H W) had been filled last; colors (r 3): `self.colors` as it was then."""
        self.before, self.colors = Regions.from_sketch(sketch, self.gap), colors


def _medians(frame: Array, regions: Regions, counted: Array) -> Array:
    """(r 3): the median color of each region's counted pixels; without any, of all that are in or nearest to it."""
    count = len(regions.area)
    has_any = np.bincount(regions.map[counted], minlength=count) > 0
    counted = counted | ~has_any[regions.map]
    order = np.argsort(regions.map[counted], kind="stable")
    ends = np.bincount(regions.map[counted], minlength=count).cumsum()
    return np.stack([np.median(part, 0) for part in np.split(frame[counted][order], ends[:-1])])
