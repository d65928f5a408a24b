"""Frechet distance of two sets of features, taken as two Gaussians: Heusel et al. 2017 (arXiv 1706.08500).

letters: b clips, t frames, n samples, d features, g groups of clips, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import torch
from torch import Tensor
from torchmetrics.utilities import rank_zero_warn

from lvcd.errors import InputError

from .backbones import PooledFeatures, SharedFeatures
from .base import CONFIDENCE, Extractor, Reported, student_quantile
from .frame_tensors import ClipBatch, Filter, check_resize, frames_of, frames_per_chunk, in_chunks, resized


def frechet_distance(mean1: Tensor, cov1: Tensor, mean2: Tensor, cov2: Tensor) -> Tensor:
    r"""Return the squared Frechet distance of two Gaussians, a scalar in float64, 0 or more.

    .. math:: d = |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 (C_1 C_2)^{1/2})

    mean1, mean2: (d). cov1, cov2: (d d). With C = F F^T the trace of the root is the sum of the singular values of
    F_1^T F_2, which is exact for singular covariances too, where square roots of matrices fail.

    >>> eye = torch.eye(2)
    >>> frechet_distance(torch.zeros(2), eye, torch.tensor([3.0, 4.0]), 4 * eye)
    tensor(27., dtype=torch.float64)
    """
    mean1, cov1, mean2, cov2 = (x.double() for x in (mean1, cov1, mean2, cov2))
    root = torch.linalg.svdvals(_factor(cov1).T @ _factor(cov2)).sum()
    return ((mean1 - mean2).square().sum() + cov1.trace() + cov2.trace() - 2 * root).clamp(min=0)


def _factor(cov: Tensor) -> Tensor:
    """Return F (d r) with F F^T = cov (d d) and r its rank."""
    value, vector = torch.linalg.eigh((cov + cov.T) / 2)
    positive = value > len(cov) * torch.finfo(value.dtype).eps * value[-1].clamp(min=0)
    return vector[:, positive] * value[positive].sqrt()


def moments(n: Tensor, total: Tensor, outer: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (d) and covariance (d d), over n - 1, from count, sum (d) and sum of outer products (d d)."""
    mean = total / n
    return mean, (outer - n * torch.outer(mean, mean)) / (n - 1)


