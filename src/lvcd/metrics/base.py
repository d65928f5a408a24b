"""Base classes of the metrics: a value, and a report that says how it came about.

letters: b clips, t frames, H W pixels, k clips so far
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Generator, Hashable
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lvcd.errors import InputError

from .frame_tensors import ClipBatch, Filter

CONFIDENCE = 0.95
"""Fraction of repetitions with other clips whose interval holds the mean value."""
NORMAL_QUANTILE = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


class Extractor:
    """A callable that a metric sees frames through, with its identity: `name`, and `sha256` of its weights or None."""

    def __init__(self, call: Callable[..., Tensor]):
        self.call = call
        self.name: str = getattr(call, "name", None) or getattr(call, "__name__", None) or type(call).__name__
        self.sha256: str | None = getattr(call, "sha256", None)

    def on(self, device: torch.device) -> Callable[..., Tensor]:
        """Return the callable, moved to `device` if it is a network."""
        return self.call.to(device) if isinstance(self.call, torch.nn.Module) else self.call

    def identity(self) -> dict[str, str | None]:
        """Return what a row of the board says of it."""
        return {"name": self.name, "sha256": self.sha256}


class Reported(Metric):
    """A torchmetrics Metric with a column of the board and a report.

    A metric of one's own derives from `ClipMean`, or from this class where clips have no score of their own.
    Extractors are kept out of the module tree: they are no part of a checkpoint and have nothing to train. Sums stay
    float64 whatever `set_dtype` asks for, because they are compared across machines.
    """

    is_differentiable = False
    full_state_update = False
    size: int | None = None
    filter: Filter = "bilinear_antialias"
    min_frames = 1
    """A suite leaves the metric out where clips have fewer frames."""
    across_given = False
    """Whether frames that a method was given stay in the clip, as for what is measured between neighboring frames; all
    else would find them perfect."""

    @property
    def name(self) -> str:
        """Name of the metric's column on the board."""
        return type(self).__name__

    @property
    def resize_spec(self) -> tuple[int | None, Filter]:
        """Side in px and filter that frames are resized with before all else; a side of None leaves them."""
        return self.size, self.filter

    def settings(self) -> dict[str, Any]:
        """Return all that changes the value besides the frames: plain values that JSON can hold."""
        return {}

    def extractor_identity(self) -> dict[str, str | None] | None:
        """Return the identity of the metric's extractor; None where it has none."""
        return None

    def update_from_clips(self, clips: ClipBatch) -> None:
        """Call `update` with what this metric takes of the clips: here generated and original frames, resized.

        A metric that needs the sketches or the clips' numbers overrides this.
        """
        self.update(*clips.resized(*self.resize_spec))

    def shared_key(self) -> Hashable | None:
        """Return what names the computation that this metric can share with others of a suite; None = none.

        Where two metrics have an equal key, the suite calls `compute_shared` of one of them, and both find the result
        in `ClipBatch.shared`.
        """
        return None

    def compute_shared(self, preds: Tensor, target: Tensor) -> Any:
        """Compute what `shared_key` names, of frames (b t 3 H W) that are resized already."""
        raise NotImplementedError

    def reset_generated(self) -> None:
        """Reset the metric for other generated frames of the same clips; what it knows of originals may stay."""
        self.reset()

    @contextmanager
    def sync_context(self, *args: Any, **kwargs: Any) -> Generator[None, None, None]:
        """Synchronize as torchmetrics does, and give the metric its own states back where the block fails, too."""
        try:
            with super().sync_context(*args, **kwargs):
                yield
        except BaseException:
            if self._is_synced:
                self.unsync()
            raise

    @property
    def dtype(self) -> torch.dtype:
        """Type of the sums, and of what a process without clips sends to the others."""
        return torch.float64

    def set_dtype(self, dst_type: str | torch.dtype) -> Reported:
        """Leave the sums in float64."""
        return self

    def report(self) -> dict[str, Any]:
        """Return name, value, n, interval (low, high, level, method) or None, settings, extractor and notes, for JSON.

        They are over the clips of all processes: each must call it.
        """
        value = self.compute().item()
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            details = self.details(value)
        return {"name": self.name, "value": value, **details, **self.identity()}

    def report_without_value(self, reason: str) -> dict[str, Any]:
        """Return the report of a metric that has no value for these clips."""
        return {"name": self.name, "value": None, "n": 0, "interval": None, "notes": [reason], **self.identity()}

    def identity(self) -> dict[str, Any]:
        """Return what defines the metric: rows are ranked together only where it is equal."""
        return {"settings": self.settings(), "extractor": self.extractor_identity()}

    @abstractmethod
    def details(self, value: float) -> dict[str, Any]:
        """Return n, interval and notes of the report. The states are those of all processes by now."""


