"""What an evaluation has painted so far, on disk, so that one that was stopped goes on.

letters: n frames, H W pixels
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.disk import atomic, printable, reading, writing
from lvcd.metrics import Suite


class Painted(NamedTuple):
    frames: Tensor
    """(n 3 H W) in [0, 1], of 8 bits: what is scored is what a file would hold."""
    seconds: float
    """That painting took, when it was painted."""
    memory: float
    """GiB at most by then, of the process that painted it."""


def job_name(job: dict[str, Any]) -> str:
    """12 hex digits of all that the result depends on."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


class Kept:
    """A folder of painted clips, each file whole or not there."""

    def __init__(self, folder: Path):
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def paint(self, name: str, shape: tuple[int, ...], paint: Callable[[], Painted]) -> Painted:
        """What is there under `name`, or what `paint` makes now.

        InputError: its shape is not `shape`, or it holds something other than numbers in [0, 1].
        """
        file = self.folder / f"{name}.npz"
        if not file.exists():
            new = paint()
            levels, cost = _levels(new.frames, name, shape), np.array([new.seconds, new.memory])
            with atomic(file, "the same command goes on") as temp, temp.open("wb") as stream:
                np.savez_compressed(stream, frames=levels, cost=cost)
        with reading("painted clip", file, "delete it and run again"), np.load(file, allow_pickle=False) as kept:
            return Painted(torch.from_numpy(kept["frames"]).float() / 255, *kept["cost"].tolist())

    def save(self, name: str, suite: Suite, clips: int) -> None:
        """What the metrics have seen: the first `clips` of a process's share."""
        states: dict[str, Any] = {}
        for column, metric in suite.metrics.items():
            metric.persistent(True)
            states[column] = metric.state_dict()
        with atomic(self.folder / f"{name}.pt", "the same command goes on") as temp:
            torch.save({"clips": clips, "states": states}, temp)

    def restore(self, name: str, suite: Suite) -> int:
        """Have the metrics see what they had seen; => how many clips, 0 if nothing is kept."""
        file = self.folder / f"{name}.pt"
        if not file.exists():
            return 0
        with reading("kept scores", file, "delete it and run again"):
            kept = torch.load(file, map_location="cpu", weights_only=True)
            for column, metric in suite.metrics.items():
                metric.persistent(True)
                metric.load_state_dict(kept["states"][column])
        return int(kept["clips"])

    def clear(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def _levels(frames: Tensor, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """=> (n 3 H W) uint8"""
    if tuple(frames.shape) != shape:
        raise InputError(
            f"clip {printable(name)}: the method gave {tuple(frames.shape)} and not {shape}, frames (n 3 H W)"
        )
    if not bool(frames.isfinite().all()):
        raise InputError(f"clip {printable(name)}: some painted pixels are not numbers (NaN or infinite)")
    low, high = (x.item() for x in frames.aminmax())
    if low < -0.01 or high > 1.01:
        raise InputError(f"clip {printable(name)}: painted values reach from {low:.3g} to {high:.3g}, not from 0 to 1")
    return (frames.float().clamp(0, 1) * 255).round().byte().cpu().numpy()
