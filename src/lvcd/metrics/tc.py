"""Temporal consistency: how much a video changes beside its motion, against how much the original does.

LVCD (arXiv 2409.12960), section 6. A grey, blurred video scores below 1: never show this number alone.

letters: b clips, t frames, p pairs of neighboring frames in a clip, n pairs of all clips, H W pixels
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lvcd.errors import InputError

from .base import ClipMean, Extractor
from .flow import DIS, Flow, warp
from .inputs import Filter, check_resize, in_chunks, pairs_of, resized

CHUNK = 8
"""Pairs of frames whose flow is found at once."""
Over = Literal["mean_of_ratios", "ratio_of_sums"]
"""How the pairs of a clip become one number."""


def relative_changes(earlier: Tensor, later: Tensor, flow: Tensor) -> Tensor:
    """norm2(warp(earlier) - later) / norm2(later) of v videos beside each other: frames (n v 3 H W), one flow for all
    (n 2 H W) from later back -> (n v) float64.

    0 where nothing changes, be it black; infinite where something turns black.
    """
    warped = warp(earlier.flatten(1, 2), flow).view_as(later)  # (n v 3 H W) => (n 3v H W)
    error, size = _norm(warped.sub_(later)), _norm(later)
    return torch.where(error > 0, error / size, 0.0)


def _norm(x: Tensor) -> Tensor:
    """(n v 3 H W) -> (n v) float64: squares in float32, which are summed along a row there and then in float64."""
    return x.square().sum(-1).double().sum((2, 3)).sqrt()


def _equal(target: Tensor, original: Tensor) -> Tensor:
    """Pairs of equal frames (b p): a warp rounds where nothing moves, so their change (b p) may not be quite 0."""
    near = original < 1e-3
    equal = torch.zeros_like(near)
    for clip, pair in near.nonzero().tolist():
        equal[clip, pair] = torch.equal(target[clip, pair], target[clip, pair + 1])
    return equal


class TC(ClipMean):
    """TC, the mean over clips: 1 where the video is as consistent as the original, above where it flickers.

    Of each pair (t, t + 1) it is relative_change of the generated frames over that of the original ones, both warped
    along the flow of the original from t + 1 back to t. Pairs that stand still in the original have no ratio, nor has
    one that turns black: they are skipped, and the report says how many. A clip weighs as many pairs as are left, which
    the report calls frames. Neither lower nor higher is better: nearest to 1 is.

    >>> frames = torch.linspace(0, 1, 2 * 3 * 32 * 32).view(1, 2, 3, 32, 32)
    >>> tc = TC(size=None)
    >>> tc.update(frames, frames)
    >>> tc.compute()
    tensor(1., dtype=torch.float64)
    """

    higher_is_better = None
    skipped: Tensor

    def __init__(
        self,
        flow: Flow | None = None,  # first and second frame (n 3 H W) in [0, 1] -> (n 2 H W) px; None = DIS()
        over: Over = "mean_of_ratios",
        still: float = 0.0,  # a pair whose original changes by this much or less stands still
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        if over not in get_args(Over):
            raise InputError(f"pairs become one number by {' or '.join(get_args(Over))}, not {over!r}: choose one")
        if not still >= 0:
            raise InputError(f"a pair stands still from 0 up, not from {still}: the default is 0")
        self.over, self.still, self.size, self.filter = over, still, size, filter
        self.extractor = Extractor(flow or DIS())
        self.add_state("skipped", torch.zeros(2, dtype=torch.long), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Generated and original frames, both (b t 3 H W) in [0, 1]. A clip of one frame has no pair, and no score."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        b, t = preds.shape[:2]
        if t < 2:
            self.add(torch.zeros(b, device=preds.device), 0)
            return
        # (b t 3 H W) => (b t 2 3 H W): generated beside original; => (n 2 3 H W)
        both = torch.stack([preds, target], 2)
        earlier, later = both[:, :-1].flatten(0, 1), both[:, 1:].flatten(0, 1)
        changes = in_chunks(self._changes, CHUNK, earlier, later).unflatten(0, (b, t - 1))
        generated, original = changes.unbind(2)
        still = (original <= self.still) | _equal(target, original)
        black = ~still & ~(original.isfinite() & generated.isfinite())
        self.skipped += torch.stack([still.sum(), black.sum()])
        self._add(generated, original, ~still & ~black)

    def _changes(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Both (n 2 3 H W) -> (n 2)"""
        flow = self.extractor.on(later.device)(later[:, 1], earlier[:, 1])
        together = 1 if later.device.type == "cpu" else CHUNK  # one pair fits into a core's own memory
        return in_chunks(relative_changes, together, earlier, later, flow)

    def _add(self, generated: Tensor, original: Tensor, kept: Tensor) -> None:
        """Changes, and whether they count, all (b p)."""
        zero = torch.zeros_like(generated)
        pairs = kept.sum(1)
        if self.over == "mean_of_ratios":
            scores = (generated / original).where(kept, zero).sum(1) / pairs
        else:
            scores = generated.where(kept, zero).sum(1) / original.where(kept, zero).sum(1)
        self.add(scores, pairs)

    def settings(self) -> dict[str, Any]:
        warped = "from t to t + 1 along the flow from t + 1 to t, bilinear, edges repeated"
        own = {"over": self.over, "still": self.still, "warp": warped}
        return {**own, "size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def notes(self) -> list[str]:
        still, black = self.skipped.tolist()
        notes = [f"{still} pairs stand still in the original: skipped"] * bool(still)
        return notes + [f"{black} pairs turn black: skipped"] * bool(black)
