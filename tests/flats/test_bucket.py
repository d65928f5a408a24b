"""The paint bucket with a model's colors, on drawings whose right answer is known."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.flats import PaintBucket, between_lines, close_gaps
from lvcd.flats.bucket import region_medians
from lvcd.flats.colors import fill_colors
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


def test_a_further_reference_gives_the_color_of_what_enters_late():
    frame, lines = drawing((4, 6, RED))
    later, with_both = drawing((4, 10, RED), (20, 60, BLUE))
    bucket = PaintBucket(frame, lines)
    assert np.abs(bucket(with_both, later) - later).max() > 0.5  # no blue is known
    bucket = PaintBucket(frame, lines)
    bucket.add_reference(*drawing((4, 14, RED), (20, 56, BLUE)))
    np.testing.assert_allclose(bucket(with_both, later), later, atol=1e-6)


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_only_colors_of_the_reference_come_out(seed):
    rng = np.random.default_rng(seed)
    frame, lines = drawing((4, 6, RED), (4, 60, BLUE))
    bucket = PaintBucket(frame, lines)
    for _ in range(3):
        later = (rng.random((H, W)) > 0.7).astype(np.float32)
        filled = bucket(later, rng.random((H, W, 3), np.float32))
        inside = filled[(later == 0) & ~bucket.kept[bucket.before.map]]
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
    second.resume_after(later[1][1], parts.matched, parts.before.parts)
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
    regions = Regions.from_lines(sketch, 0.0)
    for r, found in enumerate(region_medians(frame, regions, counted)):
        inside = regions.map == r
        chosen = inside & counted if (inside & counted).any() else inside
        assert np.array_equal(found, np.median(frame[chosen], 0))


def circle(gap: int = 0, width: int = 2) -> np.ndarray:
    """A circle with a gap on its right => (120 160) float32."""
    image = np.zeros((120, 160), np.uint8)
    cv2.circle(image, (80, 60), 40, 1, width)
    image[60 - gap // 2 : 60 - gap // 2 + gap, 110:] = 0
    return image.astype(np.float32)


@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("gap", [4, 7])
def test_gaps_are_found(gap, width):
    lines = circle(gap, width) > 0
    whole = between_lines(lines)
    parted = close_gaps(lines, whole)
    assert whole.max() == 1 and parted.max() == 2
    assert parted[60, 80] != parted[2, 2] and np.array_equal(parted > 0, ~lines)


def test_a_closed_drawing_has_no_gaps_however_narrow():
    lines = np.zeros((120, 160), bool)
    lines[30:90, 20] = lines[30:90, 140] = lines[30, 20:141] = lines[90, 20:141] = True
    lines[31:58, 80] = lines[63:90, 80] = lines[58, 60:101] = lines[62, 60:101] = True  # a bottle's neck of 3 px
    lines[59:62, 20:61] = lines[59:62, 100:140] = True
    whole = between_lines(lines)
    assert np.array_equal(close_gaps(lines, whole), whole)
    assert np.array_equal(close_gaps(np.zeros_like(lines), np.ones_like(whole)), np.ones_like(whole))


@pytest.mark.parametrize("trace_fill, level", [("darker", 0.2), ("lighter", 0.8)])
def test_a_trace_line_parts_fills_and_takes_one_of_them(trace_fill, level):
    ink, trace = np.zeros((2, 40, 80), np.float32)
    ink[[5, 35], 10:71] = ink[5:36, [10, 70]] = 1
    trace[20, 11:70] = 1
    frame = np.ones((40, 80, 3), np.float32)
    frame[6:20, 11:70], frame[20:35, 11:70] = 0.8, 0.2
    frame[ink == 1] = 0
    filled = PaintBucket(frame, ink, trace=trace, trace_fill=trace_fill)(ink, trace=trace)
    assert np.allclose(filled[12, 40], 0.8) and np.allclose(filled[28, 40], 0.2)
    assert np.allclose(filled[20, 11:70], level)
    assert (filled[ink == 1] == 0).all()


def test_without_outlines_in_the_reference_lines_have_the_drawings_color():
    frame, lines = drawing((14, 30, RED))
    frame[:] = PAPER
    frame[14:26, 30:42] = RED
    filled = PaintBucket(frame, lines, ink_color=np.float32([0.1, 0.2, 0.3]))(lines)
    np.testing.assert_allclose(
        filled[lines == 1], np.tile(np.float32([[0.1, 0.2, 0.3]]), (int(lines.sum()), 1)), atol=1e-6
    )
    assert np.allclose(filled[20, 36], RED) and np.allclose(filled[2, 2], PAPER)


def test_colored_lines_stay_with_what_they_belong_to():
    frame, lines = drawing((14, 6, RED), (14, 62, BLUE))
    frame[:, :40][lines[:, :40] == 1] = [0.4, 0, 0]
    frame[:, 40:][lines[:, 40:] == 1] = [0, 0, 0.4]
    moved, later = drawing((12, 10, RED), (16, 58, BLUE))
    moved[:, :40][later[:, :40] == 1] = [0.4, 0, 0]
    moved[:, 40:][later[:, 40:] == 1] = [0, 0, 0.4]
    np.testing.assert_allclose(PaintBucket(frame, lines)(later), moved, atol=1e-6)


def test_what_no_line_encloses_keeps_what_was_painted():
    rng = np.random.default_rng(0)
    frame = np.repeat(np.repeat(rng.random((10, 20, 3), np.float32), 4, 0), 4, 1)  # a film's: no fill anywhere
    painted = np.clip(frame + 0.05, 0, 1)
    lines = np.zeros((H, W), np.float32)
    lines[20, 10:30] = 1
    bucket = PaintBucket(frame, lines)
    filled = bucket(lines, painted)
    assert bucket.kept.all() and np.array_equal(filled[lines == 0], painted[lines == 0])
    assert np.array_equal(bucket(lines)[lines == 0], frame[lines == 0])  # and without a model, the reference


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_regions_color_occurs_in_the_reference(seed):
    rng = np.random.default_rng(seed)
    sketch = (rng.random((9, 11)) > 0.6).astype(np.float32)
    frame = rng.random((9, 11, 3), np.float32)
    regions = Regions.from_lines(sketch, 0.0)
    colors, purity = fill_colors(frame, sketch, regions.map, np.zeros(3, np.float32))
    inside = frame.reshape(-1, 3)
    assert all((inside == color).all(1).any() for color in colors) and ((purity >= 0) & (purity <= 1)).all()


def test_the_rim_of_a_resized_frame_is_no_fill():
    frame, lines = drawing((14, 30, RED))
    frame[20:22, 36:38] = BLUE  # a highlight of 2 px, closed, and what resizing leaves around it
    frame[18:24, 34:40][[0, 0, 5, 5], [2, 3, 2, 3]] = frame[18:24, 34:40][[2, 3, 2, 3], [0, 0, 5, 5]] = BLUE * 0.95
    inside = np.zeros((H, W), bool)
    inside[18:24, 34:40] = True
    frame[inside & (frame == RED).all(-1)] = BLUE * 0.95
    frame[2:6, 60:64] = BLUE  # elsewhere the color is even
    regions = np.zeros((H, W), int)
    regions[inside] = 1
    colors, _ = fill_colors(frame, lines, regions, np.zeros(3, np.float32))
    assert np.array_equal(colors[1], BLUE)
