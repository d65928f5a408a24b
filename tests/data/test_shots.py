"""Cuts where they were made, and nothing kept that teaches nothing."""

from __future__ import annotations

import numpy as np
import pytest

from lvcd.data.shots import Clip, ShotRule, color_histogram, difference, find_clips
from lvcd.errors import InputError

RULE = ShotRule(shortest=3, longest=10)


def shot(count, ground, moving=True):
    """A square that walks over a ground of one color."""
    for index in range(count):
        frame = np.full((64, 96, 3), ground, np.uint8)
        x = 4 * index % 80 if moving else 8
        frame[20:36, x : x + 16] = (218, 64, 64)
        yield frame


def black(count):
    return (np.full((64, 96, 3), 3, np.uint8) for _ in range(count))


def clips(*shots, rule=RULE):
    return list(find_clips((frame for frames in shots for frame in frames), rule))


def test_histogram_counts_every_pixel_once():
    frame = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    histogram = color_histogram(frame)
    assert histogram.shape == (1000,)
    assert histogram.sum() == 600
    assert color_histogram(np.full((2, 2, 3), (0, 128, 255), np.uint8))[0 * 100 + 5 * 10 + 9] == 4


def test_difference_is_the_rmse_over_the_bins():
    a, b = np.zeros(1000, np.int64), np.zeros(1000, np.int64)
    a[3], b[7] = 671, 671
    assert difference(a, b) == pytest.approx((2 * 671**2 / 1000) ** 0.5)
    assert difference(a, b) > 30 > difference(a * 670 // 671, b * 670 // 671)  # one pixel in a hundred of 256 x 256


def test_cuts_are_where_they_were_made():
    assert clips(shot(5, 90), shot(7, 141), shot(4, 192)) == [Clip(0, 5), Clip(5, 12), Clip(12, 16)]


def test_a_higher_threshold_sees_fewer_cuts():
    assert clips(shot(5, 90), shot(5, 141), rule=ShotRule(cut=1e5, shortest=3)) == [Clip(0, 10)]


def test_counts_do_not_depend_on_the_size_of_the_film():
    def large(frames):
        return (frame.repeat(4, 0).repeat(4, 1) for frame in frames)

    assert clips(large(shot(5, 90)), large(shot(7, 141))) == clips(shot(5, 90), shot(7, 141))


def test_short_black_and_still_clips_are_dropped():
    found = clips(shot(2, 90), shot(5, 141), black(6), shot(4, 192, moving=False))
    assert found == [Clip(0, 2, "short"), Clip(2, 7), Clip(7, 13, "black"), Clip(13, 17, "still")]


def test_one_that_moves_once_is_kept():
    assert clips([*shot(5, 90, moving=False), *list(shot(6, 90))[4:]]) == [Clip(0, 7)]


@pytest.mark.parametrize("length", [10, 11, 20, 21, 37])
def test_long_shots_are_split_into_the_fewest_equal_parts(length):
    parts = clips(shot(length, 90))
    lengths = [part.stop - part.start for part in parts]
    assert sum(lengths) == length
    assert len(parts) == -(-length // 10)
    assert max(lengths) - min(lengths) <= 1
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]


def test_no_frames_no_clips():
    assert clips() == []


def test_a_film_is_never_in_memory():
    """Frames are asked for one by one, and a clip is told as soon as the next shot begins."""
    given = []

    def film():
        for index, frame in enumerate([*shot(5, 90), *shot(50, 141)]):
            given.append(index)
            yield frame

    assert next(find_clips(film(), RULE)) == Clip(0, 5)
    assert given == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("wrong", [{"shortest": 1}, {"longest": 14}, {"resolution": 4}, {"cut": 0.0}])
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(InputError):
        ShotRule(**wrong)
