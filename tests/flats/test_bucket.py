"""The paint bucket with a model's colors, on drawings whose right answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.flats import PaintBucket, between_lines
from lvcd.flats.bucket import _medians
from lvcd.flats.regions import Regions

RED, BLUE, PAPER = np.float32([[0.9, 0.1, 0.1], [0.1, 0.1, 0.9], [1.0, 1.0, 1.0]])
H, W = 40, 80


def drawing(*boxes: tuple[int, int, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outlined squares of 12 px, each (top, left, color), on paper => frame (H W 3) and its line art (H W)."""
    frame, lines = np.tile(PAPER, (H, W, 1)), np.zeros((H, W), np.float32)
    for top, left, color in boxes:
        lines[top : top + 12, left : left + 12] = 1
        lines[top + 1 : top + 11, left + 1 : left + 11] = 0
        frame[top + 1 : top + 11, left + 1 : left + 11] = color
    frame[lines == 1] = 0
    return frame.astype(np.float32), lines


@pytest.mark.parametrize("color", [RED, BLUE], ids=["red", "blue"])
def test_where_shapes_cannot_tell_the_model_does(color):
    frame, lines = drawing((14, 6, RED), (14, 62, BLUE))
    alone, later = drawing((14, 34, color))  # as far from either twin
    muddy = 0.8 * alone + 0.2 * np.float32([0.5, 0.6, 0.4])
    np.testing.assert_allclose(PaintBucket(frame, lines)(later, muddy), alone, atol=1e-6)


def test_a_model_that_says_nothing_leaves_it_to_the_shapes():
    frame, lines = drawing((4, 6, RED), (20, 60, BLUE))
    moved, later = drawing((6, 12, RED), (18, 54, BLUE))
    for painted in (None, np.full_like(frame, 0.5)):
        np.testing.assert_allclose(PaintBucket(frame, lines)(later, painted), moved, atol=1e-6)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_only_colors_of_the_reference_come_out(seed):
    rng = np.random.default_rng(seed)
    frame, lines = drawing((4, 6, RED), (4, 60, BLUE))
    bucket = PaintBucket(frame, lines)
    for _ in range(3):
        later = (rng.random((H, W)) > 0.7).astype(np.float32)
        filled = bucket(later, rng.random((H, W, 3), np.float32))
        inside = filled[later == 0]
        assert (np.abs(inside[:, None] - np.stack([RED, BLUE, PAPER])).max(-1).min(1) < 1e-6).all()
        np.testing.assert_allclose(filled[later == 1], 0, atol=1e-6)  # the reference's ink


@pytest.mark.parametrize("gap", [0.0, 4.0])
def test_a_gap_in_a_line_can_be_closed(gap):
    frame, lines = drawing((14, 30, RED))
    lines[14, 34:37] = 0  # 3 px of the upper side
    filled = PaintBucket(frame, lines, gap)(lines)
    assert np.allclose(filled[20, 36], RED) is bool(gap) and np.allclose(filled[2, 2], PAPER)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 9))
def test_gaps_part_regions_further_and_leave_no_pixel_out(seed, gap):
    rng = np.random.default_rng(seed)
    lines = rng.random((14, 17)) > rng.uniform(0.5, 0.98)
    whole, parted = between_lines(lines), between_lines(lines, gap)
    assert np.array_equal(parted > 0, ~lines)
    assert set(np.unique(parted)) == set(range(parted.max() + 1)) - ({0} if not lines.any() else set())
    for number in range(1, parted.max() + 1):
        assert len(np.unique(whole[parted == number])) == 1
        assert cv2.connectedComponents((parted == number).astype(np.uint8), connectivity=4)[0] == 2


def test_going_on_is_not_having_stopped():
    frame, lines = drawing((4, 6, RED), (4, 60, BLUE))
    later = [drawing((4 + 2 * i, 6 + 3 * i, RED), (4, 60 - 3 * i, BLUE)) for i in range(1, 5)]
    whole, parts = PaintBucket(frame, lines), PaintBucket(frame, lines)
    expected = [whole(sketch, painted) for painted, sketch in later]
    for painted, sketch in later[:2]:
        parts(sketch, painted)
    second = PaintBucket(frame, lines)
    second.resume_after(later[1][1], parts.colors)
    for (painted, sketch), one in zip(later[2:], expected[2:]):
        assert np.array_equal(second(sketch, painted), one)


@pytest.mark.parametrize("sketch", [np.zeros((H, W)), np.ones((H, W))], ids=["no line", "all line"])
def test_drawings_of_one_region(sketch):
    frame, lines = drawing((4, 6, RED))
    assert PaintBucket(frame, lines)(sketch.astype(np.float32), frame).shape == (H, W, 3)
    assert PaintBucket(frame, sketch.astype(np.float32))(lines, frame).shape == (H, W, 3)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_medians_are_numpys(seed):
    rng = np.random.default_rng(seed)
    sketch = (rng.random((9, 11)) > 0.6).astype(np.float32)
    frame, counted = rng.random((9, 11, 3), np.float32), rng.random((9, 11)) > 0.5
    regions = Regions.from_sketch(sketch)
    for r, found in enumerate(_medians(frame, regions, counted)):
        inside = regions.map == r
        chosen = inside & counted if (inside & counted).any() else inside
        assert np.array_equal(found, np.median(frame[chosen], 0))
