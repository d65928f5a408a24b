"""Distance maps are scipy's on every path; EDMD is the closed form where lines are straight."""

import json
import math
import pickle

import numpy as np
import pytest
import scipy.ndimage
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.lineart.xdog import xdog
from lvcd.metrics import EDMD
from lvcd.metrics.distance import by_parabolas, distance_map
from lvcd.metrics.edmd import edmd_from_lines
from tests.helpers.plain_metrics import plain_edmd

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")


def darkness(frames):
    """(n 3 H W) -> (n 1 H W)"""
    return 1 - frames.amax(1, keepdim=True)


def drawings(seed: int, b: int, t: int = 2, size: int = 24) -> torch.Tensor:
    """White paper with black pixels (b t 3 H W)."""
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(b, t, 1, size, size, generator=rng) > 0.05).float().repeat(1, 1, 3, 1, 1)


def metric(**kwargs) -> EDMD:
    return EDMD(darkness, "darkness", **{"size": None} | kwargs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 40), st.floats(0, 4))
def test_both_distance_maps_are_scipys(seed, H, W, rarity):
    lines = torch.rand(3, H, W, generator=torch.Generator().manual_seed(seed)) < 10**-rarity
    lines[0, seed % H, seed % W] = True
    got, squares = distance_map(lines), by_parabolas(lines)
    for own, ours, parabolas in zip(lines, got, squares):
        if own.any():
            want = scipy.ndimage.distance_transform_edt(~own.numpy())
            np.testing.assert_allclose(ours, want, rtol=1e-14)
            np.testing.assert_array_equal(parabolas, (want**2).round())
        else:
            np.testing.assert_allclose(ours, math.hypot(H, W), rtol=1e-14)
            assert parabolas.isinf().all()


