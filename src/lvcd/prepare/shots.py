"""Shot detection: where a film is cut, and which clips of its shots are worth learning from.

letters: H W pixels. A frame is a uint8 array (H W 3), RGB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]

BINS_PER_CHANNEL = 10
"""Of the color histogram, which so has 1,000 bins."""
CHANGE_LEVELS = 16
"""Of 255 in any channel: by less than this a pixel changes through coding alone."""
BLACK_LEVELS = 24
"""Of 255 in every channel: a pixel up to this is black."""

Detector = Literal["paper", "content"]


@dataclass(frozen=True)
class ShotRule:
    """A rule says how films are cut. The defaults of `cut`, `shortest`, `longest` are the paper's (section 6)."""

    detector: Detector = "paper"
    """How a cut is found: the paper's histogram difference over `cut`, or the mean difference of hue, saturation and
    brightness of PySceneDetect's ContentDetector, from `content_cut` on."""
    cut: float = 30.0
    """paper: a shot begins where the color histogram differs by more from that of the frame before: RMSE over the bins,
    in pixels."""
    resolution: int = 96
    """paper: histograms are taken of frames scaled to so many pixels squared. The paper does not say how many, and
    differences grow with them. Chosen by measuring. A live-action film with five cuts: at 64 the rule sees two of them,
    at 96 all (35.8 and more; 17 within its shots), at 128 a sixth. 15 drawn cartoons of 24 frames, 320 x 576: within a
    clip the difference is over 30 at 64 never, at 96 in 2 of 345 frames, at 112 in 8. A false cut shortens a clip; a
    missed one pairs a reference with another scene."""
    content_cut: float = 27.0
    """content: the mean difference at which a shot begins, in levels of 255; the default is PySceneDetect's. As in its
    SceneManager, frames are scaled to a longer side of at most 256 pixels."""
    shortest: int = 15
    """Frames; a clip of fewer is dropped."""
    longest: int = 200
    """Frames; a shot of more is split into the fewest parts that fit, equal to one frame."""
    lit: float = 0.01
    """Fraction of pixels: a clip that never has more of them brighter than black is dropped."""
    moving: float = 0.001
    """Fraction of pixels: a clip in which never more of them change from one frame to the next is dropped."""

    def __post_init__(self) -> None:
        if not 2 <= self.shortest <= self.longest:
            raise InputError(f"clips of {self.shortest} to {self.longest} frames: choose 2 or more, the longest last")
        if self.resolution < 16:
            raise InputError(f"colors cannot be counted at {self.resolution} pixels squared: choose at least 16")
        for cut in (self.cut, self.content_cut):
            if not (cut > 0 and math.isfinite(cut)):
                raise InputError(f"a cut at a difference of {cut:g}: choose more than 0")
        if self.detector not in get_args(Detector):
            raise InputError(f"there is no shot detector {self.detector!r}: choose {' or '.join(get_args(Detector))}")


@dataclass(frozen=True)
class ShotSpan:
    """A clip within a shot: frames start .. stop - 1 of a film."""

    start: int
    stop: int
    dropped: str = ""
    """The reason why it is left out: short, black or still; "" if it is not."""


class _FrameStats:
    """What is remembered of a frame until the next one has come."""

    def __init__(self, frame: Array, resolution: int):
        small = cv2.resize(frame, (resolution, resolution), interpolation=cv2.INTER_AREA)
        self.pixels = small.astype(np.int16)
        self.histogram = color_histogram(small)
        self.lit = float((small.max(-1) > BLACK_LEVELS).mean())

    def changed(self, before: _FrameStats) -> float:
        """Return the fraction of the pixels that differ from those of another frame."""
        return float((np.abs(self.pixels - before.pixels).max(-1) > CHANGE_LEVELS).mean())


