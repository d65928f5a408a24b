"""The Frechet distance is that of Gaussians, whatever the order, the shards and the ranks; its interval is honest."""

import json
import pickle

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchmetrics.image.fid import FrechetInceptionDistance

from lvcd.errors import InputError
from lvcd.metrics import FrechetDistance
from lvcd.metrics.base import student_quantile
from lvcd.metrics.frame_tensors import ClipBatch
from lvcd.metrics.frechet import frechet_distance, moments

pytestmark = pytest.mark.filterwarnings("ignore:.*too few", "ignore:The ``compute`` method")


class Colors(nn.Module):
    """(n 3 H W) -> (n 6): mean of each channel, and of its square."""

    name, sha256, num_features = "colors", "00" * 32, 6

    def forward(self, frames):
        return torch.cat([frames.mean((2, 3)), frames.square().mean((2, 3))], 1)


def clips(seed: int, b: int, t: int = 3, size: int = 4) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (torch.rand(b, 1, 3, 1, 1, generator=rng) + 0.3 * torch.rand(b, t, 3, size, size, generator=rng)) / 1.3


def metric(**kwargs) -> FrechetDistance:
    return FrechetDistance(Colors(), size=None, **kwargs)


def fed(real, fake, **kwargs) -> FrechetDistance:
    m = metric(**kwargs)
    m.update(real, real=True)
    m.update(fake, real=False)
    return m


def gaussian(seed: int, d: int, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    half = torch.randn(d, rank, generator=rng, dtype=torch.float64)
    return torch.randn(d, generator=rng, dtype=torch.float64), half @ half.T


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_closed_form_where_the_covariances_commute(seed, d):
    rng = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, d, generator=rng, dtype=torch.float64))[0]
    a, b = torch.rand(2, d, generator=rng, dtype=torch.float64) * 9 * (torch.rand(2, d, generator=rng) > 0.3)
    mean = torch.randn(2, d, generator=rng, dtype=torch.float64)
    got = frechet_distance(mean[0], basis @ a.diag() @ basis.T, mean[1], basis @ b.diag() @ basis.T)
    want = (mean[0] - mean[1]).square().sum() + (a.sqrt() - b.sqrt()).square().sum()
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12))
def test_as_scipy_for_regular_covariances(seed, d):
    (m1, c1), (m2, c2) = gaussian(seed, d, d + 4), gaussian(seed + 1, d, d + 4)
    root = scipy.linalg.sqrtm((c1 @ c2).numpy()).real
    want = ((m1 - m2) ** 2).sum().item() + np.trace(c1.numpy() + c2.numpy() - 2 * root)
    assert frechet_distance(m1, c1, m2, c2).item() == pytest.approx(want, rel=1e-8)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(0, 10))
def test_metric_of_singular_gaussians(seed, d, rank):
    (m1, c1), (m2, c2) = gaussian(seed, d, rank), gaussian(seed + 1, d, rank)
    ab, ba = frechet_distance(m1, c1, m2, c2), frechet_distance(m2, c2, m1, c1)
    torch.testing.assert_close(ab, ba, rtol=1e-9, atol=1e-9)
    assert frechet_distance(m1, c1, m1, c1) <= 1e-10 * (1 + c1.trace())
    assert ab >= 0


def test_moments_are_numpys():
    x = np.random.default_rng(0).normal(5, 2, (30, 4))
    t = torch.from_numpy(x)
    mean, cov = moments(torch.tensor(30.0), t.sum(0), t.T @ t)
    np.testing.assert_allclose(mean, x.mean(0))
    np.testing.assert_allclose(cov, np.cov(x.T), rtol=1e-9)  # over n - 1


