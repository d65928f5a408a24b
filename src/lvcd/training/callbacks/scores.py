"""The paper's metrics of what the model paints by now, at every validation that can afford them.

letters: b clips, t frames (the reference at 0), n = t - 1 frames that are painted, H W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory
from lvcd.metrics.suite import Suite, paper

from .. import FineTuneModule
from .paint import OVERLAP, Clip, clips_of, paint, training_pipeline


class Scores(lightning.Callback):
    """Paints the data module's `fixed_clips`, each from a seed of its own, and logs what they score, over all ranks, as
    `val/FVD`, `val/EDMD`, `val/TC` ...: a column for each metric of lvcd.metrics.suite.paper.

    The first validation is always scored, which tells how long it takes; a later one only if the scores then have
    taken at most `share` of the run's time. `scores/seconds` is what they took, `scores/skipped` how often they did
    not fit; a skipped one is told on the terminal too, and once what a reader of the numbers must know, as that
    so few clips make a distance too large. With Ema in the run, it is the average that paints. Modules that
    do not paint have no scores, nor have data modules without fixed clips, nor weights in shards (FSDP).

    Without the packages that hold the metrics' weights there are none either, and a line says so.

    InputError: less than one frame or step, a share outside 0 .. 1, a file of weights that is not the published one.
    """

    def __init__(
        self,
        clips: int = 8,  # 0 = no scores
        frames: int = 14,  # of each clip, after the reference; FVD needs 9
        size: int | None = 256,  # px a side that the metrics see; None = as painted
        share: float = 0.1,  # of the run's time
        steps: int | None = None,  # denoising steps; None = the model's own
        overlap: int = OVERLAP,  # of segments, if the clips are longer than the window
        inception: str | Path | None = None,  # weight files of FID, LPIPS and RAFT: see lvcd.metrics.suite.paper
        backbone: str | Path | None = None,
        raft: str | Path | None = None,
        seed: int = 0,
    ):
        if clips < 0 or frames < 1 or overlap < 0 or not (steps is None or steps >= 1) or not 0 < share <= 1:
            raise InputError(
                f"scores of {clips} clips, {frames} frames, {steps} steps, overlap {overlap}, share {share}: "
                "give at least one frame and step, and a share above 0 up to 1"
            )
        self.count, self.frames, self.size, self.share = clips, frames, size, share
        self.steps, self.overlap, self.seed = steps, overlap, seed
        self.weights = (inception, backbone, raft)
        self.suite: Suite | None = None
        self.clips: list[tuple[int, Clip]] = []
        self.skipped = 0
        self._began: float | None = None
        self._spent = self._last = 0.0
        self._noted = False

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """Here and not at the first validation, so that a wrong file ends a run before it starts."""
        paints = isinstance(module, FineTuneModule) and not isinstance(trainer.strategy, ModelParallelStrategy)
        if not paints or not self.count or not hasattr(trainer.datamodule, "fixed_clips"):
            return
        try:
            self.suite = paper(*self.weights, frames=self.frames, size=self.size)
        except InputError as error:
            if any(self.weights):
                raise
            if trainer.is_global_zero:
                print(f"there are no scores: {error}", flush=True)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        self._began = time.perf_counter()

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Before on_validation_end, where Ema puts the weights that learn back."""
        if self.suite is None or trainer.sanity_checking:
            return
        started = time.perf_counter()
        began = started if self._began is None else self._began
        would = (self._spent + self._last) / (started - began + self._last + 1e-9)
        if trainer.strategy.broadcast(bool(self._last) and would > self.share):
            self._skip(trainer, module, would)
            return
        if not self._last:
            self.suite.to(module.device)
            batches = trainer.datamodule.fixed_clips(self.count, self.frames)
            numbered = enumerate(clip for batch in batches for clip in clips_of(batch))
            self.clips = [told for told in numbered if told[0] % trainer.world_size == trainer.global_rank]
        scores = self._scores(trainer, module, self.suite)
        self._last = time.perf_counter() - started
        self._spent += self._last
        if scores:
            module.log_dict({**scores, "scores/seconds": self._last}, sync_dist=True)

    def _skip(self, trainer: Any, module: Any, would: float) -> None:
        self.skipped += 1
        module.log("scores/skipped", float(self.skipped), sync_dist=True)
        if trainer.is_global_zero:
            print(
                f"step {trainer.global_step}: no scores this time, they take {self._last:.0f} s and would be "
                f"{would:.0%} of the run, with callbacks.scores.share={self.share:g}",
                flush=True,
            )

    def _scores(self, trainer: Any, module: FineTuneModule, suite: Suite) -> dict[str, float]:
        """Column => value; none if a GPU lacks the memory, whichever it is."""
        suite.restart()
        message, short = "there are no scores, a GPU has no memory left for them: set callbacks.scores=null", 0.0
        try:
            with on_out_of_memory(message):
                for number, preds, clip in self._painted(trainer, module):
                    told = (preds, clip.frames[1:], clip.sketches[1:])
                    preds, target, sketches = (x[None].to(module.device) for x in told)  # (n c H W) => (1 n c H W)
                    suite.update(preds, target, sketches, torch.tensor([number]))
        except DeviceMemoryError:
            short = 1.0
        if float(trainer.strategy.reduce(torch.tensor(short, device=module.device), reduce_op="sum")):
            if trainer.is_global_zero:
                print(message, flush=True)
            return {}
        reports = suite.reports()
        if trainer.is_global_zero and not self._noted:
            for column, report in reports.items():
                for note in report["notes"]:
                    print(f"val/{column}: {note}", flush=True)
        self._noted = True
        return {f"val/{column}": r["value"] for column, r in reports.items() if r["value"] is not None}

    def _painted(self, trainer: Any, module: FineTuneModule) -> Iterator[tuple[int, Tensor, Clip]]:
        pipeline = training_pipeline(module, trainer.precision_plugin.forward_context)
        for number, clip in self.clips:
            yield number, paint(pipeline, clip, self.seed + number, self.steps, self.overlap), clip
