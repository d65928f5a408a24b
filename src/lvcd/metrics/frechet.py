"""Distance of two sets of features, seen as two Gaussians: Frechet 1957, Heusel et al. 2017 (arXiv 1706.08500).

letters: b clips, t frames, n samples, d features, g groups of clips, H W pixels
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from lvcd.errors import InputError

from .base import LEVEL, Extractor, Reported, student
from .inputs import Filter, at_once, check_resize, frames_of, in_chunks, resized


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), means (d), covariances (d d) -> scalar float64, >= 0.

    With C = F F^T, the trace of the root is the sum of the singular values of F1^T F2: exact also where covariances are
    singular, where square roots of matrices fail.

    >>> eye = torch.eye(2)
    >>> frechet_distance(torch.zeros(2), eye, torch.tensor([3.0, 4.0]), 4 * eye)
    tensor(27., dtype=torch.float64)
    """
    mean1, cov1, mean2, cov2 = (x.double() for x in (mean1, cov1, mean2, cov2))
    root = torch.linalg.svdvals(_factor(cov1).T @ _factor(cov2)).sum()
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * root).clamp(min=0)


def _factor(cov: Tensor) -> Tensor:
    """(d d) -> F (d r), F F^T = cov, r its rank."""
    value, vector = torch.linalg.eigh((cov + cov.T) / 2)
    kept = value > len(cov) * torch.finfo(value.dtype).eps * value[-1].clamp(min=0)
    return vector[:, kept] * value[kept].sqrt()


