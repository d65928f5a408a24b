"""The numbers of one clip: its motion, its palette, and whether its sketches are of use.

letters: H W pixels. A frame is uint8 (H W 3) RGB, a drawing uint8 (H W), 0 = line, 255 = paper.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from lvcd.lineart.color_leak import LEAKS, Leak, contrast
from lvcd.spacing import evenly_spaced

Array = np.ndarray[Any, Any]

ROWS = 256
"""Measures are taken of frames shrunk to so many rows, if they have more."""
LOOKS = 8
"""Frames of a clip whose colors and lines are compared, spread evenly; motion and emptiness are of all."""

FAINT = 26
"""Levels: a pixel darker than its surroundings by more belongs to a line."""
EMPTY, EMPTY_FRAMES = 5e-4, 0.1
"""A sketch with a smaller share of line pixels is empty; a clip with more such
frames than that share is flagged."""
FULL, LEAST_PAPER = 0.5, 0.1
"""A clip whose sketches are darker on average (0 white, 1 black), or have a smaller share of paper, is flagged."""
PAIRED = 0.4
"""A clip whose lines and edges correlate less is flagged. On 110 drawn cartoons: exact line art at least 0.71, xdog
0.63; flagged are 99 % of sketches of another clip, 98 % of mirrored ones, 92 % of those of eight frames later."""

FLAGS = {
    "leak": "grey tells the color",
    "empty": "no lines",
    "full": "nearly full",
    "unpaired": "sketch does not match",
    "undecodable": "cannot be decoded",
}
"""What can be wrong, and how the page says it."""


@dataclass
class Numbers:
    """Of one clip. None = cannot be told."""

    motion_mean_px: float | None = None
    """Optical flow, px of the frame from one frame to the next, over all pixels and pairs."""
    motion_p99_px: float | None = None
    lines: float = 0.0
    """Share of pixels on a line."""
    darkness: float = 0.0
    """Of the sketches on average: 0 white, 1 black."""
    empty_frames: int = 0
    paper: float | None = None
    """Share of pixels that are far from lines, see `leak.paper`."""
    leak: float | None = None
    pairing: float | None = None
    """Correlation of lines and edges, -1 to 1."""
    palette: tuple[tuple[str, float], ...] = ()
    """Flat colors, #rrggbb, with their share of all flat pixels, largest first."""
    flags: tuple[str, ...] = ()
    """Names of FLAGS."""
    error: str = ""
    """Why it cannot be decoded."""


def measure(pictures: Iterable[tuple[Array | None, Array]], count: int) -> Numbers:
    """(frame, or None if only sketches are there; drawing) one after the other, `count` of them, at least 1."""
    looks = set(evenly_spaced(count, LOOKS, ends=False))
    numbers, leak, flows, pairings, colors = Numbers(), Leak(), Flows(), list[float](), Palette()
    for index, (frame, drawing) in enumerate(pictures):
        drawing = shrink(drawing)
        lines = contrast(drawing)
        share = float((lines > FAINT).mean())
        numbers.lines += share / count
        numbers.darkness += float(1 - drawing.mean() / 255) / count
        numbers.empty_frames += share < EMPTY
        if frame is None:
            continue
        height, frame = len(frame), shrink(frame)
        flows.add(frame, height / len(frame))
        if index in looks:
            leak.add(frame, drawing)
            colors.add(frame)
            if share >= EMPTY:
                pairings.append(pairing(frame, lines))
    if colors.looked:
        numbers.motion_mean_px, numbers.motion_p99_px = flows.summary()
        numbers.palette, numbers.paper, numbers.leak = colors.summary(), leak.paper, leak.told
    if pairings:
        numbers.pairing = float(np.mean(pairings))
    numbers.flags = tuple(_flags(numbers, count))
    return numbers


def _flags(n: Numbers, count: int) -> Iterable[str]:
    if n.leak is not None and n.leak > LEAKS:
        yield "leak"
    if n.empty_frames > EMPTY_FRAMES * count:
        yield "empty"
    if n.darkness > FULL or (n.paper is not None and n.paper < LEAST_PAPER):
        yield "full"
    if n.pairing is not None and n.pairing < PAIRED:
        yield "unpaired"


