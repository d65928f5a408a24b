"""What stands still stays: where the lines of a frame are those of a reference, the reference's pixels are kept.

letters: H W pixels. Colors are in [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.lineart.sketch import Array

WINDOW = 5
"""Side in px of the squares in which the lines of two drawings are compared."""
CHANGE = 0.15
"""Mean difference of lines within a square from which they have moved. A line that moves by 1 px has 0.4, the flicker
of an extractor on a still film less than 0.1."""
MARGIN = 1 / 48
"""Distance from lines that have moved, as a fraction of the height, up to which nothing is kept; from twice as far on
all may be."""
AGREE, CALIBRATE = 0.1, 0.16
"""Mean difference between paint and reference up to which the reference is kept, and is calibrated to. At twice as much
the paint shows something else."""
COLOR_WINDOW = 7
"""Side in px of the squares in which colors are compared."""
MIN_STILL = 0.03
"""Share of the frame that must stand still for a calibration."""
RIDGE = 0.02
"""Pull of the calibration towards no change."""


@dataclass(frozen=True)
class Still:
    """A colored frame that others may take from."""

    place: int | None
    """Its place in the clip, from 0; None = it is before the clip, or anywhere."""
    frame: Array
    """Its pixels (H W 3)."""
    lines: Array
    """Its line art (H W), 1 on a line."""


class SteadyFilter:
    """Corrects painted frames by the references, frame for frame; it has no memory.

    First colors are calibrated: an affine change of color, fitted where lines stand still and paint and reference agree
    roughly, is applied to the whole frame. Then the reference's pixels replace those of the paint where the lines near
    by stand still and both agree, with soft edges. What moves, appears or has other colors is left alone.
    """

    def __init__(self, references: Sequence[Still]):
        self.references = references

    def __call__(self, painted: Array, lines: Array, place: int) -> Array:
        """Correct a painted frame (H W 3) with its lines (H W) and its place in the clip => (H W 3)."""
        reference = min(self.references, key=lambda r: _far(r, place))
        still = _still(reference.lines, lines)
        near = still * _below(_difference(painted, reference.frame), CALIBRATE)
        if near.mean() > MIN_STILL:
            painted = _calibrated(painted, reference.frame, near > 0.5)
        keep = still * _below(_difference(painted, reference.frame), AGREE)
        return painted + keep[..., None] * (reference.frame - painted)


class SteadyFrames:
    """A `SteadyFilter` for each clip of a batch, with frames (b 3 H W) in [-1, 1]."""

    def __init__(
        self,
        places: Sequence[int | None],  # of the colored frames in the clips, from 0; None = before or anywhere
        frames: Sequence[Tensor],  # them (b 3 H W)
        lines: Sequence[Tensor],  # their line art (b 1 H W)
        sketch: Callable[[int], Tensor],  # frame number -> its line art (b 1 H W)
    ):
        """InputError: there are no colored frames, but sheets at most."""
        if not places:
            raise InputError("steady keeps pixels of a reference or a key, and there are only sheets: leave it out")
        self.sketch = sketch
        self.filters = [
            SteadyFilter([Still(*one) for one in zip(places, colors, drawn)])
            for colors, drawn in zip(zip(*map(_pictures, frames)), zip(*([*map(_array, one[:, 0])] for one in lines)))
        ]

    def __call__(self, painted: Tensor, number: int) -> Tensor:
        """Correct the painted frames of this number."""
        drawn = map(_array, self.sketch(number)[:, 0])
        done = [fix(one, own, number) for fix, one, own in zip(self.filters, _pictures(painted), drawn)]
        return torch.from_numpy(np.stack(done)).movedim(-1, 1).to(painted) * 2 - 1


def _pictures(frames: Tensor) -> list[Array]:
    """Convert frames (b 3 H W) in [-1, 1] to arrays (H W 3) in [0, 1]."""
    return [_array(frame.movedim(0, -1) / 2 + 0.5) for frame in frames.float()]


def _array(values: Tensor) -> Array:
    return np.ascontiguousarray(values.detach().float().cpu().numpy())


def _far(reference: Still, place: int) -> float:
    """Return how far a reference is from a frame; one without a place stands before the first."""
    return abs((-1 if reference.place is None else reference.place) - place)


def _still(before: Array, after: Array) -> Array:
    """Return (H W) in [0, 1] where the lines of two drawings (H W) are the same, and far from those that are not."""
    moved = cv2.blur(np.abs(before - after), (WINDOW, WINDOW)) > CHANGE
    distance = cv2.distanceTransform((~moved).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    distance = np.minimum(distance, 1e6)  # where all stands still it is the largest number there is
    return np.clip(distance / (MARGIN * len(after)) - 1, 0, 1).astype(np.float32)


def _difference(one: Array, other: Array) -> Array:
    """Return the mean difference of colors (H W 3) around each pixel (H W)."""
    return cv2.blur(np.abs(one - other).mean(-1), (COLOR_WINDOW, COLOR_WINDOW))


def _below(difference: Array, limit: float) -> Array:
    """Return 1 up to a limit, falling to 0 at twice the limit."""
    return np.clip(2 - difference / limit, 0, 1)


def _calibrated(painted: Array, reference: Array, where: Array) -> Array:
    """Change all colors of a frame (H W 3) by the affine map that brings it nearest to the reference `where` (H W)."""
    if not where.any():
        return painted
    known = np.concatenate([painted[where], np.ones((int(where.sum()), 1), np.float32)], 1)
    gram = known.T @ known / len(known) + RIDGE * np.eye(4, dtype=np.float32)
    change = np.linalg.solve(gram, known.T @ (reference[where] - painted[where]) / len(known))
    return np.clip(painted + painted @ change[:3] + change[3], 0, 1).astype(np.float32)
