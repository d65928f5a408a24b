"""The paper of a drawing: its tone, its tint and the light on it, so that ink can be measured against it.

letters: H W pixels. A picture is float32 (H W 3) in [0, 1] with its lines dark; what a pixel absorbs is 0 on paper and
1 where no light is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .sketch import Array, greatest, least

NEAR_LEVELS = 10
"""Of 255: a pixel this close to the tone of even paper is paper."""
EVEN_FRACTION = 0.5
"""Of all pixels that are neither lines nor dark: when so many have one tone, within a level, the paper is even."""
NOISE_SIGMAS = 3.0
"""Standard deviations of the paper's grain that do not count as ink."""
BLOCKS = 96
"""Blocks along the longer side, in each of which the tone of uneven paper is measured."""
MIN_BLOCK_PX = 8
BLOCK_QUANTILE = 0.75
"""Of a block's pixels: lines cover fewer than a quarter of it, or the block does not count."""
SHADOW = 0.12
"""Natural logarithm of tone by which a block may be darker than the light on the paper explains, and be paper."""
SOLID = 0.6
"""Of the tone of the paper around: what is large and darker is drawn, what is lighter a shadow on the paper."""
STROKE_WIDTH = 20
"""Lines are thinner than the height over this."""


@dataclass(frozen=True)
class Paper:
    """The paper of one clip."""

    tone: tuple[float, float, float]
    """R G B in [0, 1]; of uneven paper its brightest part."""
    even: bool
    """One tone throughout: what differs from it is drawn."""
    grain: float
    """Standard deviation of what blank paper absorbs."""

    @property
    def is_white(self) -> bool:
        """Whether the paper is that of a file: pure white without grain."""
        return self.even and self.tone == (1.0, 1.0, 1.0) and self.grain == 0

    def absorbed(self, picture: Array) -> Array:
        """Return what each pixel of a picture absorbs, (H W 3) in [0, 1], 0 on this paper, grain left out."""
        if self.is_white:
            return 1 - picture
        if self.even:
            light = _even_tone(picture, np.asarray(self.tone, np.float32))
        else:
            light = uneven_tone(picture)
        dark = 1 - picture / np.maximum(light, 1 / 255)
        floor = NOISE_SIGMAS * self.grain
        return np.clip((dark - floor) / (1 - floor), 0, 1)


WHITE = Paper((1.0, 1.0, 1.0), True, 0.0)


def estimate_paper(pictures: list[Array]) -> Paper:
    """Estimate the paper of a clip from some of its drawings."""
    found = [measured for picture in pictures if (measured := _measure(picture)) is not None]
    if not found:
        return WHITE
    tone = np.median([tone for tone, _ in found], 0)
    even = sum(is_even for _, is_even in found) * 2 > len(found)
    paper = Paper(tuple(float(value) for value in tone), even, 0.0)  # type: ignore[arg-type]
    return Paper(paper.tone, even, float(np.median([_grain(picture, paper) for picture in pictures])))


def _measure(picture: Array) -> tuple[Array, bool] | None:
    """Return the tone (3) of a picture's paper and whether it is even; None for a picture without paper."""
    value = greatest(picture)
    smooth = _smooth(value)
    levels = np.rint(value[smooth] * 255).astype(np.intp)
    histogram = np.bincount(levels, minlength=256).astype(float)
    if histogram.sum() < 16:
        return None
    near = np.convolve(histogram, np.ones(3), "same")
    top = np.percentile(levels, 98)
    light = np.arange(256) >= 0.4 * top  # solid black is no paper, however much of it there is
    mode = int(np.argmax(np.where(light, near, 0)))
    even = near[mode] >= EVEN_FRACTION * histogram[light].sum()
    level = mode if even else top
    at = smooth & (np.abs(value * 255 - level) <= (1.5 if even else 6))
    return (np.median(picture[at], 0) if at.any() else np.full(3, level / 255)), bool(even)


def _smooth(value: Array) -> Array:
    """Return, bool (H W), where a picture (H W) has no edge: lines and their surroundings are left out."""
    calm = cv2.GaussianBlur(value, (0, 0), 1.0)
    around = np.ones((3, 3), np.uint8)
    smooth: Array = cv2.dilate(calm, around) - cv2.erode(calm, around) < 0.06
    return smooth if smooth.mean() > 0.02 else np.ones_like(smooth)


