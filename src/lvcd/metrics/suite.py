"""All metrics of an evaluation, updated together.

letters: b clips, t frames, H W pixels
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
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
from .frame_tensors import ClipBatch, pairs_of
from .frechet import FrechetDistance
from .fvd import FVD
from .lpips import LPIPS, ShiftTolerantLPIPS
from .pixels import PSNR, SSIM
from .segment_accuracy import SegmentAccuracy
from .tc import TC


class Suite:
    """Metrics by the names of their columns, updated with the same clips.

    What several of them need, resized frames and a network's features, is computed once for all.

    >>> suite = Suite([PSNR(size=None)])
    >>> frames = torch.full((1, 2, 3, 4, 4), 0.5)
    >>> suite.update(frames + 0.1, frames, frames[:, :, :1], torch.tensor([0]))
    >>> round(suite.reports()["PSNR"]["value"], 3)
    20.0
    """

    def __init__(
        self,
        metrics: Iterable[Reported | Iterable[Reported] | None],  # in the order of their columns; None is left out
        frames: int | None = None,  # of the shortest clip: metrics that need more are left out; None = enough
    ):
        self.metrics: dict[str, Reported] = {}
        for metric in _flat(metrics):
            if not isinstance(metric, Reported):
                raise InputError(
                    f"{type(metric).__name__} is no metric of a suite: derive it from lvcd.metrics.ClipMean"
                )
            if metric.name in self.metrics:
                raise InputError(f"two metrics have the column {metric.name}: leave one out, or name it otherwise")
            if frames is None or frames >= metric.min_frames:
                self.metrics[metric.name] = metric
        self.seconds = dict.fromkeys(self.metrics, 0.0)
        """Time that each column has taken so far, its report included. A shared computation counts for the first of the
        columns that need it."""

    def update(self, preds: Tensor, target: Tensor, sketches: Tensor, index: Tensor) -> None:
        """Update all metrics with some clips.

        preds, target: generated and original frames (b t 3 H W) in [0, 1], without the reference.
        sketches: (b t 1 H W) in [0, 1], line = 1. index: numbers of the clips in the test set, (b) long.
        InputError: what a metric cannot take.
        """
        self._update(self.metrics, ClipBatch(*pairs_of(preds, target), sketches, index))

    def _update(self, columns: Iterable[str], clips: ClipBatch) -> None:
        """Update the metrics of these columns."""
        users = Counter(metric.shared_key() for metric in self.metrics.values())
        for column, metric in ((column, self.metrics[column]) for column in columns):
            started = time.perf_counter()
            key = metric.shared_key()
            if key is not None and users[key] > 1 and key not in clips.shared:
                clips.shared[key] = metric.compute_shared(*clips.resized(*metric.resize_spec))
            metric.update_from_clips(clips)
            self.seconds[column] += time.perf_counter() - started

    def update_clip(
        self, painted: Tensor, original: Tensor, sketches: Tensor, number: int, given: Sequence[int] = ()
    ) -> None:
        """Update with one clip on any device: painted and original frames (n 3 H W), sketches (n 1 H W).

        given: frames, from 0, that the method saw: only metrics with `across_given` look at them.
        """
        device = next(iter(self.metrics.values())).device
        preds, target, lines = (x[None].to(device) for x in (painted, original, sketches))  # (n c H W) => (1 n c H W)
        if not given:
            return self.update(preds, target, lines, torch.tensor([number]))
        kept = [frame for frame in range(len(painted)) if frame not in given]
        for across, frames in ((True, list(range(len(painted)))), (False, kept)):
            columns = [column for column, metric in self.metrics.items() if metric.across_given == across]
            pairs = pairs_of(preds[:, frames], target[:, frames])
            self._update(columns, ClipBatch(*pairs, lines[:, frames], torch.tensor([number])))
        return None

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return each column's `Reported.report`, and its higher_is_better: true, false, or None for nearest to 1.

        A column without a value for these clips, as TC where nothing moves, has None, and its notes say why. The values
        are over the clips of all processes: each must call it.
        """
        reports = {}
        for column, metric in self.metrics.items():
            started = time.perf_counter()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # the notes say it
                try:
                    report = metric.report()
                except InputError as error:
                    report = metric.report_without_value(str(error))
            reports[column] = {**report, "higher_is_better": metric.higher_is_better}
            self.seconds[column] += time.perf_counter() - started
        return reports

    def per_clip(self) -> dict[str, list[float]]:
        """Return the scores of this process's clips in the order of the updates, of the metrics that score clips.

        A clip without a score has NaN.
        """
        return {c: m.per_clip().tolist() for c, m in self.metrics.items() if isinstance(m, ClipMean)}

    def reset_generated(self) -> None:
        """Reset all metrics for other generated frames of the same clips; what they know of originals stays."""
        for column, metric in self.metrics.items():
            metric.reset_generated()
            self.seconds[column] = 0.0

    def to(self, device: torch.device | str) -> Suite:
        """Move the metrics to a device."""
        for metric in self.metrics.values():
            metric.to(device)
        return self


def _flat(entries: Any) -> list[Any]:
    """Return the metrics of nested iterables, in order and without None."""
    if entries is None:
        return []
    if isinstance(entries, Iterable) and not isinstance(entries, torch.nn.Module):
        return [metric for entry in entries for metric in _flat(entry)]
    return [entries]


def paper(
    inception: str | Path | None = None,  # torch-fidelity's weights: FID in place of FrechetDistance[...]
    backbone: str | Path | None = None,  # torchvision's AlexNet: LPIPS in place of ShiftTolerantLPIPS
    raft: str | Path | None = None,  # torchvision's RAFT for TC, in place of DIS
    lines: Callable[[Tensor], Tensor] | None = None,  # EDMD's extractor; None = XDoG
    lines_name: str | None = None,
    size: int | None = 256,  # all but SegmentAccuracy see frames of this many px a side; None = as they are
) -> list[Reported]:
    """Return the metrics of LVCD (arXiv 2409.12960, section 6), PSNR over moving pixels, and the accuracy of regions.

    A metric whose weights are not given is replaced by one that runs offline, which has a name of its own, so that it
    never stands in the column of what it replaces. InputError: a package or a published file is missing.
    """
    return [
        FID(inception, size) if inception else FrechetDistance(PooledFeatures(), size),
        FVD(size=size),
        LPIPS(backbone, size) if backbone else ShiftTolerantLPIPS(size),
        PSNR(size=size),
        PSNR(moving=True, size=size),
        SSIM(size),
        EDMD(lines, lines_name, size=size),
        TC(RAFT(raft) if raft else None, size=size),
        SegmentAccuracy(),
        SegmentAccuracy(moving=True),
    ]
