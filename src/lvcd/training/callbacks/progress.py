"""What a training run shows while it runs."""

from __future__ import annotations

import sys
import time
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Timer

from lvcd.system import peak_memory_gib


class ProgressLine(lightning.Callback):
    """One line: step, loss, clips a second, memory, time left. Live on a terminal, else every `every` seconds.

    Before the first step, one that says how much is trained on what, and where the run writes.
    """

    def __init__(self, every: float = 15.0):
        self.every = every
        self.start_step = 0
        self.started = self.shown = 0.0
        self.clips = 0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.start_step, self.started = trainer.global_step, time.monotonic()
        self.shown, self.clips = self.started, 0

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        if not self.clips and trainer.is_global_zero:
            print(start(trainer, module, batch), flush=True)

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
        limits = (c.time_remaining() for c in trainer.callbacks if isinstance(c, Timer))  # trainer.max_time
        left = max(0.0, min([left, *(limit for limit in limits if limit is not None)]))
        loss = {k: float(v) for k, v in trainer.progress_bar_metrics.items()}
        shown = "  ".join(f"{name} {value:.4f}" for name, value in loss.items())
        memory = peak_memory_gib(trainer.strategy.root_device.type)
        return (
            f"step {step}/{total}  {shown}  {self.clips / max(elapsed, 1e-9):.1f} clips/s  {memory:.1f} GiB  "
            f"{int(left // 60)}:{int(left % 60):02d} left   "
        )


def start(trainer: Any, module: Any, batch: Any) -> str:
    """What a run sets out to do: `FineTuneModule: steps 0 to 300 of 2 clips, 6 frames of 96x64 px, on ...`"""
    b, t, _, height, width = batch.sketches.shape
    clips = b * trainer.world_size * trainer.accumulate_grad_batches
    device = torch.cuda.get_device_name(module.device) if module.device.type == "cuda" else module.device.type
    return (
        f"{type(module).__name__}: steps {trainer.global_step} to {int(trainer.estimated_stepping_batches)} "
        f"of {clips} clip{'s' * (clips != 1)}, {t} frames of {width}x{height} px as "
        f"{'pixels' if batch.latents is None else 'latents'}, on {trainer.world_size} x {device} "
        f"in {trainer.precision}; writes to {trainer.default_root_dir}"
    )
