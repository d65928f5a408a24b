"""All metrics together give what each gives alone, under the paper's names, and say what they cannot."""

import json
import math

import pytest
import torch

from lvcd.errors import InputError
from lvcd.metrics import EDMD, PSNR, SSIM, TC, FrechetDistance, PooledFeatures, SegmentAccuracy, ShiftTolerantLPIPS
from lvcd.metrics.inputs import in_chunks
from lvcd.metrics.suite import Suite, offline, paper

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
        return offline(size=SIDE)
    except InputError as error:
        pytest.skip(str(error))


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


def test_what_two_metrics_look_at_is_looked_at_once(usual, monkeypatch):
    """Frames and originals through AlexNet, each once; nothing is remembered of them."""
    preds, target, sketches = (x[:, :9] for x in clips(1))
    looks, seen = usual._looks, []
    own = looks.backbone.forward
    monkeypatch.setattr(looks.backbone, "forward", lambda frames: seen.append(len(frames)) or own(frames))
    names = ("FrechetDistance[shift-tolerant-alex]", "ShiftTolerantLPIPS")
    suite = Suite({name: usual.metrics[name] for name in names}, looks)
    suite.update(preds, target, sketches, torch.tensor([7]))
    assert sum(seen) == 2 * 9 and not looks._seen


def test_what_has_no_value_says_why():
    suite = Suite({"TC": TC(size=None), "PSNR": PSNR(size=None), "SSIM": SSIM(size=None)})
    preds, target, sketches = (x[:, :1].repeat(1, 3, 1, 1, 1) for x in clips(2))
    suite.update(preds, target, sketches, torch.arange(2))
    reports = json.loads(json.dumps(suite.reports(), allow_nan=False))
    assert reports["TC"]["value"] is None and reports["TC"]["n"] == 0 and reports["TC"]["interval"] is None
    assert reports["TC"]["notes"] == ["TC: none of the frames could be scored: give it other clips"]
    assert reports["PSNR"]["n"] == 2 and math.isnan(suite.per_clip()["TC"][1])
    preds, target, sketches = clips(2)
    suite.update(preds, target, sketches, torch.arange(2))  # and goes on
    assert suite.reports()["TC"]["n"] == 2


def test_short_clips_have_no_fvd_and_weights_that_are_missing_are_named(usual, tmp_path):
    assert "FVD" not in paper(frames=8).metrics and "FVD" in usual.metrics
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
