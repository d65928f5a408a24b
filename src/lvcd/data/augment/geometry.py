"""Where things are: the whole clip is cropped or flipped as one.

letters: t frames, c channels, H W pixels
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..clip import fit


def flip(clip: Tensor) -> Tensor:
    """(t c H W), left for right."""
    return clip.flip(-1)


def crop(clip: Tensor, zoom: float, at: tuple[float, float]) -> Tensor:
    """(t c H W) => the part at `at` (shares of what is left over: down, right), enlarged `zoom` times to (t c H W).

    Bicubic; what overshoots the range of the clip is cut off.
    """
    height, width = clip.shape[-2:]
    cut_h, cut_w = (max(1, round(n / zoom)) for n in (height, width))
    top, left = round(at[0] * (height - cut_h)), round(at[1] * (width - cut_w))
    part = clip[..., top : top + cut_h, left : left + cut_w].reshape(-1, cut_h, cut_w).numpy()
    planes = np.stack([fit(plane, height, width) for plane in part])
    return torch.from_numpy(planes).reshape(clip.shape).clamp_(clip.min(), clip.max())
