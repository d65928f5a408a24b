"""Clips drawn when they are asked for, and batches of them: a function of their number alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from .augment import Augment
from .batch import Batch
from .cartoons import Cartoon, draw
from .stream.plan import Plan


class CartoonClips(Dataset[Cartoon]):
    """Clips drawn when they are asked for: item i is always the same. The reference comes first.

    The reference is any earlier frame of the same scene, as in the paper, at most `reach` frames before the clip.
    """

    def __init__(
        self,
        count: int,
        seed: int,
        window: int,
        height: int,
        width: int,
        style: str,
        reach: int,
        augment: Augment | None = None,
    ):
        self.count, self.seed, self.window, self.augment = count, seed, window, augment
        self.height, self.width, self.style, self.reach = height, width, style, reach

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Cartoon:
        seed = self.seed + index
        start = int(np.random.default_rng([seed, 2]).integers(1, self.reach + 1))
        times = [0, *range(start, start + self.window)]
        clip = draw(seed, len(times), self.height, self.width, self.style, times=times)
        if self.augment is None:
            return clip
        batch = collate([clip])
        assert batch.frames is not None
        frames, lines = self.augment(batch.frames[0], batch.sketches[0], np.random.default_rng([seed, 3]))
        assert frames is not None
        pixels = ((frames.movedim(1, -1) + 1) * 127.5).round().byte().numpy()
        return replace(clip, frames=pixels, lines=(lines[:, 0] * 255).round().byte().numpy())


def collate(clips: list[Cartoon]) -> Batch:
    frames = torch.from_numpy(np.stack([c.frames for c in clips])).movedim(-1, 2).float() / 127.5 - 1
    sketches = torch.from_numpy(np.stack([c.lines for c in clips]))[:, :, None].float() / 255
    return Batch(sketches, torch.full((len(clips),), 6.0), frames)


@dataclass(frozen=True)
class DrawnStream:
    """As stream.stages.ClipStream, of drawn clips: in their order, batch after batch, the ranks in turn."""

    clips: CartoonClips
    plan: Plan
    rank: int = 0
    epoch: int = 0  # each draws the same clips
    done: int = 0

    @property
    def data(self) -> str:
        """What is drawn, apart from the order."""
        return str({name: value for name, value in vars(self.clips).items() if name != "count"})

    def consumer(self, worker: int) -> Iterator[Batch]:
        plan, b = self.plan, self.plan.batch_size
        first = worker + plan.workers * plan.delivered(worker, self.done)
        for number in range(first, plan.full, plan.workers):
            begin = (number * plan.ranks + self.rank) * b
            numbers = [n % len(self.clips) for n in range(begin, begin + b)]
            yield replace(collate([self.clips[n] for n in numbers]), keys=tuple(f"drawn-{n}" for n in numbers))
