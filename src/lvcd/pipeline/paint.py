"""Painting one clip whose frames are in memory, as evaluation and training do it; and its flats."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.flats import PaintBucket
from lvcd.sampling.config import SamplingConfig

from .lineart_video import LineartVideoPipeline


def paint_clip(
    pipeline: LineartVideoPipeline,
    reference: Tensor,  # (3 H W) in [0, 1]
    reference_sketch: Tensor,  # (1 H W) in [0, 1], line = 1
    sketches: Tensor,  # (n 1 H W)
    sampling: SamplingConfig | None = None,  # None = the model's own
    seed: int = 0,
    flat: bool = False,
) -> Tensor:
    """Paint a clip from its reference; return frames (n 3 H W) in [0, 1], on the CPU. The seed alone decides the noise.

    flat: each region between lines gets one color of the reference, the one that best fits what the model painted.
    """
    config = (sampling or SamplingConfig()).complete(pipeline.config)
    generator = torch.Generator().manual_seed(seed)
    reference, reference_sketch, sketches = reference.cpu(), reference_sketch.cpu(), sketches.cpu()
    parts = [sketches]
    if config.prev_sample:
        config, parts = replace(config, overlap=0), list(sketches.split(pipeline.config.window))
    painted: list[Tensor] = []
    color, lines = reference, reference_sketch
    for part in parts:
        chunk = pipeline(
            color,
            part,
            sampling=config,
            generator=generator,
            reference_sketch=lines,
            output_type="pt",
            return_dict=False,
        )[0][0]
        painted.append(chunk)
        color, lines = chunk[-1], part[-1]
    frames = torch.cat(painted)
    return fill_flat(reference, reference_sketch, sketches, frames) if flat else frames


def fill_flat(reference: Tensor, reference_sketch: Tensor, sketches: Tensor, painted: Tensor) -> Tensor:
    """Fill the regions of sketches (n 1 H W) with colors of the reference (3 H W) that fit the painted frames.

    painted: (n 3 H W) in [0, 1]; its values are rounded to those of an 8-bit file first. => frames (n 3 H W)
    """
    filler = FlatFiller(reference, reference_sketch)
    painted = (painted.float().clamp(0, 1) * 255).round() / 255
    return torch.stack([filler(sketch, frame) for sketch, frame in zip(sketches, painted)])


class FlatFiller:
    """The paint bucket for a clip, frame after frame, at the sketches' size, whatever size the model paints at."""

    def __init__(
        self,
        reference: Tensor,  # (3 H W) in [0, 1]
        reference_sketch: Tensor,  # (1 H W) in [0, 1], line = 1
        gap: float = 0.0,  # px: gaps in lines that fills do not run through
    ):
        self.bucket = PaintBucket(reference.movedim(0, -1).float().numpy(), reference_sketch[0].float().numpy(), gap)

    @property
    def encloses(self) -> bool:
        """Whether the lines of the last sketch enclosed anything: more than one region."""
        return len(self.bucket.before.area) > 1

    def __call__(self, sketch: Tensor, painted: Tensor) -> Tensor:
        """Fill a sketch (1 H W) by what the model painted of it (3 h w) in [0, 1] => (3 H W) in [0, 1]."""
        large = painted.float().cpu()
        if large.shape[-2:] != sketch.shape[-2:]:
            large = F.interpolate(large[None], sketch.shape[-2:], mode="bilinear")[0]
        filled = self.bucket(sketch[0].float().numpy(), large.movedim(0, -1).numpy())
        return torch.from_numpy(filled).float().movedim(-1, 0)

    def state(self) -> dict[str, Tensor]:
        """Return what `resume` needs to go on after the last frame: the colors (r 3) of its regions."""
        return {"flats": torch.from_numpy(self.bucket.colors).float().contiguous()}

    def resume(self, sketch: Tensor, state: dict[str, Tensor]) -> None:
        """Go on as after filling this sketch (1 H W), with the `state` of then."""
        self.bucket.resume_after(sketch[0].numpy(), state["flats"].numpy())