def color_histogram(frame: Array) -> Array:
    """Count the pixels of each color, at 10 levels a channel: uint8 (H W 3) => (1000) int64."""
    r, g, b = np.moveaxis(frame.astype(np.int64) * BINS_PER_CHANNEL // 256, -1, 0)
    return np.bincount(((r * BINS_PER_CHANNEL + g) * BINS_PER_CHANNEL + b).ravel(), minlength=BINS_PER_CHANNEL**3)


def difference(a: Array, b: Array) -> float:
    """Return the RMSE of two histograms over their bins, in pixels."""
    return float(np.sqrt(np.mean((a - b).astype(np.float64) ** 2)))


class ShotFinder:
    """Cuts a film into clips, good or dropped, from its frames one after the other: every frame is in exactly one.

    Memory: two small frames, and two flags for each frame of the current shot.
    InputError: the rule asks for a detector that is not installed.
    """

    def __init__(self, rule: ShotRule | None = None):
        self._rule = rule or ShotRule()
        self._start = 0
        self._begin()

    def _begin(self) -> None:
        self._shot: list[tuple[bool, bool]] = []  # of each frame: lit, and moved since the one before
        self._before: _FrameStats | None = None
        self._cuts = _DETECTORS[self._rule.detector](self._rule)

    def add(self, frame: Array) -> list[ShotSpan]:
        """Take the film's next frame and return the clips that are now known to have ended, if any."""
        now = _FrameStats(frame, self._rule.resolution)
        cuts = self._cuts(self._start + len(self._shot), frame, now)
        moved = self._before is not None and now.changed(self._before) > self._rule.moving
        self._shot.append((now.lit > self._rule.lit, moved))
        self._before = now
        return [clip for cut in cuts for clip in self._close(cut)]

    def cut(self) -> list[ShotSpan]:
        """End the shot here, since frames are missing before the next one, and return the clips not returned yet."""
        closed = self._close(self._start + len(self._shot))
        self._begin()
        return closed

    def finish(self) -> list[ShotSpan]:
        """End the film and return the clips not returned yet."""
        return self.cut()

    def _close(self, stop: int) -> list[ShotSpan]:
        """End a shot before frame `stop`, which may have come a while ago."""
        length = stop - self._start
        clips = list(_split(self._start, self._shot[:length], self._rule))
        self._start, self._shot = stop, self._shot[length:]
        return clips


Cuts = Callable[[int, Array, _FrameStats], list[int]]
"""(number of the next frame, frame, its statistics) => which frames shots begin with: this one, or ones before."""


def _paper(rule: ShotRule) -> Cuts:
    before: _FrameStats | None = None

    def cuts(number: int, frame: Array, now: _FrameStats) -> list[int]:
        nonlocal before
        apart = before is not None and difference(now.histogram, before.histogram) > rule.cut
        before = now
        return [number] if apart else []

    return cuts


def _content(rule: ShotRule) -> Cuts:
    """PySceneDetect without a shortest shot: what is short is dropped by the rule."""
    try:
        from scenedetect import ContentDetector, FrameTimecode
        from scenedetect.scene_manager import compute_downscale_factor
    except ImportError as error:
        raise InputError("the content detector needs PySceneDetect: pip install lvcd[prepare]") from error
    detector = ContentDetector(threshold=rule.content_cut, min_scene_len=1)

    def cuts(number: int, frame: Array, now: _FrameStats) -> list[int]:
        scale = compute_downscale_factor(max(frame.shape[:2]))
        if scale > 1:
            size = [max(1, round(side / scale)) for side in frame.shape[1::-1]]
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        found = detector.process_frame(FrameTimecode(number, fps=24.0), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return [timecode.frame_num for timecode in found]

    return cuts


_DETECTORS: dict[Detector, Callable[[ShotRule], Cuts]] = {"paper": _paper, "content": _content}


def _split(start: int, shot: list[tuple[bool, bool]], rule: ShotRule) -> Iterator[ShotSpan]:
    length = len(shot)
    parts = -(-length // rule.longest)
    for part in range(parts):
        first, last = length * part // parts, length * (part + 1) // parts
        frames = shot[first:last]
        if len(frames) < rule.shortest:
            reason = "short"
        elif not any(lit for lit, _ in frames):
            reason = "black"
        elif not any(moved for _, moved in frames[1:]):
            reason = "still"
        else:
            reason = ""
        yield ShotSpan(start + first, start + last, reason)
