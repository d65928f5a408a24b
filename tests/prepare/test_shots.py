"""Cuts where they were made, and nothing kept that teaches nothing."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.prepare.shots import ShotFinder, ShotRule, ShotSpan, color_histogram, difference

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


def spans(frames, rule):
    """Each clip as soon as it has ended."""
    finder = ShotFinder(rule)
    for frame in frames:
        yield from finder.add(frame)
    yield from finder.finish()


def clips(*shots, rule=RULE):
    return list(spans((frame for frames in shots for frame in frames), rule))


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
    assert clips(shot(5, 90), shot(7, 141), shot(4, 192)) == [ShotSpan(0, 5), ShotSpan(5, 12), ShotSpan(12, 16)]


def test_a_higher_threshold_sees_fewer_cuts():
    assert clips(shot(5, 90), shot(5, 141), rule=ShotRule(cut=1e5, shortest=3)) == [ShotSpan(0, 10)]


def test_counts_do_not_depend_on_the_size_of_the_film():
    def large(frames):
        return (frame.repeat(4, 0).repeat(4, 1) for frame in frames)

    assert clips(large(shot(5, 90)), large(shot(7, 141))) == clips(shot(5, 90), shot(7, 141))


def test_short_black_and_still_clips_are_dropped():
    found = clips(shot(2, 90), shot(5, 141), black(6), shot(4, 192, moving=False))
    assert found == [ShotSpan(0, 2, "short"), ShotSpan(2, 7), ShotSpan(7, 13, "black"), ShotSpan(13, 17, "still")]


def test_one_that_moves_once_is_kept():
    assert clips([*shot(5, 90, moving=False), *list(shot(6, 90))[4:]]) == [ShotSpan(0, 7)]


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

    assert next(spans(film(), RULE)) == ShotSpan(0, 5)
    assert given == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    "wrong",
    [
        {"shortest": 1}, {"longest": 14}, {"resolution": 4}, {"cut": 0.0}, {"cut": float("nan")},
        {"cut": float("inf")}, {"content_cut": -1.0}, {"detector": "eye"},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(InputError):
        ShotRule(**wrong)


# ---------------------------------------------------------------------------------------------------- frame by frame


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 15), st.integers(0, 255), st.booleans(), st.booleans()), max_size=6),
    st.sampled_from(["paper", "content"]),
    st.integers(2, 5),
    st.integers(5, 12),
)
def test_every_frame_is_in_exactly_one_clip_in_order(shots, detector, shortest, longest):
    """shots: (frames, color of the ground, moving, frames are lost after it)"""
    finder = ShotFinder(ShotRule(detector=detector, shortest=shortest, longest=longest))
    clips, lost, count = [], set(), 0
    for length, ground, moving, damaged in shots:
        for frame in shot(length, ground, moving):
            clips += finder.add(frame)
            count += 1
        if damaged:
            clips += finder.cut()
            lost.add(count)
            assert (clips[-1].stop if clips else 0) == count
    clips += finder.finish()
    assert [clip.start for clip in clips] == [0, *(clip.stop for clip in clips[:-1])][: len(clips)]
    assert (clips[-1].stop if clips else 0) == count
    assert all(clip.start < clip.stop <= clip.start + longest for clip in clips)
    assert all((clip.dropped == "short") == (clip.stop - clip.start < shortest) for clip in clips)
    assert lost <= {0, *(clip.stop for clip in clips)}
    assert finder.finish() == []


def test_where_frames_were_lost_one_shot_becomes_two():
    finder = ShotFinder(RULE)
    frames = list(shot(10, 90))
    told = [finder.add(frame) for frame in frames[:4]]
    told += [finder.cut(), finder.cut(), finder.cut()]
    told += [finder.add(frame) for frame in frames[5:]]
    told += [finder.finish()]
    assert [clip for clips in told for clip in clips] == [ShotSpan(0, 4), ShotSpan(4, 9)]


def test_the_first_frame_after_a_loss_is_compared_with_nothing():
    """It would be the only one that moved."""
    finder = ShotFinder(RULE)
    still = list(shot(4, 90, moving=False))
    told = [clip for frame in still for clip in finder.add(frame)] + finder.cut()
    told += [clip for frame in shot(4, 141, moving=False) for clip in finder.add(frame)] + finder.finish()
    assert told == [ShotSpan(0, 4, "still"), ShotSpan(4, 8, "still")]


# ------------------------------------------------------------------------------------------------------ PySceneDetect


def film(seed: int, height: int, width: int) -> list[np.ndarray]:
    """Shots of noise that drifts, some cut hard and some hardly."""
    rng = np.random.default_rng(seed)
    frames: list[np.ndarray] = []
    for length in rng.integers(1, 9, 8):
        picture = rng.integers(0, 256, (8, 12, 3), dtype=np.uint8) // int(rng.integers(1, 4))
        large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
        frames += [np.roll(large, (2 * index, index), (0, 1)) for index in range(int(length))]
    return frames


@pytest.mark.parametrize("seed, height, width", [(0, 64, 96), (1, 64, 96), (2, 180, 320), (3, 300, 170)])
def test_the_content_detector_is_pyscenedetect(tmp_path, seed, height, width):
    """Its own SceneManager on a movie file of the same frames, smaller and larger than it looks at them."""
    import scenedetect

    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 24, (width, height))
    for frame in film(seed, height, width):
        writer.write(frame[..., ::-1])
    writer.release()
    video = scenedetect.open_video(path)
    manager = scenedetect.SceneManager()
    manager.add_detector(scenedetect.ContentDetector(min_scene_len=1))
    manager.detect_scenes(video)
    want = [(start.frame_num, stop.frame_num) for start, stop in manager.get_scene_list(start_in_scene=True)]
    assert len(want) > 3

    movie = cv2.VideoCapture(path)
    coded = [movie.read()[1][..., ::-1] for _ in film(seed, height, width)]
    found = spans(coded, ShotRule(detector="content"))
    assert [(clip.start, clip.stop) for clip in found] == want


def test_the_content_detector_has_a_threshold_of_its_own():
    frames = [*shot(5, 90), *shot(5, 141)]
    assert clips(frames, rule=ShotRule(detector="content", shortest=3, content_cut=10)) == [
        ShotSpan(0, 5),
        ShotSpan(5, 10),
    ]
    assert clips(frames, rule=ShotRule(detector="content", shortest=3, content_cut=60)) == [ShotSpan(0, 10)]
    assert clips(frames, rule=ShotRule(detector="content", shortest=3, content_cut=10, cut=1e9))[0] == ShotSpan(0, 5)


def test_without_pyscenedetect_one_is_told_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    with pytest.raises(InputError, match=r"pip install lvcd\[prepare\]"):
        ShotFinder(ShotRule(detector="content"))
