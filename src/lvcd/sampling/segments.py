"""Cutting a clip of any length into windows that overlap (paper, section 5.1)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Segment:
    """One window of the clip."""

    frames: tuple[int, ...]
    """(window) frame numbers. Beyond the end of the clip its last frame is held."""
    count: int
    """frames[:count] are final after this segment; the rest is painted once more by the next, which has the last word
    (the same word, where all steps are blended)."""


def plan(num_frames: int, window: int, overlap: int) -> list[Segment]:
    """Segments that finish every frame 0 .. num_frames - 1 exactly once, in order; [] for no frames.

    Each starts window - overlap after the one before. The last is filled up by holding the last frame, so the network
    always sees the window it was trained with. Where the original's clip ends on a full window the plan is its own;
    elsewhere it has one segment more. Raises ValueError unless 0 <= overlap < window.
    """
    if not 0 <= overlap < window:
        raise ValueError(f"the overlap must be 0 to {window - 1} (the window has {window} frames), not {overlap}")
    segments = []
    for start in range(0, max(num_frames - overlap, min(num_frames, 1)), window - overlap):
        frames = tuple(min(f, num_frames - 1) for f in range(start, start + window))
        left = num_frames - start
        segments.append(Segment(frames, left if left <= window else window - overlap))
    return segments
