"""Scores: the paper's metrics of painted clips, at validations, within a fraction of the run's time.

letters: b clips, t frames (the reference at 0), n = t - 1 painted frames, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch

from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory
from lvcd.metrics import Suite, paper

from .. import FineTuneModule
from ..fsdp import whole_weights
from .painting import SEGMENT_OVERLAP, ValidationClip, clips_of_batch, paint, training_pipeline


class Scores(lightning.Callback):
    """Paints the data module's `fixed_clips`, each from its own seed, and logs their scores, over all ranks.

    The columns are `val/FVD`, `val/EDMD`, `val/TC` ..., one for each metric of lvcd.metrics.paper and of `metrics`.
    With Ema in the run, the average paints.

    The first validation is always scored, which measures how long that takes. A later one is scored only if scores
    then take at most `max_time_fraction` of the run's time so far. `scores/seconds` is their time, `scores/skipped`
    the number of validations without scores, each of which prints a line. The metrics' notes are printed once, as that
    so few clips make a distance too large.

    There are no scores of modules that do not colorize, with data modules without fixed clips, or without the packages
    that hold the metrics' weights; a line says so of the last. Sharded weights (FSDP) are whole during painting.

    InputError: less than one frame or step, a fraction outside 0 .. 1, a file of weights that is not the published one.
    """

    def __init__(
        self,
        clips: int = 8,  # 0 = no scores
        frames: int = 14,  # of each clip, after the reference; FVD needs 9
        size: int | None = 256,  # px a side that frames are resized to for the metrics; None = as painted
        max_time_fraction: float = 0.1,  # of the run's time
        steps: int | None = None,  # denoising steps; None = the model's own
        overlap: int = SEGMENT_OVERLAP,  # of segments, where clips are longer than the window
        inception: str | Path | None = None,  # weight files of FID, LPIPS and RAFT: see lvcd.metrics.paper
        backbone: str | Path | None = None,
        raft: str | Path | None = None,
        seed: int = 0,
        metrics: Mapping[str, Any] | None = None,  # more columns: any name -> a metric, or several
    ):
        is_valid = clips >= 0 and frames >= 1 and overlap >= 0 and (steps is None or steps >= 1)
        if not is_valid or not 0 < max_time_fraction <= 1:
            raise InputError(
                f"scores of {clips} clips, {frames} frames, {steps} steps, overlap {overlap}, max_time_fraction "
                f"{max_time_fraction}: give at least one frame and step, and a fraction above 0 up to 1"
            )
        self.count, self.frames, self.size, self.max_time_fraction = clips, frames, size, max_time_fraction
        self.steps, self.overlap, self.seed = steps, overlap, seed
        self.weights, self.metrics = (inception, backbone, raft), dict(metrics or {})
        self.suite: Suite | None = None
        self.clips: list[tuple[int, ValidationClip]] = []
        """This rank's clips with their numbers."""
        self.skipped = 0
        self._start_time: float | None = None
        self._total_sec = self._last_sec = 0.0
        self._notes_shown = False

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Load the metrics: here and not at the first validation, so that a wrong file ends a run before it starts."""
        if not isinstance(module, FineTuneModule) or not self.count or not hasattr(trainer.datamodule, "fixed_clips"):
            return
        try:
            usual = paper(*self.weights, size=self.size)
            self.suite = Suite([usual, self.metrics.values()], frames=self.frames)
        except InputError as error:
            if any(self.weights):
                raise
            if trainer.is_global_zero:
                print(f"there are no scores: {error}", flush=True)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Start the clock."""
        self._start_time = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Score, or skip. This is before on_validation_end, in which Ema puts the trained weights back."""
        if self.suite is None or trainer.sanity_checking:
            return
        now = time.perf_counter()
        start = now if self._start_time is None else self._start_time
        fraction = (self._total_sec + self._last_sec) / (now - start + self._last_sec + 1e-9)
        if trainer.strategy.broadcast(bool(self._last_sec) and fraction > self.max_time_fraction):
            self._skip(trainer, module, fraction)
            return
        if not self._last_sec:
            self.suite.to(module.device)
            batches = trainer.datamodule.fixed_clips(self.count, self.frames)
            numbered = enumerate(clip for batch in batches for clip in clips_of_batch(batch))
            self.clips = [(i, clip) for i, clip in numbered if i % trainer.world_size == trainer.global_rank]
        scores = self._scores(trainer, module, self.suite)
        self._last_sec = time.perf_counter() - now
        self._total_sec += self._last_sec
        if scores:
            module.log_dict({**scores, "scores/seconds": self._last_sec}, sync_dist=True)

    def _skip(self, trainer: Any, module: Any, fraction: float) -> None:
        self.skipped += 1
        module.log("scores/skipped", float(self.skipped), sync_dist=True)
        if trainer.is_global_zero:
            print(
                f"step {trainer.global_step}: no scores this time, they take {self._last_sec:.0f} s and would be "
                f"{fraction:.0%} of the run, above callbacks.scores.max_time_fraction={self.max_time_fraction:g}",
                flush=True,
            )

    def _scores(self, trainer: Any, module: FineTuneModule, suite: Suite) -> dict[str, float]:
        """Return column -> value; empty if any rank's GPU lacks the memory."""
        suite.reset_generated()
        message, failed = "there are no scores, a GPU has no memory left for them: set callbacks.scores=null", 0.0
        pipeline = training_pipeline(module, trainer.precision_plugin.forward_context)
        try:
            with on_out_of_memory(message), whole_weights(module):
                for i, clip in self.clips:
                    painted = paint(pipeline, clip, self.seed + i, self.steps, self.overlap)
                    suite.update_clip(painted, clip.frames[1:], clip.sketches[1:], i)
        except DeviceMemoryError:
            failed = 1.0
        if float(trainer.strategy.reduce(torch.tensor(failed, device=module.device), reduce_op="sum")):
            if trainer.is_global_zero:
                print(message, flush=True)
            return {}
        reports = suite.reports()
        if trainer.is_global_zero and not self._notes_shown:
            for column, report in reports.items():
                for note in report["notes"]:
                    print(f"val/{column}: {note}", flush=True)
        self._notes_shown = True
        return {f"val/{column}": r["value"] for column, r in reports.items() if r["value"] is not None}
