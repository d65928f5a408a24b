"""TC, temporal consistency: how much a video changes beyond its motion, relative to the original.

LVCD (arXiv 2409.12960), section 6. A grey, blurred video scores below 1: never show this value alone.

letters: b clips, t frames, p pairs of neighboring frames in a clip, n pairs of all clips, H W pixels
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lvcd.errors import InputError

from .base import ClipMean, Extractor
from .flow import DIS, Flow, warp
from .frame_tensors import Filter, check_resize, in_chunks, pairs_of, resized

PAIRS_PER_CHUNK = 8
"""Pairs of frames whose flow is computed at once."""


def relative_changes(earlier: Tensor, later: Tensor, flow: Tensor) -> Tensor:
    """Return |warp(earlier) - later| / |later| of pairs of frames of v videos with one flow: (n v) float64.

    earlier, later: frames (n v 3 H W). flow: (n 2 H W) px, from later back to earlier. A pair that does not change has
    0, a black one too; a pair that turns black has infinity.
    """
    warped = warp(earlier.flatten(1, 2), flow).view_as(later)  # (n v 3 H W) => (n 3v H W)
    error, size = _norm(warped.sub_(later)), _norm(later)
    return torch.where(error > 0, error / size, 0.0)


def _norm(x: Tensor) -> Tensor:
    """Return the norms of frames (n v 3 H W): (n v) float64. Squares and sums along a row are in float32."""
    return x.square().sum(-1).double().sum((2, 3)).sqrt()


def _equal(target: Tensor, original: Tensor) -> Tensor:
    """Return the mask (b p) of pairs of equal frames: a warp rounds, so their `original` change (b p) may exceed 0."""
    almost_equal = original < 1e-3
    equal = torch.zeros_like(almost_equal)
    for clip, pair in almost_equal.nonzero().tolist():
        equal[clip, pair] = torch.equal(target[clip, pair], target[clip, pair + 1])
    return equal


class TC(ClipMean):
    r"""TC, mean over pairs of neighboring frames: 1 for the original itself, above 1 where the video flickers more.

    .. math:: TC = \frac{1}{p} \sum_t \frac{|W(x_t) - x_{t+1}| / |x_{t+1}|}{|W(y_t) - y_{t+1}| / |y_{t+1}|}

    of generated frames x and original frames y, where W warps along the original's optical flow from t + 1 back to t.
    Pairs that stand still in the original, or turn black in either video, have no ratio: they are skipped, and the
    report counts them. A clip weighs as many pairs as are left, which the report calls frames. Neither lower nor higher
    is better: nearest to 1 is.

    >>> frames = torch.linspace(0, 1, 2 * 3 * 32 * 32).view(1, 2, 3, 32, 32)
    >>> tc = TC(size=None)
    >>> tc.update(frames, frames)
    >>> tc.compute()
    tensor(1., dtype=torch.float64)
    """

    higher_is_better = None
    across_given = True
    skipped: Tensor

    def __init__(
        self,
        flow: Flow | None = None,  # first and second frame (n 3 H W) in [0, 1] -> (n 2 H W) px; None = DIS()
        still: float = 0.0,  # a pair whose original changes by this much or less stands still
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        if not still >= 0:
            raise InputError(f"still={still}: give a change of 0 or more, up to which a pair stands still")
        self.still, self.size, self.filter = still, size, filter
        self.extractor = Extractor(flow or DIS())
        self.add_state("skipped", torch.zeros(2, dtype=torch.long), "sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and original frames, both (b t 3 H W) in [0, 1]. A clip of one frame has no score."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        b, t = preds.shape[:2]
        if t < 2:
            self.add(torch.zeros(b, device=preds.device), 0)
            return
        # (b t 3 H W) => (b t 2 3 H W): generated beside original; => (n 2 3 H W)
        both = torch.stack([preds, target], 2)
        earlier, later = both[:, :-1].flatten(0, 1), both[:, 1:].flatten(0, 1)
        changes = in_chunks(self._changes, PAIRS_PER_CHUNK, earlier, later).unflatten(0, (b, t - 1))
        generated, original = changes.unbind(2)
        still = (original <= self.still) | _equal(target, original)
        black = ~still & ~(original.isfinite() & generated.isfinite())
        self.skipped += torch.stack([still.sum(), black.sum()])
        scored = ~still & ~black
        ratios = (generated / original).where(scored, torch.zeros_like(generated))
        self.add(ratios.sum(1) / scored.sum(1), scored.sum(1))

    def _changes(self, earlier: Tensor, later: Tensor) -> Tensor:
        """Return the relative changes (n 2) of pairs of frames, both (n 2 3 H W): the generated before the original."""
        flow = self.extractor.on(later.device)(later[:, 1], earlier[:, 1])
        together = 1 if later.device.type == "cpu" else PAIRS_PER_CHUNK  # one pair fits into a core's cache
        return in_chunks(relative_changes, together, earlier, later, flow)

    def settings(self) -> dict[str, Any]:
        """Return the settings; "over", how pairs become one number, is part of the key of existing boards."""
        warped = "from t to t + 1 along the flow from t + 1 to t, bilinear, edges repeated"
        fixed = {"over": "mean_of_ratios", "still": self.still, "warp": warped}
        return {**fixed, "size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def notes(self) -> list[str]:
        still, black = self.skipped.tolist()
        notes = [f"{still} pairs stand still in the original: skipped"] * bool(still)
        return notes + [f"{black} pairs turn black: skipped"] * bool(black)
