"""The mean over clips and its interval."""

import pytest
import torch

from lvcd.metrics.base import ClipMean, bootstrap


def pairs(seed: int, b: int, t: int = 2, size: int = 4) -> torch.Tensor:
    """(2 b t 3 H W)"""
    return torch.rand(2, b, t, 3, size, size, generator=torch.Generator().manual_seed(seed))


class Difference(ClipMean):
    higher_is_better = False

    def update(self, preds, target):
        self.add((preds - target).abs().mean((1, 2, 3, 4)), torch.arange(len(preds)) % 3)


def test_clips_weigh_their_scored_frames():
    metric = Difference()
    preds, target = pairs(0, b=5)
    metric.update(preds, target)
    each = (preds - target).abs().mean((1, 2, 3, 4)).double()
    want = (each[1] + 2 * each[2] + each[4]) / 4
    torch.testing.assert_close(metric.compute(), want)
    assert metric.per_clip().isnan().tolist() == [True, False, False, True, False]
    assert metric.report()["n"] == 3


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_an_interval_stays_where_values_can_be():
    """Of two clips it is wider than the range."""

    class Share(Difference):
        bounds = (0.0, 1.0)

    metric = Share()
    metric.add(torch.tensor([0.1, 0.9]), 1)
    interval = metric.report()["interval"]
    assert (interval["low"], interval["high"]) == (0, 1)


def test_bootstrap_interval_is_that_of_the_mean():
    rng = torch.Generator().manual_seed(0)
    scores = torch.randn(400, generator=rng, dtype=torch.float64)
    interval = bootstrap(scores, torch.ones(400))
    error = 1.96 * scores.std().item() / 20
    assert interval["low"] == pytest.approx(scores.mean().item() - error, abs=0.1 * error)
    assert interval["high"] == pytest.approx(scores.mean().item() + error, abs=0.1 * error)
    assert bootstrap(scores.flip(0), torch.ones(400)) == interval
    assert bootstrap(scores[:1], torch.ones(1)) is None


@pytest.mark.parametrize("clips", [2, 4, 10])
def test_an_interval_of_few_clips_misses_the_mean_no_more_often_than_it_says(clips):
    """Of 300 samples of normal scores 15 in the mean; by the percentiles alone 167, 61 and 28."""
    drawn = torch.randn(300, clips, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    intervals = [bootstrap(scores, torch.ones(clips), draws=500) for scores in drawn]
    missed = sum(not interval["low"] <= 0 <= interval["high"] for interval in intervals)
    assert 3 <= missed <= 26
