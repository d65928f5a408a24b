"""Every frame of every clip is painted, once and in order."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.sampling.segments import plan_segments
from tests.helpers.layouts import windows


@settings(deadline=None)
@given(st.integers(0, 120), windows())
def test_every_frame_once_in_order(frames, size):
    segments = plan_segments(frames, *size)
    assert [f for s in segments for f in s.frames[: s.count]] == list(range(frames))


@settings(deadline=None)
@given(st.integers(1, 120), windows())
def test_every_segment_is_a_window_that_overlaps_the_one_before(frames, size):
    window, overlap = size
    segments = plan_segments(frames, window, overlap)
    for segment in segments:
        start = segment.frames[0]
        assert segment.frames == tuple(min(start + i, frames - 1) for i in range(window))
        assert 1 <= segment.count <= window
    for before, after in zip(segments, segments[1:]):
        assert after.frames[0] == before.frames[0] + window - overlap
        assert before.frames[window - overlap :] == after.frames[:overlap]
        assert len(set(before.frames)) == window  # only the last is filled up


@settings(deadline=None)
@given(st.integers(1, 120), windows())
def test_no_segment_too_many(frames, size):
    window, overlap = size
    assert len(plan_segments(frames, window, overlap)) == max(1, math.ceil((frames - overlap) / (window - overlap)))


@pytest.mark.parametrize("sketches", [15, 25, 35, 45, 105])
def test_the_originals_plan_where_its_clip_ends_on_a_window(sketches):
    """Method, section 7: segment i paints sketches f .. f + 13, f = 1 + 10 i, after the colored sketch 0."""
    segments = plan_segments(sketches - 1, 14, 4)
    assert len(segments) == (sketches - 15) // 10 + 1
    for i, segment in enumerate(segments):
        assert [1 + f for f in segment.frames] == list(range(1 + 10 * i, 15 + 10 * i))


@pytest.mark.parametrize(("sketches", "original"), [(2, 0), (14, 0), (16, 15), (24, 15), (34, 25), (60, 55)])
def test_more_than_the_original_elsewhere(sketches, original):
    assert sum(s.count for s in plan_segments(sketches - 1, 14, 4)) == sketches - 1 > original - 1


def test_no_frames_no_segments():
    assert plan_segments(0, 14, 4) == []


@pytest.mark.parametrize(("window", "overlap"), [(14, -1), (14, 14), (14, 100), (1, 1)])
@pytest.mark.parametrize("frames", [0, 1, 50])
def test_an_overlap_that_is_none(frames, window, overlap):
    with pytest.raises(ValueError, match=f"0 to {window - 1}.*{overlap}"):
        plan_segments(frames, window, overlap)
