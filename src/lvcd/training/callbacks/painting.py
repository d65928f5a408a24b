"""Painting whole clips with the networks of a running training.

letters: t frames (the reference at 0), n = t - 1 painted frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import NamedTuple

from torch import Tensor

from lvcd.data.batch import Batch
from lvcd.pipeline import LineartVideoPipeline, SamplingConfig, paint_clip

from .. import FineTuneModule

SEGMENT_OVERLAP = 4
"""Frames that neighboring segments have in common, where a clip is longer than the window."""


class ValidationClip(NamedTuple):
    """A clip that is painted at every validation, on the CPU."""

    frames: Tensor
    """(t 3 H W) in [0, 1]"""
    sketches: Tensor
    """(t 1 H W) in [0, 1], line = 1"""
    fps: float
    key: str


def clips_of_batch(batch: Batch, first_number: int = 0) -> list[ValidationClip]:
    """Return the clips of a batch; none if it holds latents in place of frames.

    Clips without keys are numbered from `first_number`.
    """
    if batch.frames is None:
        return []
    frames, sketches = batch.frames.float().cpu() / 2 + 0.5, batch.sketches.float().cpu()
    keys = batch.keys or [f"clip {first_number + i}" for i in range(len(frames))]
    return [ValidationClip(*values) for values in zip(frames, sketches, batch.fps.tolist(), keys)]


def training_pipeline(module: FineTuneModule, precision: Callable[[], AbstractContextManager]) -> LineartVideoPipeline:
    """Return a pipeline of a module's own networks while they are trained: nothing is copied, moved or cast.

    precision: the context of a training step. U-Net and ControlNet run in it, the encoders in float32, because SVD's
    encoder overflows in float16.
    """
    pipeline = module.networks.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    pipeline.network_context = precision
    return pipeline


def paint(
    pipeline: LineartVideoPipeline,
    clip: ValidationClip,
    seed: int,
    steps: int | None = None,  # denoising steps; None = the model's own
    overlap: int = SEGMENT_OVERLAP,
) -> Tensor:
    """Paint a clip from its reference and sketches => frames (n 3 H W) in [0, 1]."""
    sampling = SamplingConfig(steps=steps, overlap=min(overlap, pipeline.config.window - 1))
    return paint_clip(pipeline, clip.frames[0], clip.sketches[0], clip.sketches[1:], sampling, seed)
