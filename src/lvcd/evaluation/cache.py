"""Painted clips and scores on disk, so that an interrupted evaluation resumes, and what networks painted is used again.

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


class PaintedClip(NamedTuple):
    """A painted clip holds the frames that a method painted, and their cost."""

    frames: Tensor
    """(n 3 H W) in [0, 1], rounded to 8 bits: scores are of what a file would hold."""
    seconds: float
    """Time that painting took."""
    memory_gib: float
    """Peak memory until then of the process that painted it."""


def job_name(job: dict[str, Any]) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of all that a result depends on."""
    return hashlib.sha256(json.dumps(job, sort_keys=True).encode()).hexdigest()[:12]


class PaintCache:
    """A folder with the painted clips of one network or method, and the scores of one evaluation. Each file is complete
    or absent."""

    def __init__(self, folder: Path):
        self.folder = folder
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)

    def get_or_compute(self, name: str, shape: tuple[int, ...], paint: Callable[[], PaintedClip]) -> PaintedClip:
        """Return the clip that is cached under `name`, or what `paint` returns, which is cached then.

        InputError: the frames are not of `shape`, or not numbers in [0, 1].
        """
        file = self.folder / f"{name}.npz"
        if not file.exists():
            new = paint()
            levels, cost = _levels(new.frames, name, shape), np.array([new.seconds, new.memory_gib])
            with atomic(file, "run the same command again to resume") as temp, temp.open("wb") as stream:
                np.savez_compressed(stream, frames=levels, cost=cost)
        with reading("painted clip", file, "delete it and run again"), np.load(file, allow_pickle=False) as cached:
            return PaintedClip(torch.from_numpy(cached["frames"]).float() / 255, *cached["cost"].tolist())

    def save_scores(self, name: str, suite: Suite, clips: int) -> None:
        """Save the states of the metrics after the first `clips` of a process's clips."""
        states: dict[str, Any] = {}
        for column, metric in suite.metrics.items():
            metric.persistent(True)
            states[column] = metric.state_dict()
        with atomic(self.folder / f"{name}.pt", "run the same command again to resume") as temp:
            torch.save({"clips": clips, "states": states}, temp)

    def restore_scores(self, name: str, suite: Suite) -> int:
        """Load the saved states of the metrics; return the number of clips they are of, 0 where nothing is saved."""
        file = self.folder / f"{name}.pt"
        if not file.exists():
            return 0
        with reading("saved scores", file, "delete it and run again"):
            saved = torch.load(file, map_location="cpu", weights_only=True)
            for column, metric in suite.metrics.items():
                metric.persistent(True)
                metric.load_state_dict(saved["states"][column])
        return int(saved["clips"])

    def clear(self) -> None:
        """Delete the folder."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _levels(frames: Tensor, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return painted frames (n 3 H W) as uint8. InputError: another shape, or values that are not in [0, 1]."""
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
