"""Painting one clip whose frames are in memory, as evaluation and training do it; and its flats."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.lineart.sketch import png_from_sketch
from lvcd.sampling.config import SamplingConfig

from .flat_filler import FlatFiller
from .lineart_video import LineartVideoPipeline
from .render_inputs import find_ink_color


def paint_clip(
    pipeline: LineartVideoPipeline,
    reference: Tensor,  # (3 H W) in [0, 1]
    reference_sketch: Tensor,  # (1 H W) in [0, 1], line = 1
    sketches: Tensor,  # (n 1 H W)
    sampling: SamplingConfig | None = None,  # None = the model's own
    seed: int = 0,
    flat: bool = False,
    keys: Mapping[int, Tensor] | None = None,  # number of a sketch -> its colored frame (3 H W) in [0, 1], its result
) -> Tensor:
    """Paint a clip from its reference; return frames (n 3 H W) in [0, 1], on the CPU. The seed alone decides the noise.

    flat: each region between lines gets one color of the reference, the one that best fits what the model painted.
    With keys the reference counts as the colored frame before the first sketch.
    InputError: keys for sampling that paints from the frame before alone (prev_sample).
    """
    config = (sampling or SamplingConfig()).complete(pipeline.config)
    generator = torch.Generator().manual_seed(seed)
    reference, reference_sketch, sketches = reference.cpu(), reference_sketch.cpu(), sketches.cpu()
    parts = [sketches]
    if keys:
        if config.prev_sample:
            raise InputError("sampling.prev_sample takes one reference: leave the keys out")
        drawn, given = torch.cat([reference_sketch[None], sketches]), {1 + key: frame for key, frame in keys.items()}
        frames = pipeline(
            sketches=drawn,
            keys={0: reference, **given},
            sampling=config,
            generator=generator,
            output_type="pt",
            return_dict=False,
        )[0][0][1:]
        return fill_flat(reference, reference_sketch, sketches, frames, keys) if flat else frames
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


def fill_flat(
    reference: Tensor,
    reference_sketch: Tensor,
    sketches: Tensor,
    painted: Tensor,
    keys: Mapping[int, Tensor] | None = None,
) -> Tensor:
    """Fill the regions of sketches (n 1 H W) with colors of the reference (3 H W) that fit the painted frames.

    painted: (n 3 H W) in [0, 1]. keys: number of a sketch ->
    its colored frame (3 H W), whose colors count, too. => frames (n 3 H W)
    """
    drawing = png_from_sketch(reference_sketch)[0].numpy()
    filler = FlatFiller(reference, reference_sketch, ink_color=find_ink_color(drawing, reference_sketch[0].numpy()))
    for key, frame in (keys or {}).items():
        filler.add_reference(frame.cpu(), sketches[key].cpu())
    return torch.stack([filler(sketch, frame) for sketch, frame in zip(sketches, painted)])
