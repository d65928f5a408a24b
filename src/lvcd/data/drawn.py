"""Clips that are drawn when they are read, and batches of them: a function of their number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from lvcd.lineart.sketch import png_from_ink
from lvcd.pixel_values import signed_from_uint8, uint8_from_signed, uint8_from_unit, unit_from_uint8

from .augment import Augment
from .cartoons import FPS, Cartoon, draw
from .stream.epoch_plan import EpochPlan
from .stream.raw_batch import RawBatch


class CartoonClips(Dataset[Cartoon]):
    """Clips that are drawn when they are read, styles by turns: item i is always the same. The reference comes first.

    The reference is any earlier frame of the same scene, as in the paper, at most `reach` frames before the clip.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        window: int,
        height: int,
        width: int,
        styles: Sequence[str],
        reach: int,
        augment: Augment | None = None,
    ):
        self.count, self.seed, self.window, self.augment = count, seed, window, augment
        self.height, self.width, self.styles, self.reach = height, width, tuple(styles), reach

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Cartoon:
        seed = self.seed + index
        start = int(np.random.default_rng([seed, 2]).integers(1, self.reach + 1))
        times = [0, *range(start, start + self.window)]
        style = self.styles[index % len(self.styles)]
        clip = draw(seed, len(times), self.height, self.width, style, times=times)
        if self.augment is None:
            return clip
        pixels = signed_from_uint8(torch.from_numpy(clip.frames).movedim(-1, 1))
        ink = unit_from_uint8(torch.from_numpy(clip.lines)[:, None])
        frames, sketches = self.augment(pixels, ink, np.random.default_rng([seed, 3]))
        assert frames is not None
        drawn = uint8_from_signed(frames.movedim(1, -1)).numpy()
        return replace(clip, frames=drawn, lines=uint8_from_unit(sketches[:, 0]).numpy())


def pack(clips: CartoonClips, numbers: Sequence[int]) -> RawBatch:
    """Draw the clips of these numbers as one batch."""
    drawn = [clips[n] for n in numbers]
    lines, frames = np.stack([c.lines for c in drawn]), np.stack([c.frames for c in drawn])
    return RawBatch(
        torch.from_numpy(png_from_ink(lines[:, :, None])),
        torch.full((len(drawn),), float(FPS)),
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, 2))),
        keys=tuple(f"drawn-{n}" for n in numbers),
    )


@dataclass(frozen=True)
class DrawnStream:
    """What ClipStream is for shards, for drawn clips: in their order, batch after batch, the ranks in turn."""

    clips: CartoonClips
    plan: EpochPlan
    rank: int = 0
    epoch: int = 0  # each draws the same clips
    done: int = 0

    @property
    def identity(self) -> str:
        """What is drawn, apart from the order."""
        return str({name: value for name, value in vars(self.clips).items() if name != "count"})

    def consumer(self, worker: int) -> Iterator[RawBatch]:
        """Yield the batches that one worker delivers."""
        plan, b = self.plan, self.plan.batch_size
        first = worker + plan.workers * plan.delivered(worker, self.done)
        for number in range(first, plan.full, plan.workers):
            begin = (number * plan.ranks + self.rank) * b
            numbers = [n % len(self.clips) for n in range(begin, begin + b)]
            yield pack(self.clips, numbers)
