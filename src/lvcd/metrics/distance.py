"""Euclidean distance maps: the distance of each pixel from the nearest line, exact on every device.

letters: n frames, H W pixels
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from .frame_tensors import Array

MAX_PARABOLA_VALUES = 2**26
"""float32 numbers that a distance map on a GPU holds at once: 256 MiB."""


def distance_map(lines: Tensor) -> Tensor:
    """Return the distance from each pixel to the nearest line pixel, in px: (n H W) bool -> (n H W) float64.

    It is exact for frames up to 2,896 px a side. In a frame without a line every distance is the diagonal.
    """
    if lines.device.type == "cpu":
        return torch.from_numpy(np.stack([distances(frame) for frame in lines.numpy()]))
    squares = by_parabolas(lines).double()
    squares[~lines.flatten(1).any(1)] = lines.shape[1] ** 2 + lines.shape[2] ** 2
    return squares.sqrt()


def distances(lines: Array) -> Array:
    """Return the `distance_map` of one frame on the CPU: (H W) bool -> (H W) float64."""
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
    """Return squared distances (n H W) float32 of lines (n H W) bool on any device; infinite in frames without a line.

    Distances within each column come first, then the lowest of the parabolas that the columns of a row put over it
    (Felzenszwalb and Huttenlocher 2012, Distance Transforms of Sampled Functions).
    """
    n, H, W = lines.shape
    y, x = (torch.arange(size, device=lines.device, dtype=torch.float32) for size in (H, W))
    row = y[:, None].expand(n, H, W)
    above = row.where(lines, -math.inf).cummax(1).values
    below = row.where(lines, math.inf).flip(1).cummin(1).values.flip(1)
    column = torch.minimum(row - above, below - row).square().flatten(0, 1)  # (n H W) => (rows W)
    apart = (x[:, None] - x).square()
    parts = column.split(max(1, MAX_PARABOLA_VALUES // W**2))
    return torch.cat([(part[:, None] + apart).amin(-1) for part in parts]).view(n, H, W)
