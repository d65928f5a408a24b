"""Painting whole clips with networks that train, for whoever looks at them in between.

letters: t frames (the reference at 0), n = t - 1 frames that are painted, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lvcd.data.batch import Batch
from lvcd.pipeline import LineartVideoPipeline

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


def live(module: FineTuneModule, precision: Callable[[], Any]) -> LineartVideoPipeline:
    """A pipeline of a module's networks while they train: nothing is copied, moved or cast. U-Net and ControlNet run in
    the mixed precision of training, the encoders in float32: SVD's overflows in float16."""
    pipeline = module.networks.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    denoiser = pipeline._denoiser

    def mixed(*told: Any) -> Any:
        with precision():
            denoise = denoiser(*told)

        def inside(*step: Any) -> Tensor:
            with precision():
                return denoise(*step).float()

        return inside

    pipeline._denoiser = mixed  # type: ignore[method-assign,assignment]
    return pipeline


def paint(
    pipeline: Any,
    clip: Clip,
    seed: int,
    steps: int | None = None,  # denoising steps; None = the model's own
    overlap: int = OVERLAP,
) -> Tensor:
    """=> (n 3 H W) in [0, 1], from the clip's reference and sketches."""
    return pipeline(
        clip.frames[0],
        list(clip.sketches[1:]),
        num_inference_steps=steps,
        overlap=min(overlap, pipeline.config.window - 1),
        generator=torch.Generator().manual_seed(seed),
        reference_sketch=clip.sketches[0],
        output_type="pt",
    ).frames[0]
