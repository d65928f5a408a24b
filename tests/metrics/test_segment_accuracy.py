"""Regions are scipy's components; the share of those painted wrong comes out as it went in."""

import json
import pickle

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.flats import between_lines
from lvcd.metrics import SegmentAccuracy
from lvcd.metrics.segment_accuracy import medians, regions_of_color

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")

CELL = 6
"""px a side of a cell, the line on its upper and left edge included."""


def board(colors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Colors (b t rows columns 3) -> frames (b t 3 H W) of cells with black lines between, sketches (b t 1 H W)."""
    frames = colors.movedim(-1, 2).repeat_interleave(CELL, 3).repeat_interleave(CELL, 4).clone()
    sketches = torch.zeros_like(frames[:, :, :1])
    for x in (frames, 1 - sketches):
        x[..., ::CELL, :] = x[..., ::CELL] = 0
    sketches[..., ::CELL, :] = sketches[..., ::CELL] = 1
    return frames, sketches


def colors(seed: int, b: int = 1, t: int = 2, rows: int = 3, columns: int = 4) -> torch.Tensor:
    """Levels from 60 to 140, each cell of its own color."""
    rng = np.random.default_rng(seed)
    one = rng.choice(81**3, (b * t * rows * columns), replace=False)
    levels = np.stack([one // 81**2, one // 81 % 81, one % 81], -1) + 60
    return torch.from_numpy(levels.reshape(b, t, rows, columns, 3)).float() / 255


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    pairs = {*zip(a.ravel().tolist(), b.ravel().tolist())}
    return len(pairs) == len({x for x, _ in pairs}) == len({y for _, y in pairs})


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 12))
def test_regions_are_scipys_components(seed, H, W):
    rng = np.random.default_rng(seed)
    lines = rng.random((H, W)) < 0.4
    assert same_partition(between_lines(lines), scipy.ndimage.label(~lines)[0])
    frame = rng.integers(0, 2, (H, W, 3), dtype=np.uint8) * rng.integers(0, 2, (H, W, 1), dtype=np.uint8)
    want, count = np.zeros((H, W), int), 0
    for color in np.unique(frame.reshape(-1, 3), axis=0):
        own, n = scipy.ndimage.label((frame == color).all(-1))
        want[own > 0] = own[own > 0] + count
        count += n
    got = regions_of_color(frame)
    assert got.min() >= 1 and same_partition(got, want)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_medians_are_numpys(seed, min_area):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (9, 8, 3), dtype=np.uint8)
    regions, counted = rng.integers(0, 7, (9, 8)), rng.random((9, 8)) < 0.6
    want = [
        np.quantile(frame[own], 0.5, axis=0, method="lower")
        for own in ((regions == i) & counted for i in range(1, 7))
        if own.sum() >= min_area
    ]
    np.testing.assert_array_equal(medians(frame, regions, counted, min_area), np.reshape(want, (-1, 3)))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.data())
def test_share_of_cells_painted_right(seed, data):
    target_colors = colors(seed)
    wrong = torch.tensor(data.draw(st.lists(st.booleans(), min_size=24, max_size=24))).view(1, 2, 3, 4)
    pred_colors = target_colors.clone()
    pred_colors[wrong] += torch.tensor([0, 0, 17 / 255])
    pred_colors[~wrong] += 16 / 255
    target, sketches = board(target_colors)
    preds, _ = board(pred_colors)
    m = SegmentAccuracy()
    m.update(preds, target, sketches)
    assert m.compute().item() == pytest.approx((~wrong).double().mean().item())
    assert m.report()["notes"] == [] and m.report()["frames"] == 2


def test_ragged_edges_and_specks_do_not_matter_but_most_of_a_region_does():
    target, sketches = board(colors(0, t=1))
    preds = target.clone()
    preds[..., 1:3, :] = 1  # two of the five rows of the first row of cells
    assert SegmentAccuracy()(preds, target, sketches) == 1
    preds[..., 3, :] = 1
    assert SegmentAccuracy()(preds, target, sketches).item() == pytest.approx(2 / 3)


def test_without_sketches_regions_are_areas_of_one_color():
    target, _ = board(colors(0, t=1))
    preds = target.clone()
    preds[..., :CELL] = 1  # a column of three cells, and a sixth of the connected lines
    m = SegmentAccuracy()
    m.update(preds, target)
    assert m.compute().item() == pytest.approx(10 / 13)
    assert m.report()["notes"] == [
        "1 frames came without sketches: their regions are areas of one color in the original"
    ]


def test_small_regions_do_not_count():
    target, sketches = board(colors(0, t=1))
    sketches[..., CELL // 2, :CELL] = 1  # parts the first cell into 2 x 5 px and 2 x 5 px
    preds = target.clone()
    preds[..., :CELL, :CELL] = 1
    assert SegmentAccuracy()(preds, target, sketches) == 1
    assert SegmentAccuracy(min_area=10)(preds, target, sketches).item() == pytest.approx(11 / 13)
    with pytest.raises(InputError, match="none of the frames could be scored"):
        SegmentAccuracy(min_area=26)(preds, target, sketches)


def test_only_what_moves():
    """In the second frame two cells change color; one is painted right. The others are wrong, and do not count."""
    target_colors = colors(0, t=1).repeat(1, 2, 1, 1, 1)
    target_colors[0, 1, 0, 0] += 0.3
    target_colors[0, 1, 2, 1] += 0.3
    target, sketches = board(target_colors)
    pred_colors = torch.zeros_like(target_colors)
    pred_colors[0, 1, 0, 0] = target_colors[0, 1, 0, 0]
    preds, _ = board(pred_colors)
    m = SegmentAccuracy(moving=True)
    m.update(preds, target, sketches)
    assert m.compute() == 0.5
    report = json.loads(json.dumps(m.report()))
    assert report["name"] == "SegmentAccuracy[moving]" and report["frames"] == 1 and report["settings"]["moving"]
    assert SegmentAccuracy()(preds, target, sketches).item() == pytest.approx(1 / 24)


def test_copying_the_reference_is_caught_where_it_moves():
    """A square walks over a still ground: copied, the ground is right, but not where the square was or is."""
    target = torch.full((1, 3, 3, 24, 24), 0.8)
    sketches = torch.zeros(1, 3, 1, 24, 24)
    for i in range(3):
        inside = (slice(6, 14), slice(2 + 5 * i, 10 + 5 * i))
        target[0, i, 0][inside] = 0.2
        sketches[0, i, 0, 5:15, 1 + 5 * i : 11 + 5 * i] = 1
        sketches[0, i, 0][inside] = 0
    copied = target[:, :1].expand_as(target)
    assert SegmentAccuracy(moving=True)(copied, target, sketches) == 0
    assert SegmentAccuracy(moving=False)(copied, target, sketches) > 0.5
    assert SegmentAccuracy(moving=True)(target, target, sketches) == 1


def test_per_batch_and_together_pickle_clone_reset_half():
    m, each = SegmentAccuracy().half(), []
    for seed, lost in ((0, 3), (1, 6)):
        target, sketches = board(colors(seed, b=2))
        preds = target.clone()
        preds[..., :CELL, : lost * CELL // 3] = 1  # one or two cells of twelve
        each.append(1 - (lost // 3) / 12)
        assert m(preds.half(), target.half(), sketches.half()).item() == pytest.approx(each[-1])
    value = m.compute()
    assert value.dtype == torch.float64 and value.item() == pytest.approx(np.mean(each))
    for copy in (pickle.loads(pickle.dumps(m)), m.clone()):
        assert torch.equal(copy.compute(), value)
        copy.update(target, target, sketches)
        assert copy.compute() > value and torch.equal(m.compute(), value)
    assert not m.state_dict()
    m.reset()
    with pytest.raises(InputError, match="no clips"):
        m.compute()


def test_bad_input():
    target, sketches = board(colors(0))
    m = SegmentAccuracy()
    for wrong, message in (
        (sketches[..., 1:], "resize the sketches"),
        (sketches[:, :1], "one for each"),
        (target, "b t 1 H W"),
        (sketches * 255, "rescale"),
    ):
        with pytest.raises(InputError, match=message):
            m.update(target, target, wrong)
    with pytest.raises(InputError, match="as many frames"):
        m.update(target[:, :1], target, sketches)
    with pytest.raises(InputError, match="min_area"):
        SegmentAccuracy(min_area=0)