def test_value_is_torchmetrics_own():
    real, fake = clips(0, 9), clips(1, 7)
    theirs = FrechetInceptionDistance(feature=Colors(), normalize=True, input_img_size=(3, 4, 4))
    theirs.update(real.flatten(0, 1), real=True)
    theirs.update(fake.flatten(0, 1), real=False)
    assert fed(real, fake).compute().item() == pytest.approx(theirs.compute().item(), rel=1e-5)


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 4))
def test_order_and_batches_do_not_matter(random, batch):
    real, fake = clips(0, 8), clips(1, 8)
    want = fed(real, fake).compute()
    order = random.sample(range(8), 8)
    m = metric()
    for part in torch.tensor(order).split(batch):
        m.update(fake[part], real=False)
        m.update(real[part], real=True)
    torch.testing.assert_close(m.compute(), want, rtol=1e-9, atol=1e-12)


def test_numbered_clips_give_the_same_interval_in_any_order():
    real, fake = clips(0, 12), clips(1, 12)
    want = fed(real, fake, groups=4).report()["interval"]
    m = metric(groups=4)
    for part in torch.tensor([11, 2, 7, 0, 5, 9, 1, 3, 4, 10, 8, 6]).split(5):
        m.update(real[part], real=True, index=part)
        m.update(fake[part], real=False, index=part)
    got = m.report()["interval"]
    assert got["low"] == pytest.approx(want["low"], rel=1e-9) and got["high"] == pytest.approx(want["high"], rel=1e-9)


def test_shards_merge():
    real, fake = clips(0, 8), clips(1, 8)
    a, b = fed(real[:3], fake[:5]), fed(real[3:], fake[5:])
    a.merge_state(b)
    torch.testing.assert_close(a.compute(), fed(real, fake).compute(), rtol=1e-9, atol=0)


def test_pickle_clone_reset_and_no_weights_in_a_checkpoint():
    m = fed(clips(0, 8), clips(1, 8))
    value = m.compute()
    for copy in (pickle.loads(pickle.dumps(m)), m.clone()):
        assert torch.equal(copy.compute(), value)
        copy.update(clips(2, 3), real=False)
        assert not torch.equal(copy.compute(), value) and torch.equal(m.compute(), value)
    assert not m.state_dict() and not [*m.parameters()]
    m.reset()
    with pytest.raises(InputError, match="0 real samples"):
        m.compute()


def test_half_precision_frames_and_sums_that_stay_exact():
    real, fake = clips(0, 8).half(), clips(1, 8).half()
    m = metric().set_dtype(torch.float16).half()
    m.update(real, real=True)
    m.update(fake, real=False)
    assert m.fake_outer.dtype == torch.float64
    assert torch.equal(m.compute(), fed(real.float(), fake.float()).compute())


def test_memory_is_constant():
    m = fed(clips(0, 4), clips(1, 4))
    size = lambda: sum(v.numel() for v in m.metric_state.values())  # noqa: E731
    before = size()
    for seed in range(5):
        m.update(clips(seed, 4), real=False)
    assert size() == before == 2 * 10 * (1 + 1 + 6 + 36)


def test_images_count_each_and_are_resized():
    frames = clips(0, 6, size=16)
    m = FrechetDistance(Colors(), size=8)
    m.update(frames, real=True)
    m.update(frames.flatten(0, 1), real=False)
    assert m.compute() < 1e-9
    assert m.report()["clips"] == 18


def test_report_is_json_and_says_all():
    report = json.loads(json.dumps(fed(clips(0, 8), clips(1, 8)).report()))
    assert report["name"] == "FrechetDistance[colors]"
    assert report["extractor"] == {"name": "colors", "sha256": "00" * 32}
    assert report["settings"] == {"size": None, "filter": "bilinear_antialias", "groups": 10, "covariance": "n - 1"}
    assert report["interval"]["low"] <= report["value"] <= report["interval"]["high"]
    assert report["notes"] == []


@pytest.mark.filterwarnings("always")
def test_too_few_samples_are_told():
    m = fed(clips(0, 2), clips(1, 2))  # 6 samples of 6 features
    with pytest.warns(UserWarning, match="6 samples .*6 features"):
        m.compute()
    assert "biased upward" in m.report()["notes"][0]


