"""The optical flow of line art, for methods that carry colors from frame to frame.

letters: H W pixels. A sketch is in [0, 1], 1 on a line.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from lvcd.errors import InputError
from lvcd.flats.fills import Array

REACH = 1 / 8
"""Distance from a line, as a fraction of the height, up to which the map that is searched varies: optical flow needs
texture, which blank paper lacks."""
MIN_SIDE_PX = 12
"""Smallest frame that OpenCV's search takes."""


class LineFlow:
    """Finds where each pixel of a drawing was in the drawing before.

    The flow is OpenCV's DIS (Kroeger et al. 2016, arXiv 1603.03590) at full resolution, of the distance to lines.
    """

    settings: dict[str, Any] = {"flow": "DIS medium, finest scale 0", "reach": REACH}
    """What the flow depends on, as it is recorded with a result."""

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._search.setFinestScale(0)

    def carry(self, values: Array, before: Array, after: Array) -> Array:
        """Carry values (H W ...) of one drawing (H W) along the flow to the next (H W), each from the nearest pixel.

        InputError: frames of less than MIN_SIDE_PX a side.
        """
        H, W = after.shape
        if min(H, W) < MIN_SIDE_PX:
            raise InputError(
                f"optical flow needs frames of {MIN_SIDE_PX} x {MIN_SIDE_PX} px, these are {W} x {H}: take larger ones"
            )
        flow = self._search.calc(line_proximity(after), line_proximity(before), None)  # type: ignore[call-overload]
        at = np.stack(np.meshgrid(np.arange(W), np.arange(H)), -1).astype(np.float32) + flow  # (H W 2): x, y
        return cv2.remap(values, at[..., 0], at[..., 1], cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)


def line_proximity(sketch: Array) -> Array:
    """Return a map (H W) uint8 of a sketch (H W) in [0, 1]: 0 on a line, 255 where REACH of the height away."""
    distance = cv2.distanceTransform((sketch <= 0.5).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5)
    return (255 * np.minimum(distance / (REACH * len(sketch)), 1)).astype(np.uint8)
