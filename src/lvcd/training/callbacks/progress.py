"""The line that a training run shows while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Timer

from lvcd.system import peak_memory_gib

REFRESH_SEC = 0.5
"""Seconds between updates on a terminal."""
LINE_EVERY_SEC = 15.0
"""Seconds between lines in a file or a pipe."""


class ProgressLine(lightning.Callback):
    """Shows one line: step, losses, clips per second, memory, time left; and at the start one line about the run.

    On a terminal the line is updated in place, elsewhere a new one is printed now and then. Lightning's progress bars
    count the batches of an epoch, not the steps of a run, do not know memory or `trainer.max_time`, and fill a log file
    with bars.
    """

    def __init__(self) -> None:
        self.first_step = 0
        self.start_time = self.shown_at = 0.0
        self.clips = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock."""
        self.first_step, self.start_time = trainer.global_step, time.monotonic()
        self.shown_at, self.clips = self.start_time, 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        """Before the first batch, describe the run."""
        if not self.clips and trainer.is_global_zero:
            print(describe_run(trainer, module, batch), flush=True)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Show the line if it is time, and after the last step."""
        self.clips += len(batch.fps) * trainer.world_size
        now, terminal = time.monotonic(), sys.stdout.isatty()
        last = trainer.global_step == trainer.max_steps
        if trainer.is_global_zero and (last or now - self.shown_at >= (REFRESH_SEC if terminal else LINE_EVERY_SEC)):
            self.shown_at = now
            print(self.line(trainer, now), end="\r" if terminal and not last else "\n", flush=True)

    def line(self, trainer: Any, now: float) -> str:
        """Format the line. now: a time of time.monotonic()."""
        step, total = trainer.global_step, int(trainer.estimated_stepping_batches)
        elapsed = now - self.start_time
        remaining = elapsed / max(1, step - self.first_step) * (total - step)
        limits = (c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer))  # trainer.max_time
        remaining = max(0.0, min([remaining, *(limit for limit in limits if limit is not None)]))
        metrics = "  ".join(f"{name} {float(value):.4f}" for name, value in trainer.progress_bar_metrics.items())
        memory = peak_memory_gib(trainer.strategy.root_device.type)
        return (
            f"step {step}/{total}  {metrics}  {self.clips / max(elapsed, 1e-9):.1f} clips/s  {memory:.1f} GiB  "
            f"{int(remaining // 60)}:{int(remaining % 60):02d} left   "
        )


def describe_run(trainer: Any, module: Any, batch: Any) -> str:
    """Describe a run: `FineTuneModule: steps 0 to 300 of 2 clips, 6 frames of 96x64 px as pixels, on ...`"""
    b, t, _, height, width = batch.sketches.shape
    clips = b * trainer.world_size * trainer.accumulate_grad_batches
    device = torch.cuda.get_device_name(module.device) if module.device.type == "cuda" else module.device.type
    return (
        f"{type(module).__name__}: steps {trainer.global_step} to {int(trainer.estimated_stepping_batches)} "
        f"of {clips} clip{'s' * (clips != 1)}, {t} frames of {width}x{height} px as "
        f"{'pixels' if batch.latents is None else 'latents'}, on {trainer.world_size} x {device} "
        f"in {trainer.precision}; writes to {trainer.default_root_dir}"
    )
