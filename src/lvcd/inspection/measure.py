"""Statistics of one clip: its motion, its palette, and whether its sketches are of use.

letters: H W pixels. A frame is uint8 (H W 3) RGB, a drawing uint8 (H W), 0 = line, 255 = paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lvcd.lineart.color_leak import LEAK_THRESHOLD, ColorLeak, line_contrast
from lvcd.spacing import evenly_spaced

Array = np.ndarray[Any, Any]

MAX_ROWS = 256
"""Frames with more rows are shrunk to so many before they are measured."""
FRAMES_COMPARED = 8
"""Frames of a clip whose colors and lines are compared, spread evenly; motion and emptiness are of all."""

FAINT_LEVELS = 26
"""Of 255: a pixel darker than its surroundings by more belongs to a line."""
EMPTY, EMPTY_FRAMES = 5e-4, 0.1
"""A sketch with a smaller fraction of line pixels is empty; a clip with a larger fraction of such frames is flagged."""
FULL, LEAST_PAPER = 0.5, 0.1
"""A clip whose sketches are darker on average (0 white, 1 black), or have a smaller fraction of paper, is flagged."""
PAIRED = 0.4
"""A clip whose lines and edges correlate less is flagged. On 110 drawn cartoons: exact line art at least 0.71, xdog
0.63; flagged are 99 % of sketches of another clip, 98 % of mirrored ones, 92 % of those of eight frames later."""

FLAGS = {
    "leak": "grey reveals the color",
    "empty": "no lines",
    "full": "nearly full",
    "unpaired": "sketch does not match",
    "undecodable": "cannot be decoded",
}
"""What can be wrong with a clip -> the words for it."""


@dataclass
class ClipStats:
    """The statistics of one clip. None = cannot be computed."""

    motion_mean_px: float | None = None
    """Mean optical flow over all pixels and pairs, px of the frame from one frame to the next."""
    motion_p99_px: float | None = None
    """Its 99th percentile."""
    lines: float = 0.0
    """Fraction of pixels on a line."""
    darkness: float = 0.0
    """Mean darkness of the sketches: 0 white, 1 black."""
    empty_frames: int = 0
    """The number of sketches without lines."""
    paper: float | None = None
    """Fraction of pixels that are far from lines, see `color_leak.paper_mask`."""
    leak: float | None = None
    """Fraction of color variance that grey in the sketches explains, see `color_leak`."""
    pairing: float | None = None
    """Correlation of lines and edges, -1 to 1."""
    palette: tuple[tuple[str, float], ...] = ()
    """Flat colors, #rrggbb, with their fraction of all flat pixels, largest first."""
    flags: tuple[str, ...] = ()
    """What is wrong: names of FLAGS."""
    error: str = ""
    """Why it cannot be decoded."""


def measure(pictures: Iterable[tuple[Array | None, Array]], count: int) -> ClipStats:
    """Measure a clip from `count` pictures, at least 1: (frame, or None if only sketches are there; drawing)."""
    compared = set(evenly_spaced(count, FRAMES_COMPARED, ends=False))
    stats, leak, flows, pairings, colors = ClipStats(), ColorLeak(), MotionStats(), list[float](), FlatColors()
    for index, (frame, drawing) in enumerate(pictures):
        drawing = shrink(drawing)
        lines = line_contrast(drawing)
        on_line = float((lines > FAINT_LEVELS).mean())
        stats.lines += on_line / count
        stats.darkness += float(1 - drawing.mean() / 255) / count
        stats.empty_frames += on_line < EMPTY
        if frame is None:
            continue
        height, frame = len(frame), shrink(frame)
        flows.add(frame, height / len(frame))
        if index in compared:
            leak.add(frame, drawing)
            colors.add(frame)
            if on_line >= EMPTY:
                pairings.append(pairing(frame, lines))
    if colors.frames:
        stats.motion_mean_px, stats.motion_p99_px = flows.summary()
        stats.palette, stats.paper, stats.leak = colors.summary(), leak.paper, leak.color_r2
    if pairings:
        stats.pairing = float(np.mean(pairings))
    stats.flags = tuple(_flags(stats, count))
    return stats


def _flags(n: ClipStats, count: int) -> Iterable[str]:
    if n.leak is not None and n.leak > LEAK_THRESHOLD:
        yield "leak"
    if n.empty_frames > EMPTY_FRAMES * count:
        yield "empty"
    if n.darkness > FULL or (n.paper is not None and n.paper < LEAST_PAPER):
        yield "full"
    if n.pairing is not None and n.pairing < PAIRED:
        yield "unpaired"


