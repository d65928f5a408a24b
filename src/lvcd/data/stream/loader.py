"""Epoch after epoch, and where in one a run stopped."""

from __future__ import annotations

import atexit
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .packed import Packed


def deaf(worker: int) -> None:
    """For a worker as it starts: who interrupts a whole group of processes means the one that trains, which saves;
    as does SLURM before a job's time is over, and the answer to its SIGUSR1 or SIGUSR2 was handed on by the parent."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True, eq=False)
class Epochs(IterableDataset[Packed]):
    """The batches of a stream, and of the epochs after it, without end. So workers live as long as training does, and
    read the next epoch's first batches while the last of this one are trained on: to start them anew costs as much as
    several batches of a small run."""

    stream: Any

    def __iter__(self) -> Iterator[Packed]:
        info, stream = get_worker_info(), self.stream
        turn = info.id if info else 0  # in which the loader asks; it goes round through the ends of epochs
        while True:
            yield from stream.consumer((turn + stream.done) % stream.plan.workers)
            turn -= stream.plan.batches(stream.rank) - stream.done
            stream = replace(stream, epoch=stream.epoch + 1, done=0)


def _each(readers: DataLoader) -> Iterator[Packed]:
    """Once closed, it holds on to nothing of the readers, whoever still holds it."""
    yield from readers


class StreamLoader:
    """The batches of one rank, a new epoch whenever it is iterated again. Made for Lightning: an iterator that nobody
    asks for a batch changes nothing, and the length stays that of a whole epoch.

    stream      ClipStream, or what has its plan, rank, epoch, done, data and consumer
    workers     processes; 0 = this one. They live on: in training from one epoch to the next, else from one time that
                the stream is read to the next, which begins anew wherever the last was left
    told        is given each batch first, how many samples the epoch has lost by now, and how many it has at all on
                this rank; what it raises ends the epoch
    """

    def __init__(self, stream: Any, workers: int, told: Callable[[Packed, int, int], None], pin_memory: bool = False):
        assert stream.plan.workers == max(1, workers)
        self.stream, self.epoch, self.done = stream, 0, 0
        self._workers, self._told, self._pin = workers, told, pin_memory
        self._readers: DataLoader | None = None
        self._running: Iterator[Packed] | None = None

    def __len__(self) -> int:
        return self.stream.plan.batches(self.stream.rank)

    def __iter__(self) -> Iterator[Packed]:
        if self._running is not None:
            train = self.stream.plan.train
            if not train:
                self._leave()
            elif self.done < len(self):  # the trainer has left an epoch early: its rest is not wanted
                self.close()
            self.epoch, self.done = (self.epoch + 1 if train else 0), 0
        if self._readers is None:
            self._readers = self._start()
            atexit.register(self.close)  # Python would wait for processes that are deaf to its signal
        if self._running is None:
            self._running = _each(self._readers)
        lost, places = 0, self.stream.plan.share(self.stream.rank)
        for batch in islice(self._running, len(self) - self.done):
            lost += len(batch.lost)
            self._told(batch, lost, places)
            if batch.keys:
                self.done += 1
                yield batch

    def position(self, unfinished: int = 0) -> dict[str, Any]:
        """Where the next batch is, if the last `unfinished` are to come again; plain numbers and strings."""
        return {"epoch": self.epoch, "done": self.done - unfinished, **self._data()}

    def go_on(self, state: dict[str, Any]) -> None:
        """From a `position`: with the very next batch, or with the epoch's first if it is not the same stream."""
        changed = [name for name, value in self._data().items() if state.get(name) != value]
        self.epoch, self.done = state["epoch"], 0 if changed else state["done"]
        if self.done >= len(self):
            self.epoch, self.done = self.epoch + 1, 0
        if changed and state["done"]:
            warnings.warn(
                f"other {' and '.join(changed)} than when the run was stopped: epoch {self.epoch} begins again",
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """Nothing. With this pair Lightning knows a loader that can go on and does not warn; the state is the data
        module's, which knows what the trainer has finished."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass

    def close(self) -> None:
        """Ends what runs for it: processes, pipes."""
        self._leave()
        self._readers = None
        atexit.unregister(self.close)

    def _leave(self) -> None:
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]
            self._running = None

    def _start(self) -> DataLoader:
        stream = replace(self.stream, epoch=self.epoch, done=self.done)
        own = torch.Generator()  # or torch's common one would go on by a step, and training with other noise
        data, live_on = (Epochs(stream), False) if stream.plan.train else (stream, self._workers > 0)
        return DataLoader(data, batch_size=None, num_workers=self._workers, pin_memory=self._pin, generator=own,
                          worker_init_fn=deaf, persistent_workers=live_on)  # fmt: skip

    def _data(self) -> dict[str, Any]:
        """All that the order depends on."""
        plan = self.stream.plan
        return {
            "seed": plan.seed,
            "ranks": plan.ranks,
            "workers": plan.workers,
            "batch size": plan.batch_size,
            "windows": plan.windows,
            "buffer": plan.buffer,
            "data": self.stream.data,
        }
