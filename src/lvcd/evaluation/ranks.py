"""Several processes on one evaluation: each paints and scores a part of the clips, and they make one row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process among those of an evaluation."""

    rank: int = 0
    world: int = 1
    """Number of processes."""

    @classmethod
    def join(cls) -> Ranks:
        """Return the rank in torchrun's environment, after joining its process group; one process without torchrun."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this process writes the row."""
        return self.rank == 0

    def device(self, name: str) -> str:
        """Return the device of this process: its own GPU where the name is just "cuda"."""
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name

    def indices(self, count: int) -> range:
        """Return which of 0 .. count - 1 are this process's."""
        return range(self.rank, count, self.world)

    def gather(self, entries: dict[int, Any]) -> dict[int, Any]:
        """Return the entries of all processes in the order of their numbers. Each process must call it."""
        if self.world == 1:
            return dict(sorted(entries.items()))
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, entries)
        return dict(sorted((number, value) for part in parts for number, value in part.items()))
