"""Where a film is cut into shots, and which clips of them are worth learning from.

letters: H W pixels. A frame is a uint8 array (H W 3), RGB.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

import cv2
import numpy as np

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]

LEVELS = 10  # of each channel: 1,000 colors
CHANGE = 16  # of 255 in any channel: by less than this a pixel changes through coding alone
DARK = 24  # of 255 in every channel: a pixel up to this is black

Detector = Literal["paper", "content"]


@dataclass(frozen=True)
class ShotRule:
    """How a film is cut. The defaults of `cut`, `shortest` and `longest` are the paper's (LVCD, section 6)."""

    detector: Detector = "paper"
    """What begins a shot: the paper's histogram difference over `cut`, or the mean difference of hue, saturation and
    brightness of PySceneDetect's ContentDetector, from `content_cut` on."""
    cut: float = 30.0
    """A shot begins where the color histogram differs by more from that of the frame before: RMSE over the bins, in
    pixels."""
    resolution: int = 96
    """Frames are looked at as so many pixels squared. The paper does not say how many, and differences grow with them.
    Chosen by measuring. A live-action film with five cuts: at 64 the rule sees two of them, at 96 all (35.8 and more;
    17 within its shots), at 128 a sixth. 15 drawn cartoons of 24 frames, 320 x 576: within a clip the difference is
    over 30 at 64 never, at 96 in 2 of 345 frames, at 112 in 8. A false cut shortens a clip; a missed one pairs a
    reference with another scene."""
    content_cut: float = 27.0
    """PySceneDetect's default, in levels of 255. As in its SceneManager, frames are looked at with a longer side of at
    most 256 pixels."""
    shortest: int = 15
    """Frames; a clip of fewer is dropped."""
    longest: int = 200
    """Frames; a shot of more is split into the fewest parts that fit, equal to one frame."""
    lit: float = 0.01
    """Share of pixels: a clip that never has more of them brighter than black is dropped."""
    moving: float = 0.001
    """Share of pixels: a clip in which never more of them change from one frame to the next is dropped."""

    def __post_init__(self) -> None:
        if not 2 <= self.shortest <= self.longest:
            raise InputError(f"clips of {self.shortest} to {self.longest} frames: choose 2 or more, the longest last")
        if self.resolution < 16:
            raise InputError(f"colors cannot be counted at {self.resolution} pixels squared: choose at least 16")
        if not min(self.cut, self.content_cut) > 0:
            raise InputError(f"a cut at a difference of {min(self.cut, self.content_cut)}: choose more than 0")
        if self.detector not in get_args(Detector):
            raise InputError(f"there is no shot detector {self.detector!r}: choose {' or '.join(get_args(Detector))}")


@dataclass(frozen=True)
class Clip:
    """Frames start .. stop - 1 of a film."""

    start: int
    stop: int
    dropped: str = ""
    """Why it is not kept: short, black or still; "" if it is."""


class _Look:
    """What is kept of a frame until the next one has been seen."""

    def __init__(self, frame: Array, resolution: int):
        small = cv2.resize(frame, (resolution, resolution), interpolation=cv2.INTER_AREA)
        self.pixels = small.astype(np.int16)
        self.histogram = color_histogram(small)
        self.lit = float((small.max(-1) > DARK).mean())

    def changed(self, before: _Look) -> float:
        """=> share of the pixels that differ from those of another frame"""
        return float((np.abs(self.pixels - before.pixels).max(-1) > CHANGE).mean())


