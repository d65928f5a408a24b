"""Frame layouts: which frames of a network call may read which, one table that every layer of every network obeys.

A network call holds t frames. The first `num_refs` are isolated: in temporal layers they read no other frame and are
read by none. They are one or more *references*, and copies of earlier results. The rest are the *video*, one window of
consecutive frames. In every spatial self-attention frame t reads the keys and values of the frames `sources[:, t]`,
side by side (LVCD, reference and prev-reference attention).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

NOBODY = -1
"""Stands in a table of sources for a frame that reads fewer frames than others."""


@dataclass(frozen=True)
class AttentionGroup:
    """A group of frames whose spatial self-attention has the same shape, so that one call computes it."""

    frames: tuple[int, ...]
    """The frames that read."""
    sources: tuple[tuple[int, ...], ...]
    """(S, len(frames)): the frames whose keys and values each of them reads."""
    log_gain: tuple[float, ...] | None
    """(S): what is added to the logits of each source; None where all are equal."""


@dataclass(frozen=True)
class FrameLayout:
    """A table of which of t frames each frame may read. ValueError: the table contradicts itself."""

    num_refs: int
    """Leading frames isolated in time: the references, and in long sampling `overlap` more; 0 for plain SVD."""
    sources: tuple[tuple[int, ...], ...]
    """(S, t): frame t attends to the joined tokens of frames sources[0][t], sources[1][t], ...; below the first row
    NOBODY = none."""
    gain: tuple[tuple[float, ...], ...] | None = None
    """(S, t): weight of each source (alpha in the paper, section 5.2); None = 1 everywhere."""
    gain_layers: int | None = 13
    """Number of spatial self-attentions in which the gain counts, the first ones in the order input, middle, output;
    None = all. The original uses 13: of SVD's 16 the last three, at full resolution, have none."""

    def __post_init__(self):
        if not self.sources or not self.sources[0]:
            raise ValueError("sources needs at least one row, of at least one frame")
        t = self.num_frames
        first, *others = self.sources
        allowed = all(0 <= s < t for s in first) and all(s == NOBODY or 0 <= s < t for row in others for s in row)
        if any(len(row) != t for row in self.sources) or not allowed:
            raise ValueError(f"every row of sources needs {t} frame numbers in 0..{t - 1}: {self.sources}")
        if not 0 <= self.num_refs < t:
            raise ValueError(f"num_refs is {self.num_refs}, but needs to leave a video frame out of {t} frames")
        if self.gain is not None and [len(row) for row in self.gain] != [t] * len(self.sources):
            raise ValueError(f"gain needs the shape of sources, ({len(self.sources)}, {t})")
        if self.gain is not None and not all(g > 0 for row in self.gain for g in row):
            raise ValueError(f"every gain must be positive: {self.gain}")

    @property
    def num_frames(self) -> int:
        """The number t of frames of a network call."""
        return len(self.sources[0])

    @classmethod
    def plain(cls, num_frames: int) -> FrameLayout:
        """Return the layout of plain SVD: there is no reference, and a frame reads itself in space, all in time."""
        return cls(0, (tuple(range(num_frames)),))

    @classmethod
    def referenced(cls, window: int, num_refs: int = 1, references: int = 1) -> FrameLayout:
        """Return the layout of reference attention (paper, 4.3), for training and the first segment: video frames also
        read the first `references` frames, all of them (the paper has one)."""
        t = num_refs + window
        read = ((*range(num_refs), *[reference] * window) for reference in range(references))
        return cls(num_refs, (tuple(range(t)), *read))

    @classmethod
    def prev_referenced(
        cls,
        window: int,
        overlap: int,
        gain: float = 10.0,
        reach: int = 3,
        gain_layers: int | None = 13,
        references: int = 1,
    ) -> FrameLayout:
        """Return the layout of prev-reference attention (paper, 5.2), for every segment after the first.

        The frames are the references, `overlap` results of the previous segment, and the `window`. Of the window the
        first `overlap` frames read themselves and, `gain` times as strongly, their previous result. Each later one
        reads the references and the frame `reach` to its left, or `overlap` if that is less, but not itself.
        """
        refs, reach = references + overlap, min(reach, overlap)
        overlapped, new = range(refs, refs + overlap), range(refs + overlap, refs + window)
        sources = (
            (*range(refs), *overlapped, *(t - reach for t in new)),
            (*range(refs), *(t - overlap for t in overlapped), *(0 for _ in new)),
            *((*range(refs), *(NOBODY for _ in overlapped), *(r for _ in new)) for r in range(1, references)),
        )
        strong = tuple(gain if t in overlapped else 1.0 for t in range(refs + window))
        gains = (tuple([1.0] * (refs + window)), *[strong] * references)
        return cls(refs, sources, gains if overlap else None, gain_layers)

    def with_sources(self, other: FrameLayout) -> FrameLayout:
        """Return this layout with another's sources, as the original has it once prev-reference attention ends: the
        gain stays."""
        return FrameLayout(self.num_refs, other.sources, self.gain, self.gain_layers)

    def ablated(self, reference_attention: bool = True, isolation: bool = True) -> FrameLayout:
        """Return this layout without reference attention, where a frame reads itself alone (the paper's ablation,
        section 6), or without isolation in time, where a reference is one more frame of the video."""
        sources, gain = (self.sources, self.gain) if reference_attention else ((tuple(range(self.num_frames)),), None)
        return FrameLayout(self.num_refs if isolation else 0, sources, gain, self.gain_layers)

    def groups(self, layer: int) -> tuple[AttentionGroup, ...]:
        """Return the calls that compute spatial self-attention number `layer`, from 0. Each frame is in one of them."""
        biased = self.gain is not None and (self.gain_layers is None or layer < self.gain_layers)
        return self._biased_groups if biased else self._plain_groups

    @cached_property
    def _plain_groups(self) -> tuple[AttentionGroup, ...]:
        return self._group(None)

    @cached_property
    def _biased_groups(self) -> tuple[AttentionGroup, ...]:
        return self._group(self.gain)

    def _group(self, gain) -> tuple[AttentionGroup, ...]:
        found: dict[tuple[float, ...], list[tuple[int, tuple[int, ...]]]] = {}
        for t in range(self.num_frames):
            # The same frame read twice weighs as much as once with the sum of both gains.
            weight: dict[int, float] = {}
            for s, row in enumerate(self.sources):
                if row[t] != NOBODY:
                    weight[row[t]] = weight.get(row[t], 0.0) + (gain[s][t] if gain else 1.0)
            first = next(iter(weight.values()))
            log_gain = tuple(math.log(w / first) for w in weight.values())
            found.setdefault(log_gain, []).append((t, tuple(weight)))
        return tuple(
            AttentionGroup(
                frames=tuple(t for t, _ in members),
                sources=tuple(zip(*(sources for _, sources in members))),
                log_gain=log_gain if any(log_gain) else None,
            )
            for log_gain, members in found.items()
        )