def moments(n: Tensor, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Count, sum (d) and sum of outer products (d d) of samples -> mean (d), covariance (d d) over n - 1."""
    mean = total / n
    return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)


class FrechetDistance(Reported):
    """Frechet distance of the features of frames, named after what extracts them: FrechetDistance[name].

    Samples are not kept: of each, its part of float64 sums is, exact across processes. There is one sum for each of
    `groups` groups of clips, from which the interval comes (delete-a-group jackknife: the distance without one group
    each time). A bootstrap would need as many sums as draws, and repeats samples, which moves this distance upward.
    Memory: 2 * groups * d * (d + 1) * 8 bytes: 26 MB for d = 400, 671 MB for d = 2048; a tenth of it for groups=1,
    which has no interval.

    >>> color = FrechetDistance(lambda frames: frames.mean((2, 3)), size=None)
    >>> color.update(torch.zeros(4, 3, 8, 8), real=True)
    >>> color.update(torch.ones(2, 2, 3, 8, 8), real=False)
    >>> color.compute()
    tensor(3., dtype=torch.float64)
    """

    higher_is_better = False
    WHAT = "frames"

    def __init__(
        self,
        extractor: Callable[[Tensor], Tensor],  # frames (n 3 H W) in [0, 1] -> features (n d)
        size: int | None = 256,  # frames are brought to size x size first; None = as they are
        filter: Filter = "bilinear_antialias",
        groups: int = 10,  # of clips, for the interval; 1 = no interval
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        if groups < 1:
            raise InputError(f"groups is a positive number, not {groups}: 10 is usual, 1 leaves out the interval")
        self.size, self.filter, self.groups = size, filter, groups
        self.extractor = Extractor(extractor)
        self._fed: set[int] = set()  # numbers of the clips whose originals are counted
        self._kept: set[int] = set()
        self.originals: Callable[[int, Callable[[], Tensor]], Tensor] | None = None
        """A clip's number, how to find the features of its original (1 s d) => these, if someone keeps them."""
        d = self._dimension()
        for side in ("real", "fake"):
            for what, shape in (("clips", ()), ("n", ()), ("sum", (d,)), ("outer", (d, d))):
                default = torch.zeros(groups, *shape, dtype=torch.float64)
                self.add_state(f"{side}_{what}", default, dist_reduce_fx="sum")

    def _dimension(self) -> int:
        """d, told by the extractor or tried."""
        told = getattr(self.extractor.call, "features", None)
        return told or self._features(torch.zeros(1, 1, 3, self.size or 64, self.size or 64)).shape[-1]

    @property
    def name(self) -> str:
        return f"{type(self).__name__}[{self.extractor.name}]"

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter, "groups": self.groups, "covariance": "n - 1"}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def _features(self, frames: Tensor) -> Tensor:
        """(b t 3 H W) -> (b s d), s samples of each clip."""
        flat = frames.flatten(0, 1)
        features = in_chunks(self.extractor.on(frames.device), at_once(frames.device), flat)
        if features.ndim != 2 or len(features) != len(flat):
            raise InputError(
                f"{self.extractor.name} turned {len(flat)} {self.WHAT} into {tuple(features.shape)}: "
                "an extractor gives (n d), one row for each"
            )
        return features.unflatten(0, frames.shape[:2])

    def update(self, images: Tensor, real: bool, index: Tensor | None = None) -> None:
        """images: (b t 3 H W), or (n 3 H W), each its own clip, in [0, 1]; real: the originals, else the generated.

        index (b) numbers the clips in the test set. It decides their group; without it they are counted as they come,
        and an interval over several processes is not digit for digit that of one. The value always is.
        """
        if isinstance(images, Tensor) and images.ndim == 4:
            images = images[:, None]
        frames = resized(frames_of("real" if real else "fake", images), self.size, self.filter)
        self._count(self._features(frames), real, index)

    def _count(self, features: Tensor, real: bool, index: Tensor | None) -> None:
        """features (b s d) of the clips that are numbered by index (b)."""
        features = features.double()
        if not bool(features.isfinite().all()):
            raise InputError(f"{self.extractor.name} gave features that are not numbers: check its weights")
        clips, n, total, outer = (self._of(real, what) for what in ("clips", "n", "sum", "outer"))
        if index is None:
            index = torch.arange(len(features)) + int(clips.sum())
        group = (index.flatten() % self.groups).tolist()
        if len(group) != len(features):
            raise InputError(
                f"{len(group)} numbers for {len(features)} clips: give each clip its number in the test set"
            )
        for g in set(group):
            part = features[[i for i, own in enumerate(group) if own == g]]
            clips[g] += len(part)
            part = part.flatten(0, 1)
            n[g] += len(part)
            total[g] += part.sum(0)
            outer[g] += part.T @ part

    def feed(self, preds: Tensor, target: Tensor, sketches: Tensor, index: Tensor) -> None:
        """Passes over the originals that `forget_generated` has kept."""
        new = [place for place, number in enumerate(index.tolist()) if number not in self._kept]
        if self.originals is not None:
            for place in new:
                own = resized(target[place : place + 1], self.size, self.filter)
                features = self.originals(int(index[place]), functools.partial(self._features, own))
                self._count(features.to(target.device), True, index[place : place + 1])
        elif new:
            self.update(target if len(new) == len(target) else target[new], True, index[new])
        self._fed.update(index.tolist())
        self.update(preds, real=False, index=index)

    def reset(self) -> None:
        super().reset()
        self._fed, self._kept = set(), set()

    def forget_generated(self) -> None:
        sums = {name: getattr(self, name).clone() for name in self._defaults if name.startswith("real_")}
        fed = self._fed
        self.reset()
        self._fed = self._kept = fed
        for name, value in sums.items():
            setattr(self, name, value)

    def _of(self, real: bool, what: str) -> Tensor:
        return getattr(self, f"{'real' if real else 'fake'}_{what}")

    def _distance(self, kept: Tensor) -> Tensor:
        """Of the samples in the groups kept (g) bool."""
        sides = [
            moments(*(self._of(real, what)[kept].sum(0) for what in ("n", "sum", "outer"))) for real in (True, False)
        ]
        return frechet_distance(*sides[0], *sides[1])

    def compute(self) -> Tensor:
        """Scalar float64. InputError: fewer than two samples on a side."""
        for real in (True, False):
            n = int(self._of(real, "n").sum())
            if n < 2:
                side = "real" if real else "fake"
                raise InputError(
                    f"{self.name} has {n} {side} samples: it needs two or more of real=True and real=False"
                )
        for note in self.notes():
            rank_zero_warn(f"{self.name}: {note}")
        return self._distance(torch.ones(self.groups, dtype=torch.bool))

    def notes(self) -> list[str]:
        """What a reader of the number must know."""
        n = min(int(self._of(real, "n").sum()) for real in (True, False))
        d = self._of(True, "sum").shape[1]
        few = f"{n} samples are too few for {d} features: the covariance is singular and the distance biased upward"
        return [few] if n <= d else []

    def interval(self, value: float) -> dict[str, Any] | None:
        """Value +- Student's t times the jackknife's standard error; None if it cannot be told.

        Both sides leave out the same group: a generated clip and its original belong together.
        """
        clips = [self._of(real, "clips") for real in (True, False)]
        used = [g for g in range(self.groups) if any(c[g] > 0 for c in clips)]
        counts = [self._of(real, "n") for real in (True, False)]
        if len(used) < 2 or any(float(n.sum() - n[g]) < 2 for n in counts for g in used):
            return None
        keep = torch.ones(self.groups, dtype=torch.bool)
        without = torch.stack([self._distance(keep & (torch.arange(self.groups) != g)) for g in used])
        k = len(used)
        error = ((k - 1) / k * (without - without.mean()).square().sum()).sqrt().item()
        half = student(k - 1) * error
        method = f"delete-a-group jackknife, {k} groups of clips"
        return {"low": max(value - half, 0.0), "high": value + half, "level": LEVEL, "method": method}

    def details(self, value: float) -> dict[str, Any]:
        """As Reported.details; n counts generated samples, n_real the originals, clips the generated clips."""
        return {
            "n": int(self._of(False, "n").sum()),
            "n_real": int(self._of(True, "n").sum()),
            "clips": int(self._of(False, "clips").sum()),
            "interval": self.interval(value),
            "notes": self.notes(),
        }
