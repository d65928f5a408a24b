"""Windows lie inside their clip, references before their window, and both where they are said to be drawn from."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lvcd.data.clip import Reference, WindowSampling, fit
from lvcd.errors import InputError

cv2.setNumThreads(1)
references = st.sampled_from(get_args(Reference))


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 16), references, st.integers(1, 5), st.integers(1, 4), st.integers(0, 2**32))
def test_every_sample_of_every_clip(frames, window, reference, stride, windows, seed):
    sampling = WindowSampling(window, reference, stride, windows, keyframe_every=7)
    samples = sampling.indices(frames, np.random.default_rng(seed))
    assert samples == sampling.indices(frames, np.random.default_rng(seed)), "the seed decides everything"
    assert len(samples) == windows
    fitting = [s for s in range(1, stride + 1) if 1 + s * (window - 1) < frames]
    step = max(fitting, default=1)
    for ref, *shown in samples:
        assert len(shown) == window and all(type(i) is int and 0 <= i < frames for i in [ref, *shown])
        assert ref < shown[0] or frames == 1 and ref == shown[0] == 0
        assert shown == [min(shown[0] + step * i, frames - 1) for i in range(window)]
        if fitting:
            assert shown[-1] == shown[0] + step * (window - 1), "no frame is held where the window fits"
        else:
            assert shown[0] == min(1, frames - 1)
        if reference == "first":
            assert ref == 0
        if reference == "earliest_quarter":
            assert ref < max(1, int(0.25 * shown[0]))
        if reference == "keyframes":
            assert ref == max((k for k in range(0, frames, 7) if k < shown[0]), default=0)


def test_every_place_to_begin_is_equally_likely():
    rng = np.random.default_rng(0)
    found = Counter(WindowSampling(5, stride=3).indices(40, rng)[0][1] for _ in range(5000))
    assert set(found) == set(range(1, 28)), "from the second frame to where frame 39 is the last"
    assert stats.chisquare([*found.values()]).pvalue > 0.01


@pytest.mark.parametrize(("reference", "share"), [("any_earlier", 1.0), ("earliest_quarter", 0.25)])
def test_every_allowed_reference_is_equally_likely(reference, share):
    rng = np.random.default_rng(1)
    found: dict[int, Counter[int]] = {}
    for _ in range(6000):
        ref, start, *_ = WindowSampling(3, reference).indices(26, rng)[0]
        found.setdefault(start, Counter())[ref] += 1
    statistic, freedom = 0.0, 0
    for start, counts in found.items():
        allowed = max(1, int(share * start))
        assert set(counts) == set(range(allowed))
        expected = counts.total() / allowed
        statistic += sum((n - expected) ** 2 / expected for n in counts.values())
        freedom += allowed - 1
    assert 0.01 < stats.chi2.sf(statistic, freedom) < 0.999


def test_windows_of_one_clip_differ_while_there_is_room():
    sampling = WindowSampling(4, windows=6)
    for seed in range(20):
        assert len({s[1] for s in sampling.indices(10, np.random.default_rng(seed))}) == 6
        assert {s[1] for s in sampling.indices(6, np.random.default_rng(seed))} <= {1, 2}


def test_short_clips_slow_down_then_hold():
    rng = np.random.default_rng(0)
    assert WindowSampling(4, stride=3).indices(11, rng) == [[0, 1, 4, 7, 10]]
    assert WindowSampling(4, stride=3).indices(8, rng) == [[0, 1, 3, 5, 7]]
    assert WindowSampling(4, stride=3).indices(4, rng) == [[0, 1, 2, 3, 3]]
    assert WindowSampling(4).indices(1, rng) == [[0, 0, 0, 0, 0]]


@pytest.mark.parametrize(
    "bad", [{"window": 0}, {"stride": 0}, {"windows": 0}, {"stride": 1.5}, {"keyframe_every": 0}, {"reference": "last"}]
)
def test_settings_without_a_meaning_are_named(bad):
    with pytest.raises(InputError, match=next(iter(bad))):
        WindowSampling(**bad)
    with pytest.raises(InputError, match="no frames"):
        WindowSampling().indices(0, np.random.default_rng(0))


# ----------------------------------------------------------------------------------------------------------------- fit

sizes = st.integers(1, 70)


@settings(max_examples=80, deadline=None)
@given(sizes, sizes, sizes, sizes, st.sampled_from([(), (3,)]), st.floats(0, 1), st.floats(0, 1))
def test_any_size_fits_any_size(h, w, height, width, channels, down, right):
    image = np.full((h, w, *channels), 93, np.uint8)
    found = fit(image, height, width, (down, right))
    assert found.shape == (height, width, *channels) and found.dtype == np.uint8 and (found == 93).all()


def test_a_whole_ratio_is_the_mean_of_its_pixels():
    image = np.random.default_rng(0).integers(0, 256, (24, 60, 3), np.uint8)
    want = image[:, 12:48].reshape(8, 3, 12, 3, 3).mean((1, 3))
    assert np.abs(fit(image, 8, 12) - want).max() <= 0.5
    assert fit(image, 24, 60) is not None and np.array_equal(fit(image, 24, 60), image)


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 90), st.integers(40, 90), st.floats(0, 1), st.floats(0, 1))
def test_the_part_is_where_it_is_asked_for_and_keeps_its_proportions(h, w, down, right):
    """A ramp of x and y tells for every pixel of the result where it comes from."""
    y, x = (np.ascontiguousarray(a, np.float32) for a in np.mgrid[:h, :w])
    scale = min(h / 20, w / 30)
    got_y, got_x = (fit(ramp, 20, 30, (down, right)) for ramp in (y, x))
    centre = (got_y[9:11, 14:16].mean(), got_x[9:11, 14:16].mean())
    want = [(have - 1) / 2 + (at - 0.5) * (have - scale * n) for have, at, n in ((h, down, 20), (w, right, 30))]
    np.testing.assert_allclose(centre, want, atol=1.01)
    np.testing.assert_allclose([np.diff(got_y[:, 0]).mean(), np.diff(got_x[0]).mean()], scale, rtol=0.05)
