"""What every metric has besides its value: a report that says how the number came about.

letters: b clips, t frames, H W pixels, k clips so far
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat

from lvcd.errors import InputError

from .inputs import Filter

LEVEL = 0.95
"""Share of repetitions with other clips in which an interval is meant to hold the mean value."""
NORMAL = 1.959964
"""Two-sided 95 % quantile of the normal distribution."""


class Extractor:
    """A network that a metric looks through, with its identity: `name`, and `sha256` of its weights, or None."""

    def __init__(self, call: Callable[..., Tensor]):
        self.call = call
        self.name: str = getattr(call, "name", None) or getattr(call, "__name__", None) or type(call).__name__
        self.sha256: str | None = getattr(call, "sha256", None)

    def on(self, device: torch.device) -> Callable[..., Tensor]:
        """The callable, moved there if it is a network."""
        return self.call.to(device) if isinstance(self.call, torch.nn.Module) else self.call

    def identity(self) -> dict[str, str | None]:
        return {"name": self.name, "sha256": self.sha256}


class Reported(Metric):
    """A metric with a name for its column and a report.

    Extractors are kept out of the module tree: they are no part of a checkpoint and have nothing to train. Sums stay
    float64 whatever `set_dtype` asks for, because they are compared across machines.
    """

    is_differentiable = False
    full_state_update = False
    size: int | None = None
    filter: Filter = "bilinear_antialias"

    @property
    def name(self) -> str:
        """Its column on a board."""
        return type(self).__name__

    @property
    def sees(self) -> tuple[int | None, Filter]:
        """How it resizes frames before all else."""
        return self.size, self.filter

    def settings(self) -> dict[str, Any]:
        """All that changes the value, beside the frames: plain values that JSON can hold."""
        return {}

    def extractor_identity(self) -> dict[str, str | None] | None:
        return None

    def feed(self, preds: Tensor, target: Tensor, sketches: Tensor, index: Tensor) -> None:
        """`update` with what this metric takes: generated and original frames (b t 3 H W), sketches (b t 1 H W), line =
        1, all in [0, 1], and the clips' numbers in the test set (b)."""
        self.update(preds, target)

    def forget_generated(self) -> None:
        """For other frames of the same clips: reset, but for what `feed` has learned of the originals alone."""
        self.reset()

    @contextmanager
    def sync_context(self, *args: Any, **kwargs: Any) -> Generator[None, None, None]:
        """As torchmetrics has it; but what fails within it leaves the metric with its own states again."""
        try:
            with super().sync_context(*args, **kwargs):
                yield
        except BaseException:
            if self._is_synced:
                self.unsync()
            raise

    @property
    def dtype(self) -> torch.dtype:
        """Of the sums, and of what a process without clips sends to the others."""
        return torch.float64

    def set_dtype(self, dst_type: str | torch.dtype) -> Reported:
        return self

    def report(self) -> dict[str, Any]:
        """name, value, n, interval (low, high, level, method) or None, settings, extractor, notes; for JSON.

        Over the clips of all processes: each must call it.
        """
        value = self.compute().item()
        with self.sync_context(dist_sync_fn=self.dist_sync_fn):
            details = self.details(value)
        return {"name": self.name, "value": value, **details, **self.identity()}

    def without_value(self, why: str) -> dict[str, Any]:
        """The report of a metric that has no value, and why not."""
        return {"name": self.name, "value": None, "n": 0, "interval": None, "notes": [why], **self.identity()}

    def identity(self) -> dict[str, Any]:
        return {"settings": self.settings(), "extractor": self.extractor_identity()}

    @abstractmethod
    def details(self, value: float) -> dict[str, Any]:
        """n, interval and notes, from states that are those of all processes by now."""


class ClipMean(Reported):
    """Mean over frames of a score that each clip has for itself: keeps 16 bytes a clip.

    A subclass calls `add(scores, frames)` in `update`. A clip weighs as many frames as were scored in it.
    """

    bounds: tuple[float, float] = (0.0, math.inf)
    """Of its values: no interval reaches beyond."""
    scores: list[Tensor]
    frames: list[Tensor]

    def __init__(self, **kwargs: Any):
        super().__init__(**kwargs)
        self.add_state("scores", default=[], dist_reduce_fx="cat")
        self.add_state("frames", default=[], dist_reduce_fx="cat")

    def add(self, scores: Tensor, frames: Tensor | int) -> None:
        """scores (b): mean over the scored frames of each clip; frames (b) or one number: how many those are."""
        self.scores.append(scores.detach().double())
        self.frames.append(torch.as_tensor(frames, device=scores.device).double().expand(len(scores)).clone())

    def per_clip(self) -> Tensor:
        """(k) float64, in the order in which the clips came; NaN where none of a clip's frames could be scored."""
        if not len(self.scores):
            raise InputError(f"{self.name} has seen no clips: give it some before asking for its value")
        return torch.where(dim_zero_cat(self.frames) > 0, dim_zero_cat(self.scores), torch.nan)

    def compute(self) -> Tensor:
        """Scalar float64."""
        scores, frames = self.per_clip(), dim_zero_cat(self.frames)
        if not bool((frames > 0).any()):
            raise InputError(f"{self.name}: none of the frames could be scored: give it other clips")
        return (scores.nan_to_num() * frames).sum() / frames.sum()

    def details(self, value: float) -> dict[str, Any]:
        """n counts clips with at least one scored frame, frames those frames."""
        frames = dim_zero_cat(self.frames)
        kept = frames > 0
        if interval := bootstrap(self.per_clip()[kept], frames[kept]):
            interval["low"] = max(interval["low"], self.bounds[0])
            interval["high"] = min(interval["high"], self.bounds[1])
        return {"n": int(kept.sum()), "frames": int(frames.sum()), "interval": interval, "notes": self.notes()}

    def notes(self) -> list[str]:
        """What a reader of the number must know."""
        return []


def bootstrap(scores: Tensor, weights: Tensor, draws: int = 2000, seed: int = 0) -> dict[str, Any] | None:
    """Interval of the weighted mean of scores (k) over clips drawn with replacement; None for one clip.

    The percentiles of the drawn means, moved away from the mean: a sample of k spreads less than where it came from, by
    ((k - 1) / k)^1/2, and of how much it spreads it is no sure witness, for which Student's t stands (Hesterberg 2015,
    arXiv 1411.5279, on the narrowness of bootstraps). By the percentiles alone every fifth pair of equal methods would
    differ on four clips. Independent of the clips' order, so that several processes get the interval of one.
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
    ends = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) - mean
    low, high = mean + ends * (student(k - 1) / NORMAL * math.sqrt(k / (k - 1)))
    method = f"bootstrap over clips, {draws} draws, widened by Student's t"
    return {"low": float(low), "high": float(high), "level": LEVEL, "method": method}


def student(freedom: int) -> float:
    """Two-sided 95 % quantile of Student's t."""
    table = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
    if freedom <= len(table):
        return table[freedom - 1]
    z = NORMAL
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)  # Cornish-Fisher
