"""The speed of a run, and the memory it takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import lightning
import torch

from lvcd.errors import InputError
from lvcd.system import peak_memory_gib

from ..plan import plan_training
from ..plan.fit_report import peak_flops


class Speed(lightning.Callback):
    """Logs the speed since the last time, over all ranks and without validation:

    speed/clips_per_s, speed/frames_per_s   the reference counts as a frame
    speed/wait         fraction of the time between steps: waiting for data above all, and checkpoints. On a GPU it is
                       an upper bound, because the GPU is still busy while the next batch is waited for
    speed/memory_GiB   most memory in use so far: of the GPU, or of this process where there is none
    speed/mfu          model FLOP utilization: the fraction of the GPUs' peak that the networks use, if both are known
    """

    def __init__(
        self,
        flops_per_clip: float | None = None,  # of forward and backward, without recomputation; None = `find_flops`
        peak_flops: float | None = None,  # FLOP/s of one GPU at the run's precision; None = `find_flops`
    ):
        self.flops_per_clip, self.peak_flops = flops_per_clip, peak_flops
        self._reset()
        self._last_time = 0.0

    def find_flops(self, trainer: lightning.Trainer, config: Mapping[str, Any]) -> None:
        """Find what `speed/mfu` needs, on the rank that logs: the GPU's peak, and a clip's FLOP by `plan_training`.

        config: the composed training configuration, as plain dicts and lists. What cannot be found stays None.
        """
        if not trainer.is_global_zero:
            return
        if self.peak_flops is None:
            self.peak_flops = peak_flops(trainer.strategy.root_device, str(trainer.precision))
        if self.peak_flops is not None and self.flops_per_clip is None:
            with suppress(InputError):  # a VAE, or a module of one's own, cannot be planned
                self.flops_per_clip = plan_training(config).flops_per_clip

    def _reset(self) -> None:
        self._clips = self._frames = 0
        self._waiting_sec = self._working_sec = 0.0

    def _elapsed(self) -> float:
        """Return the seconds since the last call."""
        now = time.perf_counter()
        elapsed, self._last_time = now - self._last_time, now
        return elapsed

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clock."""
        self._reset()
        self._elapsed()

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
        """Count the time before the batch as waiting."""
        self._waiting_sec += self._elapsed()

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Count the batch, and log at the trainer's logging interval."""
        b, t = batch.sketches.shape[:2]
        self._clips += b * trainer.world_size
        self._frames += b * t * trainer.world_size
        self._working_sec += self._elapsed()
        ends_step = (index + 1) % trainer.accumulate_grad_batches == 0
        if ends_step and trainer.global_step % trainer.log_every_n_steps == 0:
            module.log_dict(self._numbers(trainer.world_size))
            self._reset()

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """Count the time before a validation as waiting."""
        self._waiting_sec += self._elapsed()

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Leave out the time of a validation."""
        self._elapsed()

    def _numbers(self, ranks: int) -> dict[str, float]:
        seconds = max(self._waiting_sec + self._working_sec, 1e-9)
        numbers = {
            "speed/clips_per_s": self._clips / seconds,
            "speed/frames_per_s": self._frames / seconds,
            "speed/wait": self._waiting_sec / seconds,
            "speed/memory_GiB": peak_memory_gib("cuda" if torch.cuda.is_available() else "cpu"),
        }
        if self.flops_per_clip is not None and self.peak_flops is not None:
            numbers["speed/mfu"] = self.flops_per_clip * self._clips / seconds / (self.peak_flops * ranks)
        return numbers
