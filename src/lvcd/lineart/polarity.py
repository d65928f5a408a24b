"""Whether lines are dark on light or light on dark, by what is thin and not by what most pixels are.

letters: H W pixels. Pictures are float32 (H W 3) in [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from .sketch import Array, greatest, luminance

WIDTHS = (3, 5, 9, 17)
"""Px, odd: structures thinner than these are compared; up to an eighth of the picture's shorter side."""
MIN_CONTRAST = 0.1
"""Of the range from black to white, by which a line stands out."""
SURE = 0.6
"""Fraction of all thin structures above which the polarity is certain."""
SURE_AGAINST = 0.85
"""The same, where the ground clearly says the opposite: solid black, or dots so dense that the gaps are thin."""
SURE_GROUND = 0.75
"""Fraction of the ground, light or dark, above which the polarity is certain where thin structures do not speak."""
MAX_SIDE = 1024
"""Px: larger pictures are made smaller first."""


@dataclass(frozen=True)
class Polarity:
    """The polarity says how lines stand out from the paper."""

    lines: Literal["dark", "light"]
    is_sure: bool


def find_polarity(pictures: list[Array]) -> Polarity:
    """Find out whether the lines of some drawings are dark or light.

    A drawing that is mostly solid black still has thin dark lines on its light part, and few thin light ones. Where
    both are as frequent, the ground decides, which is what the border and most pixels are.
    """
    votes = []
    for picture in pictures:
        votes.append(_thin(picture))
    dark, light = np.sum(votes, 0)
    ground = float(np.mean([_ground(picture) for picture in pictures]))
    if not dark + light:
        return Polarity("dark" if ground > 0.5 else "light", True)  # blank, or nothing thin
    fraction = dark / (dark + light)
    clear_ground = max(ground, 1 - ground) > SURE_GROUND
    agree = (fraction > 0.5) == (ground > 0.5)
    if max(fraction, 1 - fraction) > (SURE if agree or not clear_ground else SURE_AGAINST):
        return Polarity("dark" if fraction > 0.5 else "light", True)
    return Polarity("dark" if ground > 0.5 else "light", clear_ground)


def _thin(picture: Array) -> tuple[float, float]:
    """Return how much of a picture is thin and dark, and thin and light; they sum to 1, or 0 for a blank one."""
    H, W = picture.shape[:2]
    if max(H, W) > MAX_SIDE:
        scale = MAX_SIDE / max(H, W)
        picture = cv2.resize(
            picture, (max(1, round(W * scale)), max(1, round(H * scale))), interpolation=cv2.INTER_AREA
        )
    dark = light = 0.0
    for width in WIDTHS:
        if width > max(3, min(picture.shape[:2]) // 8):
            break
        around = np.ones((width, width), np.uint8)
        for total, operation in enumerate((cv2.MORPH_BLACKHAT, cv2.MORPH_TOPHAT)):
            step = greatest(cv2.morphologyEx(picture, operation, around))
            energy = float(np.square(step[step > MIN_CONTRAST]).sum()) / width
            dark, light = (dark + energy, light) if not total else (dark, light + energy)
    total_ = dark + light
    return (dark / total_, light / total_) if total_ else (0.0, 0.0)


def _ground(picture: Array) -> float:
    """Return how light the ground is, 0 to 1: the border counts as much as everything."""
    light = luminance(picture) > 0.5
    border = np.concatenate([light[0], light[-1], light[:, 0], light[:, -1]])
    return float(light.mean() + border.mean()) / 2
