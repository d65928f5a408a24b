"""train.py as a process of its own, on the smallest run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from lvcd.training.run_folder import newest_checkpoint
from tests.helpers.paths import ROOT

TINY = [
    "experiment=mini_cpu",
    "data.height=32",
    "data.width=48",
    "data.workers=0",
    "trainer.limit_val_batches=1",
    "callbacks.scores=null",
    "callbacks.samples=null",
]


def start(*words: str, **more) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline"}
    command = [sys.executable, "train.py", *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes, **more)


def saved(run: Path) -> int:
    """The step of a run's newest checkpoint, as soon as it has one."""
    deadline = time.monotonic() + 400
    while not (run / "checkpoints" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return torch.load(newest_checkpoint(run), weights_only=True)["global_step"]
