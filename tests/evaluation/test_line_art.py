"""Line art that is extracted from the frames of a test set."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lvcd.errors import InputError
from lvcd.evaluation import Protocol
from lvcd.evaluation.line_art import EXTRACTED, centerlines, extract_line_art, kind_of
from lvcd.lineart.color_leak import ColorLeak
from lvcd.lineart.extract import make_extractor
from tests.helpers.configs import composed
from tests.helpers.evaluation import cartoons


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def frames_of(clip) -> np.ndarray:
    return (clip.original * 255).round().byte().movedim(1, -1).numpy()


def test_a_method_sees_extracted_lines_and_metrics_see_the_drawn_ones():
    drawn, shown = cartoons()[0], cartoons(line_art="xdog")[0]
    assert torch.equal(shown.scored_sketches, drawn.sketches) and torch.equal(shown.original, drawn.original)
    by_hand = np.stack(make_extractor("xdog")(0, list(frames_of(drawn))))
    assert np.array_equal(((1 - shown.sketches[:, 0]) * 255).round().byte().numpy(), by_hand)
    assert torch.equal(drawn.scored_sketches, drawn.sketches)
    pure = cartoons(line_art="pencil", binarized=True)[0].sketches
    assert set(pure.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", EXTRACTED)
def test_lines_lie_where_they_were_and_tell_no_color(kind):
    """Nearly all that is drawn lies within 2 px of XDoG's lines, and most of these are drawn."""
    frames = frames_of(cartoons()[1])
    lines, drawings = (extract_line_art(frames, k, rng()) < 128 for k in ("xdog", kind))
    assert (ndimage.distance_transform_edt(~lines)[drawings] <= 2).mean() > 0.99
    assert (ndimage.distance_transform_edt(~drawings)[lines] <= 3).mean() > 0.8
    leak = ColorLeak()
    for frame, drawing in zip(frames, extract_line_art(frames, kind, rng())):
        leak.add(frame, drawing)
    assert leak.color_r2 < 0.1


@pytest.mark.parametrize("kind", EXTRACTED)
def test_drawings_depend_on_the_seed_alone(kind):
    frames = frames_of(cartoons()[0])
    one, same, other = (extract_line_art(frames, kind, rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, same) and np.array_equal(one, other) == (kind == "xdog")
    assert one.dtype == np.uint8 and one.shape == frames.shape[:3]


def test_thin_lines_are_pure_thin_and_open():
    frames = frames_of(cartoons()[0])
    whole = extract_line_art(frames, "xdog", rng()) < 128
    widest, pieces = [], []
    for seed in range(6):
        thin = extract_line_art(frames, "thin", rng(seed))
        assert set(np.unique(thin)) == {0, 255}
        half = cv2.distanceTransform((thin[0] == 0).astype(np.uint8), cv2.DIST_L2, 5)
        widest.append(float(np.quantile(half[half > 0], 0.9)))
        pieces.append(ndimage.label(thin[0] == 0, np.ones((3, 3)))[1])
    assert min(widest) == 1.0 and max(widest) <= 2.0
    assert np.mean(pieces) > 1.3 * ndimage.label(whole[0], np.ones((3, 3)))[1]


def test_a_pencil_is_gray_on_paper_and_is_read_as_lines():
    frames = frames_of(cartoons()[0])
    drawn = extract_line_art(frames, "pencil", rng())
    assert np.median(drawn) == 255 and ((drawn > 20) & (drawn < 235)).mean() > 0.01


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_thinning_keeps_what_is_joined_joined(seed, fraction):
    """Against SciPy: as many lines (8-connected) and as many areas between them (4-connected) as before."""
    lines = ndimage.gaussian_filter(rng(seed).random((24, 32)), 1.2) > np.quantile(rng(seed).random(99), fraction)
    thin = centerlines(lines).astype(bool)
    assert not (thin & ~lines).any()
    assert ndimage.label(thin, np.ones((3, 3)))[1] == ndimage.label(lines, np.ones((3, 3)))[1]
    assert ndimage.label(~np.pad(thin, 1))[1] == ndimage.label(~np.pad(lines, 1))[1]


def test_a_bar_is_thinned_to_its_middle():
    lines = np.zeros((11, 30), bool)
    lines[4:7, 5:25] = True
    thin = centerlines(lines).astype(bool)
    assert thin[5, 8:22].all() and thin[:, 8:22].sum() == 14


def test_ways_are_spread_over_clips_by_their_names():
    kinds = Counter(kind_of("extracted", f"clip-{n:06d}") for n in range(300))
    assert set(kinds) == set(EXTRACTED) and min(kinds.values()) > 70
    assert kind_of("extracted", "a") == kind_of("extracted", "a") and kind_of("given", "a") == "given"


def test_the_protocol_says_what_is_shown():
    assert cartoons(line_art="extracted").protocol_record({})["sketch"] == "pencil+thin+xdog"
    assert cartoons(line_art="thin").protocol_record({})["sketch"] == "thin"
    assert cartoons().protocol_record({})["sketch"] == "exact"
    with pytest.raises(InputError, match="line_art=ink"):
        Protocol("test", "shards", line_art="ink")
    config = composed("eval", "protocol=cartoons_extracted").protocol
    assert config.line_art == "extracted" and config.data == composed("eval", "protocol=cartoons_style").protocol.data
