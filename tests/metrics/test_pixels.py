"""PSNR and SSIM are torchmetrics' values; what moves is told pixel by pixel."""

import json
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.metrics import PSNR, SSIM
from lvcd.metrics.pixels import moving_pixels
from tests.helpers.plain_metrics import psnr_of, ssim_of

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")


def pairs(seed: int, b: int = 2, t: int = 2, H: int = 16, W: int = 20) -> torch.Tensor:
    """(2 b t 3 H W)"""
    return torch.rand(2, b, t, 3, H, W, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("make", "reference", "rel"),
    [(PSNR, psnr_of, 1e-7), (SSIM, ssim_of, 1e-9)],  # torchmetrics takes the logarithm of 10 in float32
)
def test_value_is_torchmetrics_own_per_batch_and_together(make, reference, rel):
    m, every = make(size=None), []
    for seed in (0, 1):
        preds, target = pairs(seed)
        preds = target.lerp(preds, 0.1 + 0.4 * seed)
        want = reference(preds, target)
        assert m(preds, target).item() == pytest.approx(np.mean(want), rel=rel)
        every += want
    assert m.compute().item() == pytest.approx(np.mean(every), rel=rel)
    np.testing.assert_allclose(m.per_clip(), np.reshape(every, (4, 2)).mean(1), rtol=rel)
    report = json.loads(json.dumps(m.report()))
    assert report["name"] == make.__name__ and report["n"] == 4 and report["extractor"] is None


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6), st.integers(11, 30), st.integers(11, 30), st.sampled_from([1.0, 1e-3]))
def test_ssim_of_any_size_and_contrast(seed, H, W, contrast):
    preds, target = pairs(seed, b=1, t=1, H=H, W=W) * contrast + (1 - contrast)
    assert SSIM(size=None)(preds, target).item() == pytest.approx(ssim_of(preds, target)[0], abs=1e-9)
    assert SSIM(size=None)(target, target).item() == pytest.approx(1, abs=1e-12)


def test_psnr_in_closed_form_and_equal_frames():
    m = PSNR(size=None, ceiling=60)
    preds = torch.full((1, 3, 3, 4, 4), 0.5)
    target = preds.clone()
    target[:, 0] += 0.1
    target[:, 1] += 1e-4  # 80 dB
    m.update(preds, target)
    assert m.compute().item() == pytest.approx((20 + 60 + 60) / 3, abs=1e-4)
    assert m.report()["notes"] == ["2 frames are equal to the original, or nearly: counted as 60 dB"]


def test_moving_pixels_in_a_loop():
    levels = torch.randint(0, 60, (1, 3, 3, 6, 7), generator=torch.Generator().manual_seed(0))
    got = moving_pixels(levels / 255)
    assert got.shape == (1, 3, 1, 6, 7) and not got[:, 0].any() and got.any() and not got.all()
    for t in (1, 2):
        for y in range(6):
            for x in range(7):
                change = max(abs(int(levels[0, t, c, y, x]) - int(levels[0, t - 1, c, y, x])) for c in range(3))
                assert bool(got[0, t, 0, y, x]) == (change > 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_change_of_16_levels_is_not_visible_and_17_is(dtype):
    for low in range(0, 239):
        for step in (16, 17):
            frames = (torch.tensor([low, low + step], dtype=dtype) / 255).view(1, 2, 1, 1, 1).expand(1, 2, 3, 1, 1)
            assert bool(moving_pixels(frames)[0, 1]) == (step == 17)


def test_psnr_where_the_original_moves():
    """A square walks over a still ground; the error is 0.1 where it was or is, and 0.5 elsewhere."""
    target = torch.full((1, 3, 3, 12, 12), 0.5)
    for i in range(3):
        target[0, i, :, 4:8, 2 * i : 2 * i + 4] = 0.9
    preds = target - 0.4
    preds[0, 1, :, 4:8, [0, 1, 4, 5]] = target[0, 1, :, 4:8, [0, 1, 4, 5]] - 0.1
    preds[0, 2, :, 4:8, [2, 3, 6, 7]] = target[0, 2, :, 4:8, [2, 3, 6, 7]] - 0.01
    m = PSNR(moving=True, size=None)
    m.update(preds, target)
    assert m.compute().item() == pytest.approx((20 + 40) / 2, abs=1e-3)
    report = m.report()
    assert report["name"] == "PSNR[moving]" and report["frames"] == 2  # the first has none before it
    assert report["settings"]["moving"] is True and report["settings"]["visible"] == pytest.approx(16 / 255)


def test_a_still_clip_has_no_moving_pixel():
    still = torch.rand(1, 1, 3, 12, 12).expand(1, 3, 3, 12, 12)
    moving = pairs(0, b=1, t=3, H=12, W=12)
    m = PSNR(moving=True, size=None)
    m.update(still * 0.9, still)
    with pytest.raises(InputError, match="none of the frames could be scored"):
        m.compute()
    m.update(*moving)
    assert m.per_clip().isnan().tolist() == [True, False]
    assert m.compute().item() == PSNR(moving=True, size=None)(*moving).item()


@pytest.mark.parametrize("make", [PSNR, SSIM, lambda **kw: PSNR(moving=True, **kw)])
def test_pickle_clone_reset_half_resize(make):
    preds, target = pairs(0).half()
    m = make(size=12).half()
    m.update(preds, target)
    value = m.compute()
    full = make(size=12)
    full.update(preds.float(), target.float())
    assert value.dtype == torch.float64 and torch.equal(full.compute(), value)
    for copy in (pickle.loads(pickle.dumps(m)), m.clone()):
        assert torch.equal(copy.compute(), value)
        copy.update(target, target)
        assert copy.compute() > value and torch.equal(m.compute(), value)
    assert not m.state_dict()
    m.reset()
    with pytest.raises(InputError, match="no clips"):
        m.compute()


def test_bad_input():
    preds, target = pairs(0)
    for make in (PSNR, SSIM):
        for wrong, message in ((preds[:, :1], "as many frames"), (preds * 255, "rescale"), (preds[0], "b t 3 H W")):
            with pytest.raises(InputError, match=message):
                make().update(wrong, target)
        with pytest.raises(InputError, match="256"):
            make(size=0)
    with pytest.raises(InputError, match="11 px wide"):
        SSIM(size=None).update(preds[..., :10], target[..., :10])
