"""The loader of a stream: epoch after epoch, and where in one a run stopped."""

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

from lvcd.system import end_with_parent

from .raw_batch import RawBatch


def ignore_signals(worker: int) -> None:
    """Let a new worker process ignore the signals that end a run: the process that trains answers them, and saves. If
    that is killed, the worker ends, too.

    Ctrl-C reaches a whole group of processes, and SLURM's SIGUSR1 or SIGUSR2 too, before a job's time is over.
    """
    end_with_parent()
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"):
        if number := getattr(signal, name, None):  # Windows has the first two
            signal.signal(number, signal.SIG_IGN)


@dataclass(frozen=True, eq=False)
class EndlessStream(IterableDataset[RawBatch]):
    """The batches of a stream, and of the epochs after it, without end.

    So workers live as long as training does, and read the next epoch's first batches while the last of this one are
    trained on: to start them anew costs as much as several batches of a small run.
    """

    stream: Any

    def __iter__(self) -> Iterator[RawBatch]:
        info, stream = get_worker_info(), self.stream
        turn = info.id if info else 0  # in which the loader asks; it goes round through the ends of epochs
        while True:
            yield from stream.consumer((turn + stream.done) % stream.plan.workers)
            turn -= stream.plan.batches(stream.rank) - stream.done
            stream = replace(stream, epoch=stream.epoch + 1, done=0)


def _each(readers: DataLoader) -> Iterator[RawBatch]:
    """Yield the batches of the readers. Once closed, the generator keeps no reference to them."""
    yield from readers


class StreamLoader:
    """The batches of one rank, a new epoch whenever it is iterated again. Made for Lightning: an iterator that nobody
    asks for a batch changes nothing, and the length stays that of a whole epoch.

    stream      ClipStream, or what has its plan, rank, epoch, done, identity and consumer
    workers     processes; 0 = this one. They live on: in training from one epoch to the next, else from one time that
                the stream is read to the next, which begins anew wherever the last was left
    report      is called with each batch first, the number of samples of the epoch that could not be read so far, and
                the number of all its samples on this rank; what it raises ends the epoch
    """

    def __init__(
        self, stream: Any, workers: int, report: Callable[[RawBatch, int, int], None], pin_memory: bool = False
    ):
        assert stream.plan.workers == max(1, workers)
        self.stream, self.epoch, self.done = stream, 0, 0
        self._workers, self._report, self._pin = workers, report, pin_memory
        self._readers: DataLoader | None = None
        self._running: Iterator[RawBatch] | None = None

    def __len__(self) -> int:
        return self.stream.plan.batches(self.stream.rank)

    def __iter__(self) -> Iterator[RawBatch]:
        if self._running is not None:
            train = self.stream.plan.train
            if not train:
                self._stop()
            elif self.done < len(self):  # the trainer has left an epoch early: its rest is not needed
                self.close()
            self.epoch, self.done = (self.epoch + 1 if train else 0), 0
        if self._readers is None:
            self._readers = self._start()
            atexit.register(self.close)  # Python would wait for processes that ignore its signal
        if self._running is None:
            self._running = _each(self._readers)
        unreadable, planned = 0, self.stream.plan.num_samples(self.stream.rank)
        for batch in islice(self._running, len(self) - self.done):
            unreadable += len(batch.errors)
            self._report(batch, unreadable, planned)
            if batch.keys:
                self.done += 1
                yield batch

    def position(self, unfinished: int = 0) -> dict[str, Any]:
        """Return where the next batch is, if the last `unfinished` are to come again; plain numbers and strings."""
        return {"epoch": self.epoch, "done": self.done - unfinished, **self._identity()}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from a `position` with the very next batch, or with the epoch's first if it is not the same stream."""
        changed = [name for name, value in self._identity().items() if state.get(name) != value]
        self.epoch, self.done = state["epoch"], 0 if changed else state["done"]
        if self.done >= len(self):
            self.epoch, self.done = self.epoch + 1, 0
        if changed and state["done"]:
            warnings.warn(
                f"other {' and '.join(changed)} than when the run was stopped: epoch {self.epoch} begins again",
                stacklevel=2,
            )

    def state_dict(self) -> dict[str, Any]:
        """Return nothing. With this pair Lightning knows a loader that can resume and does not warn; the state is the
        data module's, which knows what the trainer has finished."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Do nothing, see `state_dict`."""

    def close(self) -> None:
        """End the processes and pipes that run for it."""
        self._stop()
        self._readers = None
        atexit.unregister(self.close)

    def _stop(self) -> None:
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]
            self._running = None

    def _start(self) -> DataLoader:
        stream = replace(self.stream, epoch=self.epoch, done=self.done)
        generator = torch.Generator()  # or torch's common one would advance by a step, and training see other noise
        data, live_on = (EndlessStream(stream), False) if stream.plan.train else (stream, self._workers > 0)
        return DataLoader(data, batch_size=None, num_workers=self._workers, pin_memory=self._pin, generator=generator,
                          worker_init_fn=ignore_signals, persistent_workers=live_on)  # fmt: skip

    def _identity(self) -> dict[str, Any]:
        """Return all that the order depends on."""
        plan = self.stream.plan
        return {
            "seed": plan.seed,
            "ranks": plan.ranks,
            "workers": plan.workers,
            "batch size": plan.batch_size,
            "windows": plan.windows,
            "buffer": plan.buffer,
            "data": self.stream.identity,
        }
