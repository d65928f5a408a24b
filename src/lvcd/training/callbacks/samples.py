"""What the model paints by now, of the same clips with the same noise, at every validation.

letters: t frames (the reference at 0), n = t - 1 frames that are painted, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from lvcd.data.batch import Batch
from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.loggers import log_media
from lvcd.report.sheets import contact_sheet
from lvcd.spacing import evenly_spaced

from .. import FineTuneModule
from .paint import Clip, clips_of, paint, training_pipeline


class Samples(lightning.Callback):
    """Paints the first `clips` clips of the validation from their references, each from a seed of its own.

    Writes FOLDER/step-00000100-0.png, a sheet of reference, line art, ours and original, and .mp4, the four beside one
    another; hands both to W&B, the sheet to TensorBoard, and logs `samples/psnr` in dB. With Ema in the run, it is the
    average that paints. Modules that do not paint, and validation without pixels, have no samples.

    InputError: less than one clip or step, or weights in shards (FSDP).
    """

    def __init__(
        self,
        folder: str,
        clips: int = 2,
        steps: int | None = None,  # denoising steps; None = the model's own
        columns: int = 6,  # frames of a sheet
        seed: int = 0,
    ):
        if clips < 1 or columns < 1 or not (steps is None or steps >= 1):
            raise InputError(f"samples of {clips} clips, {columns} columns, {steps} steps: give at least one of each")
        self.folder, self.count, self.steps, self.columns, self.seed = Path(folder), clips, steps, columns, seed
        self.clips: list[Clip] = []

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        if isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError("weights in shards cannot paint samples: set callbacks.samples=null, or use trainer=ddp4")

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int, loader: int = 0
    ) -> None:
        if (wanted := self.count - len(self.clips)) and trainer.is_global_zero:
            self.clips += clips_of(batch, len(self.clips))[:wanted]

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Before on_validation_end, where Ema puts the weights that learn back."""
        paints = isinstance(module, FineTuneModule) and self.clips and not trainer.sanity_checking
        if not paints or not trainer.is_global_zero:
            return
        try:
            advice = "lower batch_size, or remove the callback"
            with on_out_of_memory(f"there are no samples, the GPU has no memory left for them: {advice}"):
                painted = self.paint(module, trainer.precision_plugin.forward_context)
        except DeviceMemoryError as error:
            print(error, flush=True)
            return
        psnr = [float(-10 * (ours - c.frames[1:]).square().mean().log10()) for ours, c in zip(painted, self.clips)]
        module.log("samples/psnr", float(np.mean(psnr)), rank_zero_only=True)
        self._show(trainer, painted, psnr)

    def paint(self, module: FineTuneModule, precision: Callable[[], Any]) -> list[Tensor]:
        """=> (n 3 H W) in [0, 1] of each clip, by the module's own networks as they are; precision: that of a step."""
        pipeline = training_pipeline(module, precision)
        return [paint(pipeline, clip, self.seed + i, self.steps) for i, clip in enumerate(self.clips)]

    def _show(self, trainer: Any, painted: list[Tensor], psnr: list[float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        sheets, movies = [], []
        for i, (clip, ours) in enumerate(zip(self.clips, painted)):
            rows = {"reference": clip.frames[:1], "line art": 1 - clip.sketches[1:], "ours": ours}
            images = {name: pixels(row) for name, row in {**rows, "original": clip.frames[1:]}.items()}
            stem = self.folder / f"step-{trainer.global_step:08d}-{i}"
            sheets.append(stem.with_suffix(".png"))
            movies.append(stem.with_suffix(".mp4"))
            write_png(sheets[-1], sheet(images, self.columns))
            write_movie(movies[-1], side_by_side(images), clip.fps)
        captions = [f"{clip.key}, {value:.1f} dB" for clip, value in zip(self.clips, psnr)]
        log_media(trainer, "samples", sheets, movies, captions)


def pixels(row: Tensor) -> np.ndarray:
    """(n 1 H W) or (n 3 H W) in [0, 1] => uint8 (n H W 3)"""
    return (row.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()


def sheet(images: dict[str, np.ndarray], columns: int) -> np.ndarray:
    """Rows of frames, those of `columns` numbers spread over the clip => uint8 (H W 3); small frames twice as large."""
    shown = {name: [row[k] for k in evenly_spaced(len(row), min(len(row), columns))] for name, row in images.items()}
    return np.asarray(contact_sheet(shown, scale=max(1, 256 // images["ours"].shape[2])))


def side_by_side(images: dict[str, np.ndarray], gap: int = 4) -> list[np.ndarray]:
    """=> for each frame one picture, all rows next to one another; a row of one frame stands still."""
    n, height = len(images["ours"]), images["ours"].shape[1]
    between = np.full((n, height, gap, 3), 255, np.uint8)
    rows = [np.broadcast_to(row, (n, *row.shape[1:])) for row in images.values()]
    return [*np.concatenate([part for row in rows for part in (row, between)][:-1], axis=2)]