def color_histogram(frame: Array) -> Array:
    """uint8 (H W 3) => (1000) int64: pixels of each color, at 10 levels a channel."""
    r, g, b = np.moveaxis(frame.astype(np.int64) * LEVELS // 256, -1, 0)
    return np.bincount(((r * LEVELS + g) * LEVELS + b).ravel(), minlength=LEVELS**3)


def difference(a: Array, b: Array) -> float:
    """RMSE of two histograms over their bins, in pixels."""
    return float(np.sqrt(np.mean((a - b).astype(np.float64) ** 2)))


class ShotFinder:
    """Frames of a film, one after the other => its clips, kept or dropped: every frame in exactly one, in order.

    Streams: two small frames, and two flags for each frame of the current shot, are all that is held.
    InputError: the rule asks for a detector that is not installed.
    """

    def __init__(self, rule: ShotRule | None = None):
        self._rule = rule or ShotRule()
        self._start = 0
        self._begin()

    def _begin(self) -> None:
        self._shot: list[tuple[bool, bool]] = []  # of each frame: lit, and moved since the one before
        self._before: _Look | None = None
        self._cuts = _DETECTORS[self._rule.detector](self._rule)

    def add(self, frame: Array) -> list[Clip]:
        """The film's next frame => the clips that are now known to have ended, if any."""
        now = _Look(frame, self._rule.resolution)
        cuts = self._cuts(self._start + len(self._shot), frame, now)
        moved = self._before is not None and now.changed(self._before) > self._rule.moving
        self._shot.append((now.lit > self._rule.lit, moved))
        self._before = now
        return [clip for cut in cuts for clip in self._close(cut)]

    def cut(self) -> list[Clip]:
        """Frames were lost: a shot ends here, whatever the next frame looks like => the clips not told yet."""
        closed = self._close(self._start + len(self._shot))
        self._begin()
        return closed

    def finish(self) -> list[Clip]:
        """The film is over => the clips not told yet."""
        return self.cut()

    def _close(self, stop: int) -> list[Clip]:
        """A shot ends before frame `stop`, which may have been seen a while ago."""
        length = stop - self._start
        clips = list(_split(self._start, self._shot[:length], self._rule))
        self._start, self._shot = stop, self._shot[length:]
        return clips


def find_clips(frames: Iterable[Array], rule: ShotRule | None = None) -> Iterator[Clip]:
    """All frames of a film => all its clips, each as soon as it has ended; none for no frames."""
    finder = ShotFinder(rule)
    for frame in frames:
        yield from finder.add(frame)
    yield from finder.finish()


Cuts = Callable[[int, Array, _Look], list[int]]
"""(number of the next frame, frame, its look) => which frames shots begin with: this one, or ones before"""


def _paper(rule: ShotRule) -> Cuts:
    before: _Look | None = None

    def cuts(number: int, frame: Array, now: _Look) -> list[int]:
        nonlocal before
        apart = before is not None and difference(now.histogram, before.histogram) > rule.cut
        before = now
        return [number] if apart else []

    return cuts


def _content(rule: ShotRule) -> Cuts:
    """PySceneDetect, told of no shortest shot: what is short is dropped by the rule."""
    try:
        from scenedetect import ContentDetector, FrameTimecode
        from scenedetect.scene_manager import compute_downscale_factor
    except ImportError as error:
        raise InputError("the content detector needs PySceneDetect: pip install lvcd[prepare]") from error
    detector = ContentDetector(threshold=rule.content_cut, min_scene_len=1)

    def cuts(number: int, frame: Array, now: _Look) -> list[int]:
        scale = compute_downscale_factor(max(frame.shape[:2]))
        if scale > 1:
            size = [max(1, round(side / scale)) for side in frame.shape[1::-1]]
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_LINEAR)
        found = detector.process_frame(FrameTimecode(number, fps=24.0), cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        return [timecode.frame_num for timecode in found]

    return cuts


_DETECTORS: dict[Detector, Callable[[ShotRule], Cuts]] = {"paper": _paper, "content": _content}


def _split(start: int, shot: list[tuple[bool, bool]], rule: ShotRule) -> Iterator[Clip]:
    length = len(shot)
    parts = -(-length // rule.longest)
    for part in range(parts):
        first, last = length * part // parts, length * (part + 1) // parts
        frames = shot[first:last]
        if len(frames) < rule.shortest:
            why = "short"
        elif not any(lit for lit, _ in frames):
            why = "black"
        elif not any(moved for _, moved in frames[1:]):
            why = "still"
        else:
            why = ""
        yield Clip(start + first, start + last, why)
