"""Painting whole clips with networks that train, for whoever looks at them in between.

letters: t frames (the reference at 0), n = t - 1 frames that are painted, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from torch import Tensor

from lvcd.data.batch import Batch
from lvcd.pipeline import LineartVideoPipeline, SamplingConfig, paint_clip

from .. import FineTuneModule

OVERLAP = 4
"""Frames that segments share, if a clip is longer than the window."""


class Clip(NamedTuple):
    """A clip that is painted again and again, on the CPU."""

    frames: Tensor
    """(t 3 H W) in [0, 1]"""
    sketches: Tensor
    """(t 1 H W) in [0, 1], line = 1"""
    fps: float
    key: str


def clips_of(batch: Batch, number: int = 0) -> list[Clip]:
    """The clips of a batch, none where latents stand for the frames. number: of the first, if they have no names."""
    if batch.frames is None:
        return []
    frames, sketches = batch.frames.float().cpu() / 2 + 0.5, batch.sketches.float().cpu()
    keys = batch.keys or [f"clip {number + i}" for i in range(len(frames))]
    return [Clip(*told) for told in zip(frames, sketches, batch.fps.tolist(), keys)]


def training_pipeline(module: FineTuneModule, precision: Callable[[], AbstractContextManager]) -> LineartVideoPipeline:
    """Return a pipeline of a module's networks while they train: nothing is copied, moved or cast.

    U-Net and ControlNet run in the mixed precision of training, the encoders in float32: SVD's overflows in float16.
    """
    pipeline = module.networks.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.network_context = precision
    return pipeline


def paint(
    pipeline: LineartVideoPipeline,
    clip: Clip,
    seed: int,
    steps: int | None = None,  # denoising steps; None = the model's own
    overlap: int = OVERLAP,
) -> Tensor:
    """Paint a clip from its reference and sketches => frames (n 3 H W) in [0, 1]."""
    sampling = SamplingConfig(steps=steps, overlap=min(overlap, pipeline.config.window - 1))
    return paint_clip(pipeline, clip.frames[0], clip.sketches[0], clip.sketches[1:], sampling, seed)