class ClipMean(Reported):
    """A score of each clip and its mean over all frames, with a bootstrap interval; keeps 16 bytes a clip.

    A subclass calls `add(scores, frames)` in `update`. A clip weighs as many frames as were scored in it.

    >>> class Brightness(ClipMean):
    ...     higher_is_better = True
    ...     def update(self, preds, target):
    ...         self.add(preds.mean((1, 2, 3, 4)), preds.shape[1])
    >>> metric = Brightness()
    >>> metric.update(torch.full((1, 2, 3, 4, 4), 0.25), torch.zeros(1, 2, 3, 4, 4))
    >>> metric.report()["value"]
    0.25
    """

    bounds: tuple[float, float] = (0.0, math.inf)
    """Range of the values: no interval reaches beyond."""
    scores: list[Tensor]
    frames: list[Tensor]

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("frames", default=[], dist_reduce_fx="cat")

    def add(self, scores: Tensor, frames: Tensor | int) -> None:
        """Add the scores of some clips.

        scores (b): means over the scored frames of each clip. frames (b), or one number: how many frames those are.
        """
        self.scores.append(scores.detach().double())
        self.frames.append(torch.as_tensor(frames, device=scores.device).double().expand(len(scores)).clone())

    def per_clip(self) -> Tensor:
        """Return the scores (k) float64 in the order of the updates; NaN where no frame of a clip could be scored."""
        if not len(self.scores):
            raise InputError(f"{self.name} has seen no clips: give it some before asking for its value")
        return torch.where(dim_zero_cat(self.frames) > 0, dim_zero_cat(self.scores), torch.nan)

    def compute(self) -> Tensor:
        """Return the mean over frames, a scalar in float64. InputError: no frame could be scored."""
        scores, frames = self.per_clip(), dim_zero_cat(self.frames)
        if not bool((frames > 0).any()):
            raise InputError(f"{self.name}: none of the frames could be scored: give it other clips")
        return (scores.nan_to_num() * frames).sum() / frames.sum()

    def details(self, value: float) -> dict[str, Any]:
        """Return n, the number of clips with a scored frame, frames, the number of those, interval and notes."""
        frames = dim_zero_cat(self.frames)
        scored = frames > 0
        if interval := bootstrap(self.per_clip()[scored], frames[scored]):
            interval["low"] = max(interval["low"], self.bounds[0])
            interval["high"] = min(interval["high"], self.bounds[1])
        return {"n": int(scored.sum()), "frames": int(frames.sum()), "interval": interval, "notes": self.notes()}

    def notes(self) -> list[str]:
        """Return what a reader of the value must know, one sentence each."""
        return []


def bootstrap(scores: Tensor, weights: Tensor, draws: int = 2000, seed: int = 0) -> dict[str, Any] | None:
    """Return the interval (low, high, level, method) of a weighted mean over clips drawn with replacement.

    scores, weights (k); None for one clip. It holds the percentiles of the drawn means, scaled away from the mean twice
    (Hesterberg 2015, arXiv 1411.5279, on the narrowness of bootstraps): by ((k - 1) / k)^-1/2, because a sample of k
    spreads less than its source, and by Student's t over the normal quantile, because the spread itself is estimated.
    With the percentiles alone every fifth pair of equal methods would differ on four clips. The order of the clips does
    not matter, so that several processes get the interval of one.
    """
    k = len(scores)
    if k < 2:
        return None
    table = torch.stack([scores, weights]).double().cpu().numpy()
    table = table[:, np.lexsort(table)]
    rng = np.random.default_rng(seed)
    means = np.empty(draws)
    for i in range(draws):
        s, w = table[:, rng.integers(0, k, k)]
        means[i] = (s * w).sum() / w.sum()
    mean = np.average(table[0], weights=table[1])
    ends = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) - mean
    low, high = mean + ends * (student_quantile(k - 1) / NORMAL_QUANTILE * math.sqrt(k / (k - 1)))
    method = f"bootstrap over clips, {draws} draws, widened by Student's t"
    return {"low": float(low), "high": float(high), "level": CONFIDENCE, "method": method}


def student_quantile(freedom: int) -> float:
    """Return the two-sided 95 % quantile of Student's t distribution, as scipy.stats.t.ppf(0.975, freedom)."""
    from scipy.special import stdtrit  # what scipy.stats calls, without its second of imports

    return float(stdtrit(freedom, (1 + CONFIDENCE) / 2))
