"""Distance maps: how far each pixel is from the nearest line. Exact on every device.

letters: n frames, H W pixels
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from .inputs import Array

PARABOLAS = 2**26
"""Numbers that a distance map on a GPU holds at once: 256 MiB."""


def distance_map(lines: Tensor) -> Tensor:
    """Distance from each pixel to the nearest line pixel, in px: (n H W) bool -> (n H W) float64.

    For frames up to 2,896 px a side. Without a line all is as far as the diagonal is long.
    """
    if lines.device.type == "cpu":
        return torch.from_numpy(np.stack([distances(frame) for frame in lines.numpy()]))
    squares = by_parabolas(lines).double()
    squares[~lines.flatten(1).any(1)] = lines.shape[1] ** 2 + lines.shape[2] ** 2
    return squares.sqrt()


def distances(lines: Array) -> Array:
    """`distance_map` of one frame on the CPU: (H W) bool -> (H W) float64."""
    diagonal = lines.shape[0] ** 2 + lines.shape[1] ** 2
    if not lines.any():
        return np.full(lines.shape, math.sqrt(diagonal))
    # The squares are whole numbers, so rounding them takes away what float32 lost. OpenCV was once seen to lose more
    # than a half, 1.3e-6 of the square, at 885 px: it is asked only where that much is less than 0.35.
    if diagonal <= 2**18:
        found = cv2.distanceTransform((~lines).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        squares = np.rint(np.multiply(found, found, out=found), out=found)
    else:
        squares = by_parabolas(torch.from_numpy(lines)[None])[0].numpy()
    return np.asarray(np.sqrt(squares, dtype=np.float64))


def by_parabolas(lines: Tensor) -> Tensor:
    """(n H W) bool on any device -> squared distances (n H W) float32; infinite in frames without a line.

    Within each column first; then the lowest of the parabolas that the columns of a row put over it.
    """
    n, H, W = lines.shape
    y, x = (torch.arange(size, device=lines.device, dtype=torch.float32) for size in (H, W))
    row = y[:, None].expand(n, H, W)
    above = row.where(lines, -math.inf).cummax(1).values
    below = row.where(lines, math.inf).flip(1).cummin(1).values.flip(1)
    column = torch.minimum(row - above, below - row).square().flatten(0, 1)  # (n H W) => (rows W)
    apart = (x[:, None] - x).square()
    parts = column.split(max(1, PARABOLAS // W**2))
    return torch.cat([(part[:, None] + apart).amin(-1) for part in parts]).view(n, H, W)
