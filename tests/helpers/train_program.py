"""train.py as a process of its own, on the smallest run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from lvcd.training.run_folder import newest_checkpoint
from tests.helpers.paths import ROOT
from tests.helpers.processes import wait_until

TINY = [
    "experiment=mini_cpu",
    "data.height=32",
    "data.width=48",
    "data.workers=0",
    "trainer.limit_val_batches=1",
    "callbacks.scores=null",
    "callbacks.samples=null",
]


def start_train(*words: str, **more: Any) -> subprocess.Popen:
    """Start train.py with these overrides; `more` are options of Popen."""
    environment = {**os.environ, "WANDB_MODE": "offline"}
    command = [sys.executable, "train.py", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes, **more)


def step_of_checkpoint(run: Path) -> int:
    """Return the step of a run's newest checkpoint, as soon as it has one."""
    wait_until((run / "checkpoints" / "last.ckpt").exists)
    return torch.load(newest_checkpoint(run), weights_only=True)["global_step"]
