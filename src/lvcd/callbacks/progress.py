"""What a training run shows while it runs."""

from __future__ import annotations

import resource
import sys
import time
from typing import Any

import lightning
import torch


class ProgressLine(lightning.Callback):
    """One line: step, loss, clips a second, memory, time left. Live on a terminal, else every `every` seconds."""

    def __init__(self, every: float = 15.0):
        self.every = every
        self.start_step = 0
        self.started = self.shown = 0.0
        self.clips = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.start_step, self.started = trainer.global_step, time.monotonic()
        self.shown, self.clips = self.started, 0

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        self.clips += len(batch.fps) * trainer.world_size
        now, live = time.monotonic(), sys.stdout.isatty()
        last = trainer.global_step == trainer.max_steps
        if trainer.is_global_zero and (last or now - self.shown >= (0.5 if live else self.every)):
            self.shown = now
            print(self.line(trainer, now), end="\r" if live and not last else "\n", flush=True)

    def line(self, trainer: Any, now: float) -> str:
        step, total = trainer.global_step, int(trainer.estimated_stepping_batches)
        elapsed = now - self.started
        left = elapsed / max(1, step - self.start_step) * (total - step)
        loss = {k: float(v) for k, v in trainer.callback_metrics.items()}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in loss.items())
        return (
            f"step {step}/{total}  {shown}  {self.clips / max(elapsed, 1e-9):.1f} clips/s  {_memory()}  "
            f"{int(left // 60)}:{int(left % 60):02d} left   "
        )


def _memory() -> str:
    """The most that was in use so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB"
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB"
