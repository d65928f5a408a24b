"""Several processes on one evaluation: each takes its share of the clips, and all come to the same row."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    rank: int = 0
    world: int = 1

    @classmethod
    def join(cls) -> Ranks:
        """Of torchrun's environment; alone without one."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        if not dist.is_initialized():
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        return self.rank == 0

    def device(self, name: str) -> str:
        """This process's own GPU, where the name leaves it open."""
        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if name == "cuda" else name

    def share(self, count: int) -> range:
        """Which of 0 .. count - 1 are this process's."""
        return range(self.rank, count, self.world)

    def gather(self, own: dict[int, Any]) -> dict[int, Any]:
        """Of all processes, in the order of the numbers. Each must call it."""
        if self.world == 1:
            return dict(sorted(own.items()))
        parts: list[Any] = [None] * self.world
        dist.all_gather_object(parts, own)
        return dict(sorted((number, value) for part in parts for number, value in part.items()))
