"""All metrics of an evaluation, fed together.

letters: b clips, t frames, H W pixels
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvcd.errors import InputError

from .backbones import PooledFeatures
from .base import ClipMean, Reported
from .edmd import EDMD
from .fid import FID
from .flow import RAFT
from .frechet import FrechetDistance
from .fvd import FVD
from .i3d import MIN_FRAMES
from .inputs import pairs_of, resized
from .lpips import LPIPS, ShiftTolerantLPIPS
from .pixels import PSNR, SSIM
from .segments import SegmentAccuracy
from .tc import TC


class Suite:
    """Metrics by the names of their columns.

    >>> suite = Suite({"PSNR": PSNR(size=None)})
    >>> frames = torch.full((1, 2, 3, 4, 4), 0.5)
    >>> suite.update(frames + 0.1, frames, frames[:, :, :1], torch.tensor([0]))
    >>> round(suite.reports()["PSNR"]["value"], 3)
    20.0
    """

    def __init__(self, metrics: Mapping[str, Reported], looks: PooledFeatures | None = None):
        """looks: a network through which more than one of them looks"""
        self.metrics, self._looks = dict(metrics), looks
        self.seconds = dict.fromkeys(self.metrics, 0.0)
        """What each has taken so far, its report too."""

    def update(self, preds: Tensor, target: Tensor, sketches: Tensor, index: Tensor) -> None:
        """Generated and original frames (b t 3 H W), sketches (b t 1 H W), line = 1, all in [0, 1], no reference among
        them; index (b) long: the clips' numbers in the test set. InputError: what one of the metrics cannot take."""
        preds, target = pairs_of(preds, target)
        seen: dict[tuple, tuple[Tensor, Tensor]] = {}  # once for all that resize alike
        first = sorted(self.metrics.items(), key=lambda told: not isinstance(told[1], ShiftTolerantLPIPS))
        for column, metric in first:  # whose looks serve others
            started = time.perf_counter()
            if metric.sees not in seen:
                seen[metric.sees] = resized(preds, *metric.sees), resized(target, *metric.sees)
            metric.feed(*seen[metric.sees], sketches, index)
            self.seconds[column] += time.perf_counter() - started
        if self._looks is not None:
            self._looks.forget()

    def reports(self) -> dict[str, dict[str, Any]]:
        """Of each column what `Reported.report` says, and higher_is_better: true, false, or None, nearest to 1.

        What has no value for these clips, as TC where all stand still, has None, and its notes say why. Over the clips
        of all processes: each must call it.
        """
        reports = {}
        for column, metric in self.metrics.items():
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the notes say it
                try:
                    report = metric.report()
                except InputError as error:
                    report = metric.without_value(str(error))
            reports[column] = {**report, "higher_is_better": metric.higher_is_better}
            self.seconds[column] += time.perf_counter() - started
        return reports

    def per_clip(self) -> dict[str, list[float]]:
        """Scores of this process's clips, in the order they came, of the metrics that score each for itself; NaN where
        a clip has none."""
        return {c: m.per_clip().tolist() for c, m in self.metrics.items() if isinstance(m, ClipMean)}

    def restart(self) -> None:
        """For other frames of the same clips; what is known of their originals stays. `seconds` start anew."""
        for column, metric in self.metrics.items():
            metric.forget_generated()
            self.seconds[column] = 0.0

    def to(self, device: torch.device | str) -> Suite:
        for metric in self.metrics.values():
            metric.to(device)
        return self


def paper(
    inception: str | Path | None = None,  # torch-fidelity's file: FID in place of FrechetDistance[...]
    backbone: str | Path | None = None,  # torchvision's AlexNet: LPIPS in place of ShiftTolerantLPIPS
    raft: str | Path | None = None,  # torchvision's RAFT, for TC in place of DIS
    lines: Callable[[Tensor], Tensor] | None = None,  # as EDMD takes it; None = XDoG
    lines_name: str | None = None,
    frames: int | None = None,  # of the shortest clip: too few for FVD leave it out; None = enough
    size: int | None = 256,  # all but SegmentAccuracy see frames of this many px a side
) -> Suite:
    """The paper's metrics and the accuracy of regions; what lacks its weights is replaced by what runs without.

    The replacements have names of their own, so that they never stand in the column of what they replace.
    """
    looks = PooledFeatures() if not inception or not backbone else None
    metrics: list[Reported] = [
        FrechetDistance(looks, size) if looks and not inception else FID(inception, size),
        *([] if frames is not None and frames < MIN_FRAMES else [FVD(size=size)]),
        LPIPS(weights=backbone, size=size) if backbone else ShiftTolerantLPIPS(size=size, looks=looks),
        PSNR(size=size),
        PSNR(moving=True, size=size),
        SSIM(size),
        EDMD(lines, lines_name, size=size),
        TC(RAFT(raft) if raft else None, size=size),
        SegmentAccuracy(),
        SegmentAccuracy(moving=True),
    ]
    return Suite({metric.name: metric for metric in metrics}, looks)


def offline(
    lines: Callable[[Tensor], Tensor] | None = None,
    lines_name: str | None = None,
    frames: int | None = None,
    size: int | None = 256,
) -> Suite:
    """`paper` without a file of the user's."""
    return paper(None, None, None, lines, lines_name, frames, size)
