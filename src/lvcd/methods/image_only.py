"""Ours without time: each frame is painted alone, as an image model would."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcd.video.colorize import Scheme

from .ours import Ours

AT_ONCE = 8
"""Frames that are painted side by side, in one batch."""


class ImageOnly(Ours):
    """A `Method`: a window of one frame, so that no temporal layer sees another. All frames start from one noise, which
    keeps them as alike as they can be."""

    kind = "image_only"

    def _scheme(self) -> Scheme:
        return self.sampling.scheme(self.pipeline, window=1, overlap=0)

    def _paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        painted = []
        for part in sketches.cpu().split(AT_ONCE):
            some = self.pipeline(
                [reference.cpu()] * len(part),
                list(part[:, None]),  # (n 1 H W) => n clips (1 1 H W)
                scheme=self.scheme,
                generator=[torch.Generator().manual_seed(seed) for _ in part],
                reference_sketch=[reference_sketch.cpu()] * len(part),
                guidance_scale=self.sampling.guidance,
                output_type="pt",
            ).frames[:, 0]
            painted.append(some)
        return torch.cat(painted)
