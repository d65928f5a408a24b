"""Segments: a clip of any length is cut into windows that overlap (paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """A segment is one window of the clip."""

    frames: tuple[int, ...]
    """(window) frame numbers. Beyond the end of the clip its last frame is held."""
    count: int
    """frames[:count] are final after this segment. The next segment paints the others again, and its result counts
    (it is the same result where all steps are blended)."""


def plan_segments(num_frames: int, window: int, overlap: int) -> list[Segment]:
    """Return segments that finish every frame 0 .. num_frames - 1 exactly once, in order; [] for no frames.

    Each segment starts window - overlap frames after the one before. The last one is filled up by holding the clip's
    last frame, so that the network always sees the window it was trained with. Where a clip ends on a full window the
    segments are the original's; elsewhere there is one more, for the frames that the original drops.
    Raises ValueError unless 0 <= overlap < window.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"the overlap must be 0 to {window - 1} (the window has {window} frames), not {overlap}")
    segments = []
    for start in range(0, max(num_frames - overlap, min(num_frames, 1)), window - overlap):
        frames = tuple(min(f, num_frames - 1) for f in range(start, start + window))
        left = num_frames - start
        segments.append(Segment(frames, left if left <= window else window - overlap))
    return segments
