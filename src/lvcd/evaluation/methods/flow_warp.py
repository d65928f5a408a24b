"""The reference's colors, warped along the optical flow of the line art from frame to frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.flats import as_array, draw_lines_over, fill_lines, line_color

from .line_flow import LineFlow


class FlowWarp:
    """`Method` that warps fills along the flow of the distance to lines, and draws each frame's lines over them.

    Fills are cut along the lines of every frame. SegmentAccuracy on 10 drawn cartoons of the validation split: 0.48;
    0.34 with the flow of the lines themselves and their colors warped; 0.19 for copying the reference. InputError:
    frames too small for a flow.
    """

    name = "flow_warp"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"kind": "flow_warp", **LineFlow.settings}
        self._flow = LineFlow()

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        frame, before = as_array(reference), as_array(reference_sketch)[..., 0]
        fill, color = fill_lines(frame, before), line_color(frame, before)
        painted = []
        for sketch in as_array(sketches)[..., 0]:
            fill = fill_lines(self._flow.carry(fill, before, sketch), sketch)
            painted.append(draw_lines_over(fill, sketch, color))
            before = sketch
        return torch.from_numpy(np.stack(painted)).movedim(-1, 1)
