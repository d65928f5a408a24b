"""How fast a run is, and how much memory it takes."""

from __future__ import annotations

import time
from typing import Any

import lightning
import torch

from lvcd.system import peak_memory_gib


class Speed(lightning.Callback):
    """Logs what was reached since the last time, over all ranks, validation left out:

    speed/clips_per_s, speed/frames_per_s   the reference counts as a frame
    speed/wait         share of the time between steps: data above all, and checkpoints. On a GPU an upper bound, for
                       the GPU still works while the next batch is waited for
    speed/memory_GiB   the most that was in use so far: of the GPU, or of this process where there is none
    speed/mfu          share of the GPUs' peak that went into the networks' own arithmetic, if both numbers are known;
                       train.py finds what is not given
    """

    def __init__(
        self,
        flops_per_clip: float | None = None,  # forward and backward, without what checkpointing computes again
        peak_flops: float | None = None,  # of one GPU at the run's precision, per second
    ):
        self.flops_per_clip, self.peak_flops = flops_per_clip, peak_flops
        self._reset()
        self._mark = 0.0

    def _reset(self) -> None:
        self._clips = self._frames = 0
        self._waited = self._worked = 0.0

    def _since(self) -> float:
        """Seconds since the last call."""
        now = time.perf_counter()
        passed, self._mark = now - self._mark, now
        return passed

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._reset()
        self._since()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        self._waited += self._since()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        b, t = batch.sketches.shape[:2]
        self._clips += b * trainer.world_size
        self._frames += b * t * trainer.world_size
        self._worked += self._since()
        stepped = (index + 1) % trainer.accumulate_grad_batches == 0
        if stepped and trainer.global_step % trainer.log_every_n_steps == 0:
            module.log_dict(self._numbers(trainer.world_size))
            self._reset()

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        self._waited += self._since()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        self._since()

    def _numbers(self, ranks: int) -> dict[str, float]:
        seconds = max(self._waited + self._worked, 1e-9)
        numbers = {
            "speed/clips_per_s": self._clips / seconds,
            "speed/frames_per_s": self._frames / seconds,
            "speed/wait": self._waited / seconds,
            "speed/memory_GiB": peak_memory_gib("cuda" if torch.cuda.is_available() else "cpu"),
        }
        if self.flops_per_clip is not None and self.peak_flops is not None:
            numbers["speed/mfu"] = self.flops_per_clip * self._clips / seconds / (self.peak_flops * ranks)
        return numbers
