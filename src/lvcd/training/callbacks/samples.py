"""Samples: the same clips, painted with the same noise at every validation.

letters: t frames (the reference at 0), n = t - 1 painted frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from torch import Tensor

from lvcd.data.batch import Batch
from lvcd.errors import DeviceMemoryError, InputError, on_out_of_memory
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.lineart.sketch import picture_from_sketch
from lvcd.loggers import log_media
from lvcd.report.sheets import contact_sheet
from lvcd.spacing import evenly_spaced

from .. import FineTuneModule
from ..fsdp import whole_weights
from .painting import ValidationClip, clips_of_batch, paint, training_pipeline

MIN_SHEET_WIDTH = 256
"""px; the frames of a contact sheet are enlarged by a whole number to at most this width."""


class Samples(lightning.Callback):
    """Paints the first `clips` clips of the validation from their references, each from its own seed.

    Writes FOLDER/step-00000100-0.png, a contact sheet of reference, line art, result and original, and .mp4, the four
    side by side. Gives both to W&B and the sheet to TensorBoard, and logs `samples/psnr` in dB. With Ema in the run,
    the average paints. There are no samples of modules that do not colorize, or where validation has no pixels. The
    first rank paints; sharded weights (FSDP) are whole on every rank meanwhile.

    InputError: less than one clip, column or step.
    """

    def __init__(
        self,
        folder: str,
        clips: int = 2,
        steps: int | None = None,  # denoising steps; None = the model's own
        columns: int = 6,  # frames of a contact sheet
        seed: int = 0,
    ):
        if clips < 1 or columns < 1 or not (steps is None or steps >= 1):
            raise InputError(f"samples of {clips} clips, {columns} columns, {steps} steps: give at least one of each")
        self.folder, self.count, self.steps, self.columns, self.seed = Path(folder), clips, steps, columns, seed
        self.clips: list[ValidationClip] = []
        self._has_all = False

    def on_validation_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Batch, index: int, loader: int = 0
    ) -> None:
        """Keep the first clips of the first validation, however few it has."""
        if self._has_all:
            return
        if index == 0:  # what a validation before training has shown comes again
            self.clips = []
        if (missing := self.count - len(self.clips)) and trainer.is_global_zero:
            self.clips += clips_of_batch(batch, len(self.clips))[:missing]

    def on_validation_epoch_end(self, trainer: Any, module: Any) -> None:
        """Paint and show. This is before on_validation_end, in which Ema puts the trained weights back."""
        self._has_all = bool(self.clips) and not trainer.sanity_checking
        if not isinstance(module, FineTuneModule) or trainer.sanity_checking:
            return
        if not trainer.strategy.broadcast(bool(self.clips)):  # the first rank's
            return
        with whole_weights(module):
            if trainer.is_global_zero:
                self._paint_and_show(trainer, module)

    def _paint_and_show(self, trainer: Any, module: FineTuneModule) -> None:
        try:
            advice = "lower data.batch_size, or set callbacks.samples=null"
            with on_out_of_memory(f"there are no samples, the GPU has no memory left for them: {advice}"):
                painted = self.paint(module, trainer.precision_plugin.forward_context)
        except DeviceMemoryError as error:
            print(error, flush=True)
            return
        psnr = [float(-10 * (p - c.frames[1:]).square().mean().log10()) for p, c in zip(painted, self.clips)]
        module.log("samples/psnr", float(np.mean(psnr)), rank_zero_only=True)
        self._show(trainer, painted, psnr)

    def paint(self, module: FineTuneModule, precision: Callable[[], Any]) -> list[Tensor]:
        """Paint all clips with the module's own networks => (n 3 H W) in [0, 1] each. precision: context of a step."""
        pipeline = training_pipeline(module, precision)
        return [paint(pipeline, clip, self.seed + i, self.steps) for i, clip in enumerate(self.clips)]

    def _show(self, trainer: Any, painted: list[Tensor], psnr: list[float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        sheets, movies = [], []
        for i, (clip, result) in enumerate(zip(self.clips, painted)):
            lines = picture_from_sketch(clip.sketches[1:])
            rows = {"reference": clip.frames[:1], "line art": lines, "ours": result}
            images = {name: to_bytes(row) for name, row in {**rows, "original": clip.frames[1:]}.items()}
            stem = self.folder / f"step-{trainer.global_step:08d}-{i}"
            sheets.append(stem.with_suffix(".png"))
            movies.append(stem.with_suffix(".mp4"))
            write_png(sheets[-1], sample_sheet(images, self.columns))
            write_movie(movies[-1], side_by_side(images), clip.fps)
        captions = [f"{clip.key}, {value:.1f} dB" for clip, value in zip(self.clips, psnr)]
        log_media(trainer, "samples", sheets, movies, captions)


def to_bytes(row: Tensor) -> np.ndarray:
    """Convert frames (n 1 H W) or (n 3 H W) in [0, 1] to uint8 (n H W 3)."""
    return (row.clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1).permute(0, 2, 3, 1).cpu().numpy()


def sample_sheet(images: dict[str, np.ndarray], columns: int) -> np.ndarray:
    """Make a contact sheet of rows of frames, at `columns` times spread over the clip => uint8 (H W 3)."""
    chosen = {name: [row[k] for k in evenly_spaced(len(row), min(len(row), columns))] for name, row in images.items()}
    return np.asarray(contact_sheet(chosen, scale=max(1, MIN_SHEET_WIDTH // images["ours"].shape[2])))


def side_by_side(images: dict[str, np.ndarray], gap: int = 4) -> list[np.ndarray]:
    """Join rows of frames into one picture for each frame, `gap` px apart; a row of one frame is repeated."""
    n, height = len(images["ours"]), images["ours"].shape[1]
    between = np.full((n, height, gap, 3), 255, np.uint8)
    rows = [np.broadcast_to(row, (n, *row.shape[1:])) for row in images.values()]
    return [*np.concatenate([part for row in rows for part in (row, between)][:-1], axis=2)]