def shrink(picture: Array) -> Array:
    """Shrink (H W ...) to at most MAX_ROWS rows."""
    height, width = picture.shape[:2]
    if height <= MAX_ROWS:
        return picture
    return cv2.resize(picture, (max(1, round(width * MAX_ROWS / height)), MAX_ROWS), interpolation=cv2.INTER_AREA)


def pairing(frame: Array, lines: Array) -> float:
    """Return the correlation of line contrast (H W) with the frame's edges, both blurred by 1/100 of the height."""
    around = np.ones((3, 3), np.uint8)
    edges = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, around).max(-1)
    sigma = 0.5 + len(frame) / 100
    a, b = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma).ravel() for x in (edges, lines))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


class MotionStats:
    """Optical flow from frame to frame by dense inverse search (Kroeger et al. 2016, as in OpenCV).

    The search fills flat areas from their surroundings; where nothing changes within a pixel, nothing moves. Against
    the exact flow of 24 drawn cartoons, 256 rows: mean x 0.87 (x 2.0 without that rule), 99th percentile x 0.95
    (medians).
    """

    MIN_ROWS, MAX_ROWS = 64, 128  # that are searched: smaller frames are enlarged, larger ones shrunk
    SAME_LEVELS = 8  # of 255: a pixel that changes by no more does not move

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[Array, Array] | None = None
        self._found: list[Array] = []

    def add(self, frame: Array, scale: float) -> None:
        """Add the next frame. scale: px of the film's own frame for one px of this."""
        factor = max(self.MIN_ROWS / min(frame.shape[:2]), min(1.0, self.MAX_ROWS / len(frame)))
        if factor != 1:
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
            frame = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=how)
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if self._before is not None:
            changed = (cv2.absdiff(self._before[0], frame).max(-1) > self.SAME_LEVELS).astype(np.uint8)
            flow = self._search.calc(self._before[1], grey, None)  # type: ignore[call-overload]
            speed = np.hypot(flow[..., 0], flow[..., 1]) * cv2.dilate(changed, np.ones((3, 3), np.uint8))
            self._found.append((speed[::2, ::2] * (scale / factor)).astype(np.float16))
        self._before = frame, grey

    def summary(self) -> tuple[float | None, float | None]:
        """Return mean and 99th percentile in px; None for less than two frames."""
        if not self._found:
            return None, None
        speeds = np.stack(self._found).astype(np.float32)
        return float(speeds.mean()), float(np.percentile(speeds, 99))


class FlatColors:
    """The flat colors of the frames: those of pixels whose neighbors have the same."""

    MAX_COLORS = 8
    NEAR_LEVELS = 28  # of 255: colors closer than this in all channels are one
    MIN_FRACTION = 0.005  # of the flat pixels

    def __init__(self) -> None:
        self._pixels, self._sum = np.zeros(4096), np.zeros((4096, 3))
        self.frames = 0

    def add(self, frame: Array) -> None:
        """Add the flat pixels of a frame."""
        flat = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(-1) <= 12
        colors = frame[flat]
        bins = (colors.astype(np.intp) >> 4) @ (256, 16, 1)
        self._pixels += np.bincount(bins, minlength=4096)
        for channel in range(3):
            self._sum[:, channel] += np.bincount(bins, colors[:, channel], 4096)
        self.frames += 1

    def summary(self) -> tuple[tuple[str, float], ...]:
        """Return (#rrggbb, fraction), largest first; near ones are taken together."""
        found: list[tuple[Array, float]] = []  # mean color, pixels
        for index in np.argsort(-self._pixels, kind="stable")[:256]:
            pixels = float(self._pixels[index])
            if not pixels:
                break
            color = self._sum[index] / pixels
            near = next((i for i, (c, _) in enumerate(found) if np.abs(c - color).max() < self.NEAR_LEVELS), None)
            if near is None:
                found.append((color, pixels))
            else:
                c, n = found[near]
                found[near] = (c * n + color * pixels) / (n + pixels), n + pixels
        total = max(1.0, self._pixels.sum())
        found.sort(key=lambda one: -one[1])
        return tuple(
            ("#" + bytes(np.rint(color).astype(np.uint8)).hex(), pixels / total)
            for color, pixels in found[: self.MAX_COLORS]
            if pixels / total >= self.MIN_FRACTION
        )
