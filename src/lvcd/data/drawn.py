"""Clips drawn when they are asked for, and batches of them: a function of their number alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch.utils.data import Dataset

from .augment import Augment
from .cartoons import FPS, Cartoon, draw
from .stream.epoch_plan import Plan
from .stream.packed import Packed, to_frames


class CartoonClips(Dataset[Cartoon]):
    """Clips drawn when they are asked for, styles by turns: item i is always the same. The reference comes first.

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
        pixels = to_frames(torch.from_numpy(clip.frames).movedim(-1, 1))
        frames, lines = self.augment(
            pixels, torch.from_numpy(clip.lines)[:, None] / 255, np.random.default_rng([seed, 3])
        )
        assert frames is not None
        drawn = ((frames.movedim(1, -1) + 1) * 127.5).round().byte().numpy()
        return replace(clip, frames=drawn, lines=(lines[:, 0] * 255).round().byte().numpy())


def pack(clips: CartoonClips, numbers: Sequence[int]) -> Packed:
    """A batch of the clips of these numbers."""
    drawn = [clips[n] for n in numbers]
    lines, frames = np.stack([c.lines for c in drawn]), np.stack([c.frames for c in drawn])
    return Packed(
        torch.from_numpy(255 - lines[:, :, None]),
        torch.full((len(drawn),), float(FPS)),
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(frames, -1, 2))),
        keys=tuple(f"drawn-{n}" for n in numbers),
    )


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

    def consumer(self, worker: int) -> Iterator[Packed]:
        plan, b = self.plan, self.plan.batch_size
        first = worker + plan.workers * plan.delivered(worker, self.done)
        for number in range(first, plan.full, plan.workers):
            begin = (number * plan.ranks + self.rank) * b
            numbers = [n % len(self.clips) for n in range(begin, begin + b)]
            yield pack(self.clips, numbers)
