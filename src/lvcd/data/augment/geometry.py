"""Geometric changes of a clip: all frames are cropped or flipped alike.

letters: t frames, c channels, H W pixels
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..clip import fit


def flip(clip: Tensor) -> Tensor:
    """Mirror (t c H W) left and right."""
    return clip.flip(-1)


def crop(clip: Tensor, zoom: float, at: tuple[float, float]) -> Tensor:
    """Cut a part of (t c H W) and enlarge it `zoom` times to the same size.

    at    which part, as fractions of what is left over (down, right)
    Bicubic; values beyond the range of the clip are clamped.
    """
    height, width = clip.shape[-2:]
    cut_h, cut_w = (max(1, round(n / zoom)) for n in (height, width))
    top, left = round(at[0] * (height - cut_h)), round(at[1] * (width - cut_w))
    part = clip[..., top : top + cut_h, left : left + cut_w].reshape(-1, cut_h, cut_w).numpy()
    planes = np.stack([fit(plane, height, width) for plane in part])
    return torch.from_numpy(planes).reshape(clip.shape).clamp_(clip.min(), clip.max())
