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
FAR = 127
"""px: distances below it are found by steps, which a byte holds."""
SMALL = 256 * 256
"""Pixels, up to which steps are faster than OpenCV, on one thread: the arrays stay in a core's own memory."""


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
    alone = torch.get_num_threads() == 1  # numpy's many short calls would wait for one another
    if alone and lines.size <= SMALL and (near := by_steps(lines)) is not None:
        return np.asarray(np.sqrt(near, dtype=np.float64))
    # The squares are whole numbers, so rounding them takes away what float32 lost. OpenCV was once seen to lose more
    # than a half, 1.3e-6 of the square, at 885 px: it is asked only where that much is less than 0.35.
    if diagonal <= 2**18:
        found = cv2.distanceTransform((~lines).view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        squares = np.rint(found * found)
    else:
        squares = by_parabolas(torch.from_numpy(lines)[None])[0].numpy()
    return np.asarray(np.sqrt(squares, dtype=np.float64))


def by_steps(lines: Array) -> Array | None:
    """(H W) bool with a line -> squared distances (H W) uint16; None where one is FAR px or more.

    Along each row first: a step of 1, 2, 4, ... either way. Then along the columns, until no step is near enough to
    change anything: as many as the greatest distance.
    """
    along = cv2.transpose((~lines).view(np.uint8)).reshape(lines.shape[::-1]) * np.uint8(FAR)  # (W H)
    moved = np.empty_like(along)
    for step in (1, 2, 4, 8, 16, 32, 64):
        _lower(along, np.add(along, step, out=moved), step)
    row = cv2.transpose(along).reshape(lines.shape).astype(np.uint16)
    row *= row
    squares, moved = row.copy(), np.empty_like(row)
    for step in range(1, min(FAR, len(row))):
        if step % 8 == 0 and squares.max() <= step**2:
            break
        _lower(squares, np.add(row, step**2, out=moved), step)
    return squares if squares.max() < FAR**2 else None


def _lower(low: Array, moved: Array, step: int) -> None:
    """Each of low becomes no more than what stands in moved so many places before or behind it."""
    if step < len(low):
        np.minimum(low[step:], moved[:-step], out=low[step:])
        np.minimum(low[:-step], moved[step:], out=low[:-step])


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
