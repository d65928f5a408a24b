"""The reference's colors, warped along the optical flow of the line art from frame to frame.

letters: H W pixels
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.flats import as_array, draw_lines_over, fill_lines, line_color
from lvcd.flats.fills import Array

REACH = 1 / 8
"""Distance from a line, as a fraction of the height, up to which the map that is searched varies: optical flow needs
texture, which blank paper lacks."""
MIN_SIDE_PX = 12
"""Smallest frame that OpenCV's search takes."""


class FlowWarp:
    """`Method` that warps fills along the flow of the distance to lines, and draws each frame's lines over them.

    The flow is OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590) at full resolution. Fills are cut along the lines
    of every frame. SegmentAccuracy on 10 drawn cartoons of the validation split: 0.48; 0.34 with the flow of the lines
    themselves and their colors warped; 0.19 for copying the reference. InputError: frames of less than 12 px a side.
    """

    name = "flow_warp"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"kind": "flow_warp", "flow": "DIS medium, finest scale 0", "reach": REACH}
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        H, W = reference.shape[-2:]
        if min(H, W) < MIN_SIDE_PX:
            raise InputError(
                f"flow_warp needs frames of {MIN_SIDE_PX} x {MIN_SIDE_PX} px, these are {W} x {H}: take larger ones"
            )
        frame, sketch = as_array(reference), as_array(reference_sketch)[..., 0]
        fill, color = fill_lines(frame, sketch), line_color(frame, sketch)
        rows, columns = np.mgrid[:H, :W]
        here = np.stack([columns, rows], -1).astype(np.float32)  # (H W 2)
        before, painted = line_proximity(sketch), []
        for sketch in as_array(sketches)[..., 0]:
            after = line_proximity(sketch)
            at = here + self._search.calc(after, before, None)  # type: ignore[call-overload]
            moved = cv2.remap(fill, at[..., 0], at[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            fill = fill_lines(moved, sketch)
            painted.append(draw_lines_over(fill, sketch, color))
            before = after
        return torch.from_numpy(np.stack(painted)).movedim(-1, 1)


def line_proximity(sketch: Array) -> Array:
    """Return a map (H W) uint8 of a sketch (H W) in [0, 1]: 0 on a line, 255 where REACH of the height away."""
    distance = cv2.distanceTransform((sketch <= 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return (255 * np.minimum(distance / (REACH * len(sketch)), 1)).astype(np.uint8)
