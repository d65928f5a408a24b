"""Trace lines: the colored lines of a drawing, which part fills and are painted over, apart from its ink.

letters: H W pixels, 3 what a pixel absorbs of red, green and blue, in [0, 1], 0 on paper.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .sketch import Array, greatest, least

HUES = {
    "red": (345, 15), "orange": (15, 48), "yellow": (48, 68), "yellow-green": (68, 100), "green": (100, 160),
    "cyan": (160, 200), "blue": (200, 255), "violet": (255, 300), "pink": (300, 345),
}  # fmt: skip
"""Name -> the angles of hue, in degrees, from the first to below the second."""
MIN_SATURATION = 0.3
"""Of what a colored line absorbs, (greatest - least channel) / greatest; ink has less."""
MIN_ABSORBED = 0.15
"""By the most absorbed channel: what is paler than this is neither ink nor trace line."""
MIN_PIXELS, MIN_FRACTION = 8, 2e-5
"""Of a drawing, so that a hue counts: pixels of its lines. The first of each line, so that grain is none."""
HUE_REACH = 25.0
"""Degrees from a hue's peak that belong to it."""
NEIGHBOR, NEIGHBOR_FRACTION = 50.0, 0.33
"""Degrees and fraction: a hue so close to one that is more frequent, with fewer than so many pixels of it, is noise."""
FILL_WIDTH, MIN_FILL_PX = 40, 9
"""A colored area wider than the height over the first, and than the second in px, is a fill and no trace line."""
INK_FRACTION = 0.05
"""Of all line pixels: a drawing with fewer in grey has its ink in color."""


@dataclass(frozen=True)
class Hue:
    """The color of one kind of line."""

    name: str
    angle: float
    """Degrees."""
    absorbed: tuple[float, float, float]
    """What the middle of such a line absorbs."""
    pixels: int
    """How many were found of it."""


def find_hues(absorbed: Array) -> list[Hue]:
    """Find the hues of the colored lines of a drawing (H W 3), most pixels first."""
    around = cv2.blur(absorbed, (3, 3))
    colored = (saturation(absorbed) > MIN_SATURATION) & (saturation(around) > MIN_SATURATION)
    color = absorbed[_without_specks(colored & (greatest(absorbed) > MIN_ABSORBED))]
    enough = max(MIN_PIXELS, MIN_FRACTION * absorbed[..., 0].size)
    if len(color) < enough:
        return []
    angle = hue_angle(color)
    weight = np.histogram(angle, 72, (0, 360), weights=color.max(1) - color.min(1))[0]
    smooth = np.convolve(np.concatenate([weight[-4:], weight, weight[:4]]), np.array([1, 2, 3, 2, 1]) / 9, "same")[4:-4]
    found: list[Hue] = []
    free = np.ones(72, bool)
    while free.any() and smooth[free].max() > 0:
        bin_ = int(np.argmax(np.where(free, smooth, -1)))
        peak = bin_ * 5 + 2.5
        free &= np.abs(_turn(np.arange(72) * 5 + 2.5 - peak)) > HUE_REACH
        mine = color[np.abs(_turn(angle - peak)) <= HUE_REACH]
        if len(mine) < enough:
            continue
        full = mine[mine.max(1) >= np.quantile(mine.max(1), 0.75)]
        middle = np.median(full, 0)
        found.append(Hue(hue_name(peak), float(hue_angle(middle[None])[0]), tuple(map(float, middle)), len(mine)))  # type: ignore[arg-type]
    found.sort(key=lambda hue: -hue.pixels)
    return [hue for n, hue in enumerate(found) if not any(_is_noise_of(hue, other) for other in found[:n])]


def _is_noise_of(hue: Hue, other: Hue) -> bool:
    near = abs((hue.angle - other.angle + 180) % 360 - 180) < NEIGHBOR
    return near and hue.pixels < NEIGHBOR_FRACTION * other.pixels


def _without_specks(mask: Array) -> Array:
    """Return a mask (H W) without parts of fewer than MIN_PIXELS."""
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    large = stats[:, cv2.CC_STAT_AREA] >= MIN_PIXELS
    large[0] = False
    return large[parts]


def without_fills(cover: Array) -> Array:
    """Return the coverage (H W) of a hue without its large areas, which somebody colored in: they part nothing."""
    width = max(MIN_FILL_PX, len(cover) // FILL_WIDTH)
    solid = (cover > 0.3).astype(np.uint8)
    wide = cv2.morphologyEx(solid, cv2.MORPH_OPEN, np.ones((width, width), np.uint8))
    if not wide.any():
        return cover
    return np.where(cv2.dilate(wide, np.ones((5, 5), np.uint8)) > 0, np.float32(0), cover)


def separate(absorbed: Array, hues: list[Hue]) -> tuple[Array, list[Array]]:
    """Take the lines of some hues out of a drawing (H W 3).

    A pixel is a mixture of paper, ink, which absorbs all channels alike, and the nearest of the hues: two unknowns that
    follow from its color. => what ink absorbs (H W 3), and the coverage (H W) of each hue, 1 in the middle of a line.
    """
    around = cv2.blur(absorbed, (3, 3))
    angle = hue_angle(around)
    sure = (saturation(absorbed) > MIN_SATURATION) & (saturation(around) > MIN_SATURATION)
    sure &= greatest(absorbed) > MIN_ABSORBED
    off = np.stack([np.abs(_turn(angle - hue.angle)) for hue in hues])
    nearest = off.argmin(0)
    ink, covers = absorbed.copy(), []
    for number, hue in enumerate(hues):
        mine = (nearest == number) & (off[number] <= HUE_REACH + 15)
        core = _without_specks(sure & mine).astype(np.uint8)
        place = (cv2.dilate(core, np.ones((5, 5), np.uint8)) > 0) & (mine | (core > 0))
        full = np.asarray(hue.absorbed, np.float32)
        color = full - full.mean()
        here = absorbed[place]
        cover = np.clip((here - here.mean(1, keepdims=True)) @ color / (color @ color), 0, 1)
        rest = np.clip(here - cover[:, None] * full, 0, 1)
        ink[place] = np.median(rest, 1, keepdims=True)
        whole = np.zeros(absorbed.shape[:2], np.float32)
        whole[place] = cover
        covers.append(whole)
    return ink, covers


def saturation(absorbed: Array) -> Array:
    """Return (greatest - least) / greatest of (... 3), 0 where nothing is absorbed."""
    high = greatest(absorbed)
    return (high - least(absorbed)) / np.maximum(high, 1e-6)


def hue_angle(absorbed: Array) -> Array:
    """Return the angle of hue, in degrees 0 .. 360, of colors that absorb (... 3)."""
    r, g, b = (1 - absorbed[..., c] for c in range(3))
    return np.degrees(np.arctan2(np.sqrt(3) * (g - b), 2 * r - g - b)) % 360


def hue_name(angle: float) -> str:
    """Return the name of a hue."""
    for name, (start, end) in HUES.items():
        if (angle - start) % 360 < (end - start) % 360:
            return name
    raise AssertionError(angle)


def _turn(degrees: Array) -> Array:
    """Bring differences of angles to -180 .. 180."""
    return (degrees + 180) % 360 - 180
