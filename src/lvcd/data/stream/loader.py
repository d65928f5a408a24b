"""Epoch after epoch, and where in one a run stopped."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader

from .packed import Packed
from .stages import ClipStream


def deaf(worker: int) -> None:
    """For a worker as it starts: who interrupts a whole group of processes means the one that trains, which saves."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


class StreamLoader:
    """The batches of one rank, a new epoch whenever it is iterated again. Made for Lightning: an iterator that nobody
    asks for a batch changes nothing, and the length stays that of a whole epoch.

    workers     processes; 0 = this one
    told        is given each batch first, how many samples the epoch has lost by now, and how many it has at all on
                this rank; what it raises ends the epoch
    """

    def __init__(
        self, stream: ClipStream, workers: int, told: Callable[[Packed, int, int], None], pin_memory: bool = False
    ):
        assert stream.plan.workers == max(1, workers)
        self.stream, self.epoch, self.done = stream, 0, 0
        self._workers, self._told, self._pin = workers, told, pin_memory
        self._running: Iterator[Packed] | None = None

    def __len__(self) -> int:
        return self.stream.plan.batches(self.stream.rank)

    def __iter__(self) -> Iterator[Packed]:
        if self._running is not None:
            self.close()
            self.epoch, self.done = (self.epoch + 1 if self.stream.plan.train else 0), 0
        self._running = running = self._batches()
        yield from running

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
        if self._running is not None:
            self._running.close()  # type: ignore[attr-defined]

    def _batches(self) -> Iterator[Packed]:
        stream = replace(self.stream, epoch=self.epoch, done=self.done)
        own = torch.Generator()  # or torch's common one would go on by a step, and training with other noise
        loader = DataLoader(stream, batch_size=None, num_workers=self._workers, pin_memory=self._pin, generator=own,
                            worker_init_fn=deaf)  # fmt: skip
        lost, places = 0, stream.plan.share(stream.rank)
        for batch in loader:
            lost += len(batch.lost)
            self._told(batch, lost, places)
            if batch.keys:
                self.done += 1
                yield batch

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
            "data": self.stream.manifest.sha256,
        }