def _even_tone(picture: Array, tone: Array) -> Array:
    """Return the tone (3) of this very sheet, near that of its clip: scanners differ by a few levels."""
    near = greatest(np.abs(picture - tone)) <= NEAR_LEVELS / 255
    return np.median(picture[near], 0).astype(np.float32) if near.mean() > 0.2 else tone


def _grain(picture: Array, paper: Paper) -> float:
    """Return the standard deviation, robustly, of what blank paper absorbs."""
    light = _even_tone(picture, np.asarray(paper.tone, np.float32)) if paper.even else uneven_tone(picture)
    dark = 1 - picture / np.maximum(light, 1 / 255)
    dark = (dark[..., 0] + dark[..., 1] + dark[..., 2]) / 3
    blank = dark[_smooth(greatest(picture)) & (np.abs(dark) < 0.15)]
    return 1.4826 * float(np.median(np.abs(blank - np.median(blank)))) if len(blank) else 0.0


def uneven_tone(picture: Array) -> Array:
    """Return the tone of unevenly lit paper under a drawing: (H W 3) => (H W 3).

    Lines are closed, so that the light between them is left, edges of shadows too. Where that is too dark for paper,
    under solid black, the light follows the surface through the rest of the sheet.
    """
    smooth_tone = _light_surface(picture)
    width = 2 * (len(picture) // (2 * STROKE_WIDTH)) + 5
    calm = cv2.GaussianBlur(picture, (0, 0), 1.0)
    closed = cv2.morphologyEx(calm, cv2.MORPH_CLOSE, np.ones((width, width), np.uint8))
    closed = cv2.GaussianBlur(closed, (0, 0), 1.0)
    dark = (least(closed - SOLID * smooth_tone) < 0).astype(np.uint8)
    solid = cv2.dilate(dark, np.ones((5, 5), np.uint8)) > 0
    blank = (least(picture - 0.85 * closed) > 0) & ~solid
    if blank.any():  # grain makes what is closed too light
        closed = closed * np.median(picture[blank] / np.maximum(closed[blank], 1 / 255), 0).astype(np.float32)
    return np.where(solid[..., None], smooth_tone, closed)


def _light_surface(picture: Array) -> Array:
    """Fit a quadratic surface to the logarithms of the light blocks of a picture (H W 3), again and again without the
    blocks that are darker than it, which are drawn; add the rest of the others, smoothed => (H W 3)."""
    H, W = picture.shape[:2]
    size = min(max(MIN_BLOCK_PX, -(-max(H, W) // BLOCKS)), H, W)
    rows, columns = H // size, W // size
    cut = picture[: rows * size, : columns * size].reshape(rows, size, columns, size, 3)
    tone = np.quantile(cut.transpose(0, 2, 1, 3, 4).reshape(rows, columns, size * size, 3), BLOCK_QUANTILE, 2)
    log = np.log(np.maximum(tone, 2 / 255))
    bright = log.max(2)
    y, x = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, columns), indexing="ij")
    basis = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], -1)
    used = bright >= np.quantile(bright, 0.95) - np.log(2)
    fit = log
    for _ in range(12):
        terms = 6 if used.sum() >= 24 else 1
        surface, *_ = np.linalg.lstsq(basis[used][:, :terms], log[used], rcond=None)
        fit = basis[..., :terms] @ surface
        again = (np.abs(log - fit) < SHADOW).all(2)
        if again.sum() < 4 or (again == used).all():
            break
        used = again
    weight = used.astype(np.float64)
    rest = np.stack([cv2.GaussianBlur((log - fit)[..., c] * weight, (0, 0), 1.0) for c in range(3)], -1)
    fit = fit + rest / (cv2.GaussianBlur(weight, (0, 0), 1.0) + 0.2)[..., None]
    return _enlarge(np.exp(fit).astype(np.float32), H, W, size)


def _enlarge(blocks: Array, height: int, width: int, size: int) -> Array:
    """Interpolate values at the centers of blocks of `size` px => (H W 3)."""
    x = (np.arange(width, dtype=np.float32) + 0.5) / size - 0.5
    y = (np.arange(height, dtype=np.float32) + 0.5) / size - 0.5
    maps = np.broadcast_to(x, (height, width)), np.broadcast_to(y[:, None], (height, width))
    x_map, y_map = (np.ascontiguousarray(m) for m in maps)
    return cv2.remap(blocks, x_map, y_map, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
