"""All metrics together give what each gives alone, under the paper's names, and say what they cannot."""

import json
import math

import pytest
import torch

from lvcd.errors import InputError
from lvcd.metrics import (
    EDMD,
    PSNR,
    SSIM,
    TC,
    ClipMean,
    FrechetDistance,
    PooledFeatures,
    SegmentAccuracy,
    ShiftTolerantLPIPS,
    Suite,
    backbones,
    paper,
)
from lvcd.metrics.frame_tensors import in_chunks

pytestmark = pytest.mark.filterwarnings("ignore:.*too few")
SIDE, T = 64, 10


def clips(b: int, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """preds, target, sketches: bars that walk over a ground, in flat colors with dark edges; preds are paler."""
    rng = torch.Generator().manual_seed(seed)
    target = torch.rand(b, 1, 3, 1, 1, generator=rng).expand(b, T, 3, SIDE, SIDE).clone()
    sketches = torch.zeros(b, T, 1, SIDE, SIDE)
    for i in range(b):
        color = torch.rand(3, 1, 1, generator=rng)
        for t in range(T):
            x = 4 + 2 * t + 3 * i
            target[i, t, :, 12:40, x : x + 16] = color
            for edge in (x, x + 15):
                target[i, t, :, 12:40, edge] = 0
                sketches[i, t, :, 12:40, edge] = 1
    return 0.8 * target + 0.1, target, sketches


@pytest.fixture(scope="module")
def usual() -> Suite:
    try:
        return Suite(paper(size=SIDE))
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.slow
def test_each_gives_what_it_gives_alone(usual):
    preds, target, sketches = clips(2)
    for own in (torch.tensor([0]), torch.tensor([1])):
        usual.update(preds[own], target[own], sketches[own], own)
    size = {"size": SIDE}
    pairs = (
        ShiftTolerantLPIPS(**size), PSNR(**size), PSNR(moving=True, **size), SSIM(**size), TC(**size)
    )  # fmt: skip
    alone = {m.name: m for m in pairs}
    for metric in pairs:
        metric.update(preds, target)
    for metric, name in ((SegmentAccuracy(), ""), (SegmentAccuracy(moving=True), "[moving]")):
        metric.update(preds, target, sketches)
        alone[f"SegmentAccuracy{name}"] = metric
    alone["EDMD"] = EDMD(**size)
    alone["EDMD"].update(preds, sketches)
    distance = FrechetDistance(PooledFeatures(), **size)
    alone[distance.name] = distance
    distance.update(target, real=True)
    distance.update(preds, real=False)
    reports = json.loads(json.dumps(usual.reports(), allow_nan=False))
    assert reports.keys() == alone.keys() | {"FVD"}
    assert reports["FVD"]["n"] == reports["FVD"]["n_real"] == 2 and reports["FVD"]["value"] > 0
    for column, metric in alone.items():
        want, got = metric.report(), reports[column]
        assert got["value"] == pytest.approx(want["value"], rel=1e-6), column
        assert got["name"] == column and got["n"] == want["n"] and got["settings"] == want["settings"]
        assert got["higher_is_better"] == metric.higher_is_better and usual.seconds[column] > 0
    each = usual.per_clip()
    assert each.keys() == {c for c in alone if c != "FVD" and not c.startswith("FrechetDistance")}
    assert all(len(scores) == 2 for scores in each.values())
    assert each["EDMD"] == pytest.approx(alone["EDMD"].per_clip().tolist(), rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("reverse", [False, True])
def test_what_two_metrics_need_is_computed_once(usual, reverse, monkeypatch):
    """Generated and original frames go through AlexNet once each, in whichever order the metrics are."""
    preds, target, sketches = (x[:, :9] for x in clips(1))
    seen, forward = [], backbones.AlexNet.forward
    monkeypatch.setattr(backbones.AlexNet, "forward", lambda net, x: seen.append(len(x)) or forward(net, x))
    together = [FrechetDistance(PooledFeatures(), SIDE), ShiftTolerantLPIPS(SIDE)][:: -1 if reverse else 1]
    alone = [metric.clone() for metric in together]
    suite = Suite(together)
    suite.update(preds, target, sketches, torch.tensor([7]))
    assert sum(seen) == 2 * 9
    for metric in alone:
        Suite([metric]).update(preds, target, sketches, torch.tensor([7]))
        assert metric.compute() == suite.metrics[metric.name].compute()  # to the last bit
    assert sum(seen) == 3 * 2 * 9


def test_metrics_of_another_size_share_nothing(usual, monkeypatch):
    preds, target, sketches = clips(1)
    seen, forward = [], backbones.AlexNet.forward
    monkeypatch.setattr(backbones.AlexNet, "forward", lambda net, x: seen.append(len(x)) or forward(net, x))
    suite = Suite([FrechetDistance(PooledFeatures(), SIDE), ShiftTolerantLPIPS(SIDE // 2)])
    suite.update(preds[:, :2], target[:, :2], sketches[:, :2], torch.tensor([7]))
    assert sum(seen) == 2 * 2 * 2


@pytest.mark.slow
def test_a_value_is_anew_after_an_update(usual):
    """torchmetrics keeps a computed value until the next update."""
    preds, target, sketches = clips(2)
    suite = Suite([FrechetDistance(PooledFeatures(), SIDE), ShiftTolerantLPIPS(SIDE)])
    values = []
    for i in range(2):
        suite.update(preds[i : i + 1], target[i : i + 1], sketches[i : i + 1], torch.tensor([i]))
        values.append([report["value"] for report in suite.reports().values()])
    assert values[0][0] != values[1][0] and values[0][1] != values[1][1]


class Brightness(ClipMean):
    higher_is_better = True

    def update(self, preds, target):
        self.add(preds.mean((1, 2, 3, 4)), preds.shape[1])


def test_a_suite_takes_metrics_lists_and_none():
    suite = Suite([None, [PSNR(size=None), [SSIM(size=None)]], Brightness()])
    assert list(suite.metrics) == ["PSNR", "SSIM", "Brightness"]
    preds, target, sketches = clips(2)
    suite.update(preds, target, sketches, torch.arange(2))
    assert suite.reports()["Brightness"]["value"] == pytest.approx(preds.mean().item(), rel=1e-6)


def test_what_is_no_metric_or_twice_there_is_refused():
    with pytest.raises(InputError, match="two metrics have the column PSNR"):
        Suite([PSNR(), PSNR(ceiling=50.0)])
    with pytest.raises(InputError, match="Linear is no metric"):
        Suite([torch.nn.Linear(1, 1)])


def test_what_has_no_value_says_why():
    suite = Suite([TC(size=None), PSNR(size=None), SSIM(size=None)])
    preds, target, sketches = (x[:, :1].repeat(1, 3, 1, 1, 1) for x in clips(2))
    suite.update(preds, target, sketches, torch.arange(2))
    reports = json.loads(json.dumps(suite.reports(), allow_nan=False))
    assert reports["TC"]["value"] is None and reports["TC"]["n"] == 0 and reports["TC"]["interval"] is None
    assert reports["TC"]["notes"] == ["TC: none of the frames could be scored: give it other clips"]
    assert reports["PSNR"]["n"] == 2 and math.isnan(suite.per_clip()["TC"][1])
    preds, target, sketches = clips(2)
    suite.update(preds, target, sketches, torch.arange(2))  # and goes on
    assert suite.reports()["TC"]["n"] == 2


@pytest.mark.slow
def test_short_clips_have_no_fvd_and_weights_that_are_missing_are_named(usual, tmp_path):
    assert "FVD" not in Suite(paper(), frames=8).metrics and "FVD" in usual.metrics
    for wrong in ("inception", "backbone", "raft"):
        with pytest.raises(InputError, match="check the path"):
            paper(**{wrong: tmp_path / "none.pth"})


def test_a_training_run_that_multiplies_in_tf32_is_scored_without():
    """As eval.py scores."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    seen = []
    try:
        in_chunks(lambda x: seen.append(torch.get_float32_matmul_precision()) or x, 1, torch.zeros(1))
        assert seen == ["highest"] and torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
