"""SegmentAccuracy, the fraction of regions between lines that have the right color, as in paint bucket colorization.

letters: b clips, t frames, H W pixels, r regions of a frame
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.flats import between_lines

from .base import ClipMean
from .edmd import sketches_of
from .frame_tensors import Array, ClipBatch, in_threads, pairs_of
from .pixels import ROUNDING, VISIBLE, moving_pixels


def regions_of_color(frame: Array) -> Array:
    """Return the number of each pixel's region of one color (H W), from 1 up, of a frame (H W 3) uint8; 4-connected."""
    H, W = frame.shape[:2]
    bridges = np.zeros((2 * H - 1, 2 * W - 1), np.uint8)  # pixels at even places, connections between
    bridges[::2, ::2] = 1
    bridges[::2, 1::2] = (frame[:, 1:] == frame[:, :-1]).all(-1)
    bridges[1::2, ::2] = (frame[1:] == frame[:-1]).all(-1)
    return cv2.connectedComponents(bridges, connectivity=4)[1][::2, ::2]


def medians(frame: Array, regions: Array, counted: Array, min_area: int) -> Array:
    """Return the median color (r 3), in levels, of each region that has `min_area` counted pixels or more.

    frame: (H W 3) uint8. regions: numbers (H W), 0 = none. counted: (H W) bool. Of two middle levels it is the lower.
    """
    counted = counted & (regions > 0)
    numbers = regions[counted].astype(np.int64)
    area = np.bincount(numbers)
    large = area >= min_area
    inside = large[numbers]  # histograms of small regions would fill the memory: noise has more regions than colors
    places = (large.cumsum() - 1)[numbers[inside]] * 256
    middle, found = (area[large, None] + 1) // 2, []
    for channel in cv2.split(frame):
        levels = np.bincount(places + channel[counted][inside], minlength=256 * len(middle)).reshape(-1, 256)
        found.append((levels.cumsum(1) < middle).sum(1))  # levels that fewer pixels than half do not exceed
    return np.stack(found, -1)


class SegmentAccuracy(ClipMean):
    """Fraction of the regions of a frame whose color is right, mean over frames, in [0, 1]; higher is better.

    A region is right where its median color differs from the original's by `tolerance` or less in each channel. Regions
    lie between the lines of the sketches. Without sketches they are the connected areas of one color in the original,
    its lines included, which only flat, uncompressed cartoons have; the report says so. Regions smaller than `min_area`
    and frames without a region do not count.

    moving: only the pixels of each region that move in the original count, and the column is SegmentAccuracy[moving].

    Frames keep their size: resizing would open lines and mix the colors beside them. DACoN reports such an
    accuracy.

    >>> target = torch.zeros(1, 1, 3, 8, 8)
    >>> target[..., 4:] = 1
    >>> accuracy = SegmentAccuracy()
    >>> accuracy.update(torch.zeros(1, 1, 3, 8, 8), target)
    >>> accuracy.compute()
    tensor(0.5000, dtype=torch.float64)
    """

    higher_is_better = True
    bounds = (0.0, 1.0)
    by_color: Tensor

    def __init__(
        self,
        moving: bool = False,
        tolerance: float = VISIBLE,  # difference of the medians, in each channel
        min_area: int = 16,  # px; smaller regions are gaps between strokes and ragged edges
        threshold: float = 0.5,  # a pixel of a sketch above it is a line
        visible: float = VISIBLE,  # a pixel moves where a channel changes by more
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if min_area < 1:
            raise InputError(f"a region has one pixel or more, not {min_area}: the default of min_area is 16")
        self.moving, self.tolerance, self.min_area = moving, tolerance, min_area
        self.threshold, self.visible = threshold, visible
        self.add_state("by_color", torch.zeros((), dtype=torch.long), "sum")

    @property
    def name(self) -> str:
        return "SegmentAccuracy[moving]" if self.moving else "SegmentAccuracy"

    def update(self, preds: Tensor, target: Tensor, sketches: Tensor | None = None) -> None:
        """Add generated and original frames (b t 3 H W) and sketches (b t 1 H W), all in [0, 1], line = 1.

        Give sketches with all clips or with none: a mean over two kinds of regions has no meaning.
        """
        preds, target = pairs_of(preds, target)
        regions = self._regions(target, sketches)
        counted = moving_pixels(target, self.visible) if self.moving else torch.ones_like(target[:, :, :1]).bool()
        parts = (_levels(preds), _levels(target), regions, counted[:, :, 0].cpu().numpy())
        frames = [*zip(*(part.reshape(-1, *part.shape[2:]) for part in parts))]  # (b t ...) => b*t frames
        found = in_threads(lambda part: [self._fraction(*frame) for frame in part], frames)
        fractions = torch.tensor(found, dtype=torch.float64, device=target.device).view(target.shape[:2])
        scored = ~fractions.isnan()
        self.by_color += fractions.numel() if sketches is None else 0
        self.add(fractions.nan_to_num().sum(1) / scored.sum(1), scored.sum(1))

    def update_from_clips(self, clips: ClipBatch) -> None:
        self.update(clips.preds, clips.target, clips.sketches)

    def _regions(self, target: Tensor, sketches: Tensor | None) -> Array:
        """Return the number of each pixel's region (b t H W), 0 on a line."""
        if sketches is None:
            return _regions_of_each(regions_of_color, _levels(target))
        if sketches.shape[-2:] != target.shape[-2:]:
            raise InputError(
                f"sketches are {tuple(sketches.shape[-2:])} and frames {tuple(target.shape[-2:])} large: "
                "draw or resize the sketches for these frames"
            )
        lines = (sketches_of(sketches, target)[:, :, 0] > self.threshold).cpu().numpy()
        return _regions_of_each(between_lines, lines)

    def _fraction(self, pred: Array, target: Array, regions: Array, counted: Array) -> float:
        """Return the fraction of right regions of one frame; NaN where there is no region."""
        generated, original = (medians(frame, regions, counted, self.min_area) for frame in (pred, target))
        right = np.abs(generated - original).max(-1, initial=0) <= (self.tolerance + ROUNDING) * 255
        return float(right.mean()) if len(right) else float("nan")

    def settings(self) -> dict[str, Any]:
        names = ("moving", "tolerance", "min_area", "threshold", "visible")
        return {name: getattr(self, name) for name in names}

    def notes(self) -> list[str]:
        n = int(self.by_color)
        return [f"{n} frames came without sketches: their regions are areas of one color in the original"] * bool(n)


def _regions_of_each(regions: Callable[[Array], Array], frames: Array) -> Array:
    """Number the regions of each of the frames (b t ...): (b t H W)."""
    found = in_threads(lambda part: [regions(frame) for frame in part], [*frames.reshape(-1, *frames.shape[2:])])
    return np.stack(found).reshape(*frames.shape[:2], *found[0].shape)


def _levels(frames: Tensor) -> Array:
    """Return frames (b t 3 H W) in [0, 1] as (b t H W 3) uint8."""
    return (frames * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