@pytest.mark.parametrize("far", [1, 8, 125, 126, 127, 128, 200])
@pytest.mark.parametrize("shape", [(256, 256), (210, 300), (300, 218), (1, 256), (256, 1), (257, 257)])
def test_near_and_far_maps_are_scipys(shape, far):
    """A line so far from the corner, as far as there is room: sideways, down, or both."""
    for down in (0, far // 2, far):
        lines = torch.zeros(1, *shape, dtype=torch.bool)
        lines[0, min(down, shape[0] - 1) :, min(math.isqrt(far**2 - down**2), shape[1] - 1) :] = True
        want = scipy.ndimage.distance_transform_edt(~lines[0].numpy())
        np.testing.assert_array_equal(distance_map(lines)[0], want)


def test_far_distances_stay_exact():
    lines = torch.zeros(1, 700, 900, dtype=torch.bool)
    lines[0, 699, 3] = lines[0, 0, 0] = True
    np.testing.assert_allclose(distance_map(lines)[0], scipy.ndimage.distance_transform_edt(~lines[0].numpy()))
    part = lines[:, -90:]
    np.testing.assert_array_equal(by_parabolas(part), distance_map(part).square().round())  # in several parts


@settings(max_examples=20, deadline=None)
@given(st.integers(3, 30), st.integers(0, 29), st.integers(0, 29))
def test_a_straight_line_shifted(size, a, b):
    """Upright lines at columns a and b: the maps are |x - a| and |x - b|."""
    a, b = a % size, b % size
    lines = torch.zeros(2, 1, 1, 1, 7, size)
    lines[0, ..., a] = lines[1, ..., b] = 1
    x = np.arange(size)
    want = np.sqrt(((np.abs(x - a) - np.abs(x - b)) ** 2).mean())
    assert edmd_from_lines(*lines).item() == pytest.approx(want, rel=1e-12)
    assert want <= abs(a - b)  # and equal to the shift beyond both lines


def test_at_the_edge_it_is_the_shift_itself():
    lines = torch.zeros(1, 1, 1, 5, 10)
    lines[..., 0] = 1
    nearer = torch.zeros(1, 1, 1, 5, 10)
    nearer[..., 0] = nearer[..., 9] = 1
    assert edmd_from_lines(lines, lines).item() == 0
    x = np.arange(10)
    want = np.sqrt(((x - np.minimum(x, 9 - x)) ** 2).mean())
    assert edmd_from_lines(nearer, lines).item() == pytest.approx(want)


def test_the_mean_is_that_of_a_loop_per_batch_and_together():
    m, every = metric(), []
    for seed in (0, 1):
        preds, sketches = drawings(seed, 2), 1 - drawings(seed + 9, 2)[:, :, :1]
        pairs = zip((darkness(preds.flatten(0, 1)) > 0.5)[:, 0], (sketches > 0.5).flatten(0, 2))
        want = [plain_edmd(*pair) for pair in pairs]
        assert m(preds, sketches).item() == pytest.approx(np.mean(want), rel=1e-12)
        every += want
    assert m.compute().item() == pytest.approx(np.mean(every), rel=1e-12)
    np.testing.assert_allclose(m.per_clip(), np.reshape(every, (4, 2)).mean(1), rtol=1e-12)
    assert m.report()["n"] == 4 and m.report()["frames"] == 8


def test_frames_without_lines_count_with_the_diagonal():
    m = metric()
    paper = torch.ones(1, 2, 3, 6, 8)
    sketches = torch.zeros(1, 2, 1, 6, 8)
    sketches[:, 0] = 1
    m.update(paper, sketches)
    assert m.compute().item() == pytest.approx(10 / 2)  # one frame all line against none; none against none is 0
    assert m.report()["notes"] == [
        "2 generated frames have no line: their distance is the diagonal",
        "1 sketches have no line: their distance is the diagonal",
    ]


def test_frames_are_resized_before_lines_are_drawn():
    paper = F.interpolate(drawings(0, 1)[0], (64, 96))[None]
    own = darkness(paper[0])[None]
    m = metric(size=48)
    m.update(paper, own)
    assert m.compute() == 0  # darkness commutes with resizing paper and ink
    harder = EDMD(lambda x: (darkness(x) > 0).float(), "any", size=48)
    harder.update(paper, own)
    assert harder.compute() > 0


def test_without_an_extractor_it_is_xdog():
    clip = draw(2, 3, 64, 96)
    frames = torch.from_numpy(clip.frames).movedim(-1, 1)[None].float() / 255
    sketches = torch.from_numpy(clip.lines)[None, :, None].float() / 255
    ours, theirs = EDMD(size=None), EDMD(lambda x: xdog(2 * x - 1), size=None)
    assert ours(frames, sketches).item() == pytest.approx(theirs(frames, sketches).item(), rel=1e-3)
    assert 0 < ours.compute() < 3 and ours.report()["extractor"] == {"name": "xdog", "sha256": None}
    assert theirs.extractor.name == "<lambda>"
    assert ours(1 - 0.7 * frames, sketches) > ours.compute()  # a negative has its lines elsewhere


def test_threshold():
    faint = 1 - 0.4 * (1 - drawings(0, 1))
    for threshold, blank in ((0.5, 2), (0.3, 0)):
        m = metric(threshold=threshold)
        m.update(faint, darkness(faint[0])[None])
        assert m.blank.tolist() == [blank, blank]


def test_pickle_clone_reset_half():
    m = metric().half().set_dtype(torch.float16)
    preds, sketches = drawings(0, 2), darkness(drawings(1, 2).flatten(0, 1)).unflatten(0, (2, 2))
    m.update(preds.half(), sketches.half())
    value = m.compute()
    assert value.dtype == torch.float64
    full = metric()
    full.update(preds, sketches)
    assert torch.equal(full.compute(), value)
    for copy in (pickle.loads(pickle.dumps(m)), m.clone()):
        assert torch.equal(copy.compute(), value)
        copy.update(preds, torch.zeros_like(sketches))
        assert not torch.equal(copy.compute(), value) and torch.equal(m.compute(), value)
        assert copy.blank.tolist() == [0, 4] and m.blank.tolist() == [0, 0]
    assert not m.state_dict()
    m.reset()
    with pytest.raises(InputError, match="no clips"):
        m.compute()


def test_report_is_json_and_names_the_extractor():
    m = EDMD(darkness, "darkness")
    m.update(drawings(0, 2), 1 - drawings(0, 2)[:, :, :1])
    report = json.loads(json.dumps(m.report()))
    assert report["name"] == "EDMD" and report["extractor"] == {"name": "darkness", "sha256": None}
    wanted = {"threshold": 0.5, "lines": "resized", "size": 256, "filter": "bilinear_antialias"}
    assert report["settings"] == wanted


def test_bad_input():
    m, preds = metric(), drawings(0, 1)
    sketches = preds[:, :, :1]
    for wrong, message in (
        (preds, "b t 1 H W"),
        (sketches[:, :1], "one for each"),
        (sketches * 255, "rescale"),
        (sketches[..., :-1], "give a size"),
    ):
        with pytest.raises(InputError, match=message) as error:
            m.update(preds, wrong)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="is to return"):
        EDMD(lambda x: x, "same", size=None).update(preds, sketches)
    for wrong in ({"threshold": 1.0}, {"size": 0}, {"filter": "best"}):
        with pytest.raises(InputError):
            metric(**wrong)
    masks = sketches.clone()
    for wrong, message in ((masks / 2, "0 or 1"), (masks[0], "reshape"), (masks[..., 1:], "of the same size")):
        with pytest.raises(InputError, match=message):
            edmd_from_lines(wrong, masks)
