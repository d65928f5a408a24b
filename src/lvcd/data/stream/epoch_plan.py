"""The plan of an epoch: which worker of which rank reads which clip, for which batch. No file is opened here, and none
can change the order.

A sample is one window of one clip. Samples stand in one line: the shards in the epoch's order, the clips of each, the
windows of each. The line is cut into one stretch for each consumer, a worker of a rank, so that only the shards at the
cuts are read twice.
"""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import accumulate, islice
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Slot(NamedTuple):
    """A place in a batch, and the sample planned for it."""

    shard: int
    clip: int
    """The number of the clip in the shard, from 0."""
    window: int = 0
    """The number of the window in the clip, from 0."""
    repeat: int = 0
    """How often this sample was planned before: more than 0 is padding."""
    skip: bool = False
    """True: it was delivered before the run was stopped, and is not read again."""


@dataclass(frozen=True)
class EpochPlan:
    """The plan of every epoch, for `ranks` processes with `workers` each.

    Training: every rank has the same number of batches, all of them full; a consumer that runs short of samples takes
    some of its own again. Otherwise: each sample exactly once, in the order of the shards; every rank still has the
    same number of batches, but some are smaller (at batch size 1, or with fewer clips than ranks, some are missing).
    """

    clips: tuple[int, ...]  # of each shard
    batch_size: int
    train: bool = True
    windows: int = 1  # samples of each clip
    ranks: int = 1
    workers: int = 1
    seed: int = 0
    buffer: int = 64  # samples among which the next is drawn

    @property
    def samples(self) -> int:
        """The number of different samples in one epoch, of all ranks."""
        return sum(self.clips) * self.windows

    @property
    def full(self) -> int:
        """The number of batches of each rank, if none of them is empty."""
        return -(-self.samples // (self.ranks * self.batch_size))

    @property
    def padded(self) -> int:
        """The number of samples that an epoch of all ranks shows again."""
        return self.full * self.ranks * self.batch_size - self.samples if self.train else 0

    def batches(self, rank: int) -> int:
        """Return the number of batches of a rank."""
        return sum(len(self.sizes(rank, worker)) for worker in range(self.workers))

    def num_samples(self, rank: int) -> int:
        """Return the number of samples in the batches of a rank."""
        return sum(sum(self.sizes(rank, worker)) for worker in range(self.workers))

    def sizes(self, rank: int, worker: int) -> list[int]:
        """Return the size of each batch of a consumer."""
        first, count = self._batches(rank, worker)
        if self.train:
            return [self.batch_size] * count
        ends = [self._cut(batch) for batch in range(first, first + count + 1)]
        return [stop - start for start, stop in zip(ends, ends[1:]) if stop > start]

    def delivered(self, worker: int, batches: int) -> int:
        """Return how many of the first `batches` of a rank a worker delivers: the loader asks them in turn."""
        return -(-(batches - worker) // self.workers) if batches > worker else 0

    def slots(self, epoch: int, rank: int, worker: int, done: int = 0) -> Iterator[Slot]:
        """Yield what a consumer reads, in the order of the shards; of its batches, `done` were delivered before."""
        first, count = self._batches(rank, worker)
        start, stop = self._cut(first), self._cut(first + count)
        places = self.batch_size * count if self.train else stop - start
        delivered = (
            set(islice(self.shuffled(range(places), epoch, rank, worker), done * self.batch_size)) if done else set()
        )
        order = self.order(epoch)
        ends = list(accumulate(self.clips[shard] * self.windows for shard in order))
        last, repeat = -1, 0
        for place in range(places):
            sample = start + place * max(stop - start, 1) // places
            repeat = repeat + 1 if sample == last else 0
            last = sample
            at = bisect_right(ends, sample)
            clip, window = divmod(sample - (ends[at - 1] if at else 0), self.windows)
            yield Slot(order[at], clip, window, repeat, skip=place in delivered)

    def order(self, epoch: int) -> list[int]:
        """Return the numbers of the shards in the order of this epoch."""
        order = list(range(len(self.clips)))
        if self.train:
            random.Random(f"{self.seed} {epoch}").shuffle(order)
        return order

    def shuffled(self, items: Iterable[T], epoch: int, rank: int, worker: int) -> Iterator[T]:
        """Shuffle items within a consumer. The order depends on how many there are, never on what they are."""
        if not self.train:
            return iter(items)
        return shuffled(items, self.buffer, random.Random(f"{self.seed} {epoch} {rank} {worker}"))

    def _batches(self, rank: int, worker: int) -> tuple[int, int]:
        """Return the first batch and the number of batches of a consumer, counted over all consumers in order."""
        counts = [self.delivered(w, self.full) for w in range(worker + 1)]
        return rank * self.full + sum(counts[:-1]), counts[-1]

    def _cut(self, batch: int) -> int:
        """Return the sample that begins batch number `batch` of all: the line is cut into equal parts."""
        return self.samples * batch // (self.full * self.ranks) if self.full else 0


def shuffled(items: Iterable[T], size: int, random: random.Random) -> Iterator[T]:
    """Yield each item once: whenever more than `size` wait, one of them, drawn at random, is next."""
    waiting: list[T] = []
    for item in items:
        waiting.append(item)
        if len(waiting) > size:
            yield _drawn(waiting, random)
    while waiting:
        yield _drawn(waiting, random)


def _drawn(waiting: list[T], random: random.Random) -> T:
    place = random.randrange(len(waiting))
    waiting[place], waiting[-1] = waiting[-1], waiting[place]
    return waiting.pop()
