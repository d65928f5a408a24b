"""What stands still keeps the reference's pixels, what moves is left alone, and colors are fitted to the reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.pipeline.steady import SteadyFilter, SteadyFrames, Still

H, W = 96, 144


def shot(shift: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame (H W 3) and its lines (H W): a textured ground with a still box at the right, and one that moves."""
    grain = np.random.default_rng(0).uniform(-0.04, 0.04, (H, W, 3))
    frame = (np.array([0.3, 0.5, 0.7]) + grain).astype(np.float32)
    lines = np.zeros((H, W), np.float32)
    lines[8:-8, [100, 130]] = lines[[8, -9], 100:131] = 1
    frame[30:60, 10 + shift : 40 + shift] = 0.9, 0.4, 0.1
    box = slice(30, 60), slice(10 + shift, 40 + shift)
    lines[box] = 1
    lines[32:58, 12 + shift : 38 + shift] = 0
    return frame, lines


def painted_as(frame: np.ndarray) -> np.ndarray:
    """The frame as a model paints it: without texture, and in other tones."""
    smooth = frame.copy()
    ground = frame[..., 2] > 0.5
    smooth[ground] = 0.3, 0.5, 0.7
    return (smooth * 0.9 + 0.05).astype(np.float32)


def error(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.sqrt(np.square(one - other).mean()))


def test_a_still_ground_is_the_references():
    before, lines = shot(0)
    after, moved = shot(6)
    steady = SteadyFilter([Still(None, before, lines)])(painted_as(after), moved, 3)
    right = np.s_[:, 80:]  # far from the box
    assert np.abs(steady[right] - before[right]).max() < 1e-3
    assert error(steady, after) < 0.5 * error(painted_as(after), after)


def test_what_moves_is_no_pixel_of_the_reference():
    before, lines = shot(0)
    after, moved = shot(6)
    steady = SteadyFilter([Still(None, before, lines)])(painted_as(after), moved, 0)
    box = np.s_[34:56, 15:42]
    calibrated = SteadyFilter([Still(None, before, lines)])(painted_as(after), moved, 0)[box]
    assert error(steady[box], after[box]) <= error(painted_as(after)[box], after[box])
    assert not np.allclose(calibrated[:, -3:], before[box][:, -3:], atol=0.1)  # there the reference shows the ground


def test_a_line_that_moves_by_one_pixel_has_moved():
    before, lines = shot(0)
    after, moved = shot(1)
    filtered = SteadyFilter([Still(None, before, lines)])(after, moved, 0)
    assert np.array_equal(filtered[34:56, 14:38], after[34:56, 14:38])


def test_other_colors_are_left_alone():
    before, lines = shot(0)
    night = (1 - before).astype(np.float32)
    assert np.array_equal(SteadyFilter([Still(None, before, lines)])(night, lines, 0), night)


def test_the_nearest_reference_counts():
    first, lines = shot(0)
    last = (first * 0.95).astype(np.float32)
    steady = SteadyFilter([Still(None, first, lines), Still(9, last, lines)])
    paint = painted_as(first)
    right = np.s_[:, 80:]
    for place, reference in ((0, first), (3, first), (6, last), (12, last)):
        assert np.allclose(steady(paint, lines, place)[right], reference[right], atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.integers(0, 20))
def test_frames_stay_in_range(seed, shift):
    rng = np.random.default_rng(seed)
    before, lines = shot(0)
    frame = rng.uniform(0, 1, (H, W, 3)).astype(np.float32)
    steady = SteadyFilter([Still(None, before, lines)])(frame, shot(shift)[1], 0)
    assert steady.dtype == np.float32 and steady.min() >= 0 and steady.max() <= 1 and np.isfinite(steady).all()


def test_each_clip_of_a_batch_has_its_own_reference():
    before, lines = shot(0)
    pictures = torch.from_numpy(np.stack([before, before[:, ::-1].copy()])).movedim(-1, 1) * 2 - 1
    drawn = torch.from_numpy(np.stack([lines, lines[:, ::-1].copy()]))[:, None]
    paint = torch.from_numpy(np.stack([painted_as(before), painted_as(before)[:, ::-1].copy()])).movedim(-1, 1) * 2 - 1
    steady = SteadyFrames([None], [pictures], [drawn], lambda number: drawn)(paint, 4)
    assert steady.shape == paint.shape and torch.allclose(steady, pictures, atol=2e-3)
    with pytest.raises(InputError, match="only sheets"):
        SteadyFrames([], [], [], lambda number: drawn)