def test_no_interval_where_none_can_be_told():
    assert fed(clips(0, 8), clips(1, 8), groups=1).report()["interval"] is None
    assert fed(clips(0, 1), clips(1, 1)).report()["interval"] is None


def test_the_interval_is_as_wide_as_the_value_spreads():
    """Over repetitions with fresh clips it holds the mean value about 95 times in 100."""
    runs = [fed(clips(2 * s, 40, 1), clips(2 * s + 1, 40, 1) ** 1.5) for s in range(100)]
    values = torch.tensor([m.compute() for m in runs])
    intervals = [m.interval(v.item()) for m, v in zip(runs, values)]
    held = np.mean([i["low"] <= values.mean().item() <= i["high"] for i in intervals])
    assert 0.87 <= held <= 1
    half = np.mean([(i["high"] - i["low"]) / 2 for i in intervals])
    assert half == pytest.approx(student_quantile(9) * values.std().item(), rel=0.35)


def test_students_quantiles():
    for freedom in (1, 4, 9, 10, 19, 200):
        assert student_quantile(freedom) == pytest.approx(scipy.stats.t.ppf(0.975, freedom), rel=1e-9)


BAD = [
    (torch.full((2, 3, 3, 4, 4), torch.nan), "not numbers"),
    (torch.full((2, 3, 3, 4, 4), 1.5), "rescale"),
    (torch.full((2, 3, 3, 4, 4), -1.0), "rescale"),
    (torch.zeros(2, 3, 1, 4, 4), "b t 3 H W"),
    (torch.zeros(3, 4, 4), "b t 3 H W"),
    (torch.zeros(0, 3, 3, 4, 4), "not empty"),
    (torch.zeros(2, 3, 3, 4, 4, dtype=torch.uint8), "divide"),
]


@pytest.mark.parametrize(("frames", "message"), BAD)
def test_bad_frames_are_one_line(frames, message):
    m = metric()
    with pytest.raises(InputError, match=message) as error:
        m.update(frames, real=True)
    assert "\n" not in str(error.value)
    assert m.real_n.sum() == 0


def test_other_bad_input():
    m = metric()
    m.update(clips(0, 1, 1), real=True)
    m.update(clips(0, 4), real=False)
    with pytest.raises(InputError, match="1 real samples"):
        m.compute()
    with pytest.raises(InputError, match="2 .*4"):
        m.update(clips(0, 4), real=True, index=torch.arange(2))
    with pytest.raises(InputError, match="one row for each"):
        FrechetDistance(lambda x: x, size=None)
    for wrong in ({"groups": 0}, {"size": 0}, {"filter": "lanczos"}):
        with pytest.raises(InputError):
            FrechetDistance(Colors(), **{"size": None} | wrong)


def test_originals_are_kept_while_other_frames_of_theirs_are_scored():
    """As at every validation; the extractor sees each original once."""
    seen = []

    class Counting(Colors):
        def forward(self, frames):
            seen.append(len(frames))
            return super().forward(frames)

    m = FrechetDistance(Counting(), size=None, groups=3)
    real, numbers = clips(0, 4), torch.arange(4)
    for seed in (1, 2):
        m.reset_generated()
        seen.clear()
        fake = clips(seed, 4)
        m.update_from_clips(ClipBatch(fake, real, fake, numbers))
        assert sum(seen) == (24 if seed == 1 else 12)
        want = FrechetDistance(Colors(), size=None, groups=3)
        want.update(real, real=True, index=numbers)
        want.update(fake, real=False, index=numbers)
        assert {k: v for k, v in m.report().items() if k != "extractor"} == {
            k: v for k, v in want.report().items() if k != "extractor"
        }
    m.reset()
    m.update_from_clips(ClipBatch(fake, real, fake, numbers))
    assert int(m.real_clips.sum()) == 4