def shrink(picture: Array) -> Array:
    """(H W ...) => at most ROWS rows."""
    height, width = picture.shape[:2]
    if height <= ROWS:
        return picture
    return cv2.resize(picture, (max(1, round(width * ROWS / height)), ROWS), interpolation=cv2.INTER_AREA)


def pairing(frame: Array, lines: Array) -> float:
    """Correlation of the line contrast (H W) with the frame's edges, both blurred by a hundredth of the height."""
    around = np.ones((3, 3), np.uint8)
    edges = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, around).max(-1)
    sigma = 0.5 + len(frame) / 100
    a, b = (cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma).ravel() for x in (edges, lines))
    return float(np.corrcoef(a, b)[0, 1]) if a.std() > 0 and b.std() > 0 else 0.0


class Flows:
    """Optical flow from frame to frame by dense inverse search (Kroeger et al. 2016, as in OpenCV).

    The search fills flat areas from their surroundings; where nothing changes within a pixel, nothing moves. Against
    the exact flow of 24 drawn cartoons, 256 rows: mean x 0.87 (x 2.0 without that rule), 99th percentile x 0.95
    (medians).
    """

    LEAST, MOST = 64, 128  # rows that are searched: smaller frames are enlarged, larger ones shrunk
    SAME = 8  # levels

    def __init__(self) -> None:
        self._search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._before: tuple[Array, Array] | None = None
        self._found: list[Array] = []

    def add(self, frame: Array, scale: float) -> None:
        """scale: px of the film's own frame for one px of this"""
        factor = max(self.LEAST / min(frame.shape[:2]), min(1.0, self.MOST / len(frame)))
        if factor != 1:
            how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
            frame = cv2.resize(frame, None, fx=factor, fy=factor, interpolation=how)
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if self._before is not None:
            changed = (cv2.absdiff(self._before[0], frame).max(-1) > self.SAME).astype(np.uint8)
            flow = self._search.calc(self._before[1], grey, None)  # type: ignore[call-overload]
            speed = np.hypot(flow[..., 0], flow[..., 1]) * cv2.dilate(changed, np.ones((3, 3), np.uint8))
            self._found.append((speed[::2, ::2] * (scale / factor)).astype(np.float16))
        self._before = frame, grey

    def summary(self) -> tuple[float | None, float | None]:
        """=> mean and 99th percentile in px; None for less than two frames"""
        if not self._found:
            return None, None
        speeds = np.stack(self._found).astype(np.float32)
        return float(speeds.mean()), float(np.percentile(speeds, 99))


class Palette:
    """The flat colors of the frames: those of pixels whose neighbors have the same."""

    MOST, NEAR, LEAST = 8, 28, 0.005  # colors; distance in RGB below which two are one; share of the flat pixels

    def __init__(self) -> None:
        self._pixels, self._sum = np.zeros(4096), np.zeros((4096, 3))
        self.looked = 0

    def add(self, frame: Array) -> None:
        flat = cv2.morphologyEx(frame, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)).max(-1) <= 12
        colors = frame[flat]
        bins = (colors.astype(np.intp) >> 4) @ (256, 16, 1)
        self._pixels += np.bincount(bins, minlength=4096)
        for channel in range(3):
            self._sum[:, channel] += np.bincount(bins, colors[:, channel], 4096)
        self.looked += 1

    def summary(self) -> tuple[tuple[str, float], ...]:
        """=> (#rrggbb, share), largest first; near ones are taken together"""
        found: list[tuple[Array, float]] = []  # mean color, pixels
        for index in np.argsort(-self._pixels, kind="stable")[:256]:
            pixels = float(self._pixels[index])
            if not pixels:
                break
            color = self._sum[index] / pixels
            near = next((i for i, (c, _) in enumerate(found) if np.abs(c - color).max() < self.NEAR), None)
            if near is None:
                found.append((color, pixels))
            else:
                c, n = found[near]
                found[near] = (c * n + color * pixels) / (n + pixels), n + pixels
        total = max(1.0, self._pixels.sum())
        found.sort(key=lambda one: -one[1])
        return tuple(
            ("#" + bytes(np.rint(color).astype(np.uint8)).hex(), pixels / total)
            for color, pixels in found[: self.MOST]
            if pixels / total >= self.LEAST
        )