class FrechetDistance(Reported):
    """Frechet distance of the features of frames, with the name of their extractor: FrechetDistance[name].

    From 0 up, lower is better. It keeps sums in float64 and no samples, exact across processes. The interval comes from
    a delete-a-group jackknife, for which there is one sum for each of `groups` groups of clips: a bootstrap would need
    as many sums as draws, and repeats samples, which moves this distance upward. Memory: 2 * groups * d * (d + 1) * 8
    bytes, 26 MB for d = 400 and 671 MB for d = 2048; a tenth of it for groups=1, which has no interval.

    >>> color = FrechetDistance(lambda frames: frames.mean((2, 3)), size=None)
    >>> color.update(torch.zeros(4, 3, 8, 8), real=True)
    >>> color.update(torch.ones(2, 2, 3, 8, 8), real=False)
    >>> color.compute()
    tensor(3., dtype=torch.float64)
    """

    higher_is_better = False
    SAMPLES = "frames"

    def __init__(
        self,
        extractor: Callable[[Tensor], Tensor],  # frames (n 3 H W) in [0, 1] -> features (n d)
        size: int | None = 256,  # frames are resized to size x size px first; None = as they are
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
        self._counted: set[int] = set()  # numbers of the clips whose originals are in the sums
        self._counted_before: set[int] = set()  # those that `reset_generated` left there
        self.originals: Callable[[int, Callable[[], Tensor]], Tensor] | None = None
        """Called with a clip's number and a function that computes the features of its original (1 s d); returns them.
        Set where they are cached."""
        d = self._dimension()
        for side in ("real", "fake"):
            for what, shape in (("clips", ()), ("n", ()), ("sum", (d,)), ("outer", (d, d))):
                default = torch.zeros(groups, *shape, dtype=torch.float64)
                self.add_state(f"{side}_{what}", default, dist_reduce_fx="sum")

    def _dimension(self) -> int:
        """Return d, which the extractor states as `features`, or which a black frame shows."""
        stated = getattr(self.extractor.call, "features", None)
        return stated or self._features(torch.zeros(1, 1, 3, self.size or 64, self.size or 64)).shape[-1]

    @property
    def name(self) -> str:
        return f"{type(self).__name__}[{self.extractor.name}]"

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter, "groups": self.groups, "covariance": "n - 1"}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def _features(self, frames: Tensor) -> Tensor:
        """Return the features (b s d) of frames (b t 3 H W), s samples of each clip."""
        flat = frames.flatten(0, 1)
        features = in_chunks(self.extractor.on(frames.device), frames_per_chunk(frames.device), flat)
        if features.ndim != 2 or len(features) != len(flat):
            raise InputError(
                f"{self.extractor.name} turned {len(flat)} {self.SAMPLES} into {tuple(features.shape)}: "
                "an extractor gives (n d), one row for each"
            )
        return features.unflatten(0, frames.shape[:2])

    def update(self, images: Tensor, real: bool, index: Tensor | None = None, features: Tensor | None = None) -> None:
        """Add the features of frames.

        images: (b t 3 H W) in [0, 1], or (n 3 H W), each a clip of its own. real: originals, else generated frames.
        index (b): numbers of the clips in the test set, which decide their group. Without it clips are numbered as they
        come, and an interval over several processes is not digit for digit that of one. The value always is.
        features (b s d): those of the images, where they are known.
        """
        if features is None:
            if isinstance(images, Tensor) and images.ndim == 4:
                images = images[:, None]
            frames = resized(frames_of("real" if real else "fake", images), self.size, self.filter)
            features = self._features(frames)
        self._count(features, real, index)

    def _count(self, features: Tensor, real: bool, index: Tensor | None) -> None:
        """Add features (b s d) of clips with the numbers index (b)."""
        features = features.double()
        if not bool(features.isfinite().all()):
            raise InputError(f"{self.extractor.name} gave features that are not numbers: check its weights")
        clips, n, total, outer = (self._sums(real, what) for what in ("clips", "n", "sum", "outer"))
        if index is None:
            index = torch.arange(len(features)) + int(clips.sum())
        group = (index.flatten() % self.groups).tolist()
        if len(group) != len(features):
            raise InputError(
                f"{len(group)} numbers for {len(features)} clips: give each clip its number in the test set"
            )
        for g in set(group):
            part = features[[i for i, number in enumerate(group) if number == g]]
            clips[g] += len(part)
            part = part.flatten(0, 1)
            n[g] += len(part)
            total[g] += part.sum(0)
            outer[g] += part.T @ part

    def shared_key(self) -> Hashable | None:
        """Return the key of shift-tolerant LPIPS, where the extractor is its network."""
        shareable = isinstance(self.extractor.call, PooledFeatures)
        return (self.extractor.name, self.extractor.sha256, self.resize_spec) if shareable else None

    def compute_shared(self, preds: Tensor, target: Tensor) -> SharedFeatures:
        network = self.extractor.call
        assert isinstance(network, PooledFeatures)
        return network.network.shared_features(preds, target)

    def update_from_clips(self, clips: ClipBatch) -> None:
        """Add generated and original frames, but for originals that `reset_generated` left in the sums."""
        shared: SharedFeatures | None = clips.shared.get(self.shared_key())
        preds, target = clips.resized(*self.resize_spec)
        missing = [place for place, number in enumerate(clips.index.tolist()) if number not in self._counted_before]
        if self.originals is not None:
            for place in missing:
                row = slice(place, place + 1)

                def compute(row: slice = row) -> Tensor:
                    return self._features(target[row]) if shared is None else shared.target[row]

                features = self.originals(int(clips.index[place]), compute)
                self._count(features.to(target.device), True, clips.index[row])
        elif missing:
            rows: Any = slice(None) if len(missing) == len(target) else missing
            known = None if shared is None else shared.target[rows]
            self.update(target[rows], real=True, index=clips.index[missing], features=known)
        self._counted.update(clips.index.tolist())
        self.update(preds, real=False, index=clips.index, features=None if shared is None else shared.preds)

    def reset(self) -> None:
        super().reset()
        self._counted, self._counted_before = set(), set()

    def reset_generated(self) -> None:
        """Reset the sums of generated frames; those of originals stay, and `update_from_clips` skips what they hold."""
        sums = {name: getattr(self, name).clone() for name in self._defaults if name.startswith("real_")}
        counted = self._counted
        self.reset()
        self._counted = self._counted_before = counted
        for name, value in sums.items():
            setattr(self, name, value)

    def _sums(self, real: bool, what: str) -> Tensor:
        return getattr(self, f"{'real' if real else 'fake'}_{what}")

    def _distance(self, groups: Tensor) -> Tensor:
        """Return the distance of the samples in some groups, a mask (g) bool."""
        sides = [
            moments(*(self._sums(real, what)[groups].sum(0) for what in ("n", "sum", "outer")))
            for real in (True, False)
        ]
        return frechet_distance(*sides[0], *sides[1])

    def compute(self) -> Tensor:
        """Return the distance, a scalar in float64. InputError: fewer than two samples on a side."""
        for real in (True, False):
            n = int(self._sums(real, "n").sum())
            if n < 2:
                side = "real" if real else "fake"
                raise InputError(
                    f"{self.name} has {n} {side} samples: it needs two or more of real=True and real=False"
                )
        for note in self.notes():
            rank_zero_warn(f"{self.name}: {note}")
        return self._distance(torch.ones(self.groups, dtype=torch.bool))

    def notes(self) -> list[str]:
        """Return what a reader of the value must know, one sentence each."""
        n = min(int(self._sums(real, "n").sum()) for real in (True, False))
        d = self._sums(True, "sum").shape[1]
        few = f"{n} samples are too few for {d} features: the covariance is singular and the distance biased upward"
        return [few] if n <= d else []

    def interval(self, value: float) -> dict[str, Any] | None:
        """Return the value +- Student's t times the jackknife's standard error; None where clips are too few.

        Both sides leave out the same group, because a generated clip and its original belong together.
        """
        clips = [self._sums(real, "clips") for real in (True, False)]
        used = [g for g in range(self.groups) if any(c[g] > 0 for c in clips)]
        counts = [self._sums(real, "n") for real in (True, False)]
        if len(used) < 2 or any(float(n.sum() - n[g]) < 2 for n in counts for g in used):
            return None
        keep = torch.ones(self.groups, dtype=torch.bool)
        without = torch.stack([self._distance(keep & (torch.arange(self.groups) != g)) for g in used])
        k = len(used)
        error = ((k - 1) / k * (without - without.mean()).square().sum()).sqrt().item()
        half = student_quantile(k - 1) * error
        method = f"delete-a-group jackknife, {k} groups of clips"
        return {"low": max(value - half, 0.0), "high": value + half, "level": CONFIDENCE, "method": method}

    def details(self, value: float) -> dict[str, Any]:
        """Return the numbers of generated samples (n), original samples (n_real) and clips, the interval and notes."""
        return {
            "n": int(self._sums(False, "n").sum()),
            "n_real": int(self._sums(True, "n").sum()),
            "clips": int(self._sums(False, "clips").sum()),
            "interval": self.interval(value),
            "notes": self.notes(),
        }
