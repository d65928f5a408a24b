"""eval.py as it is typed: real shards, real metrics, and methods that cost nothing."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lvcd.errors import InputError
from lvcd.evaluation import evaluate
from lvcd.evaluation.methods import CopyReference
from lvcd.io.reader import open_frames
from lvcd.leaderboard import read
from lvcd.metrics import PSNR, TC, Suite
from lvcd.system import peak_memory_gib, reset_peak_memory
from tests.helpers.evaluation import DarkenedMethod, FunctionMethod, cartoons, noisy, repeat_reference, two_metrics
from tests.helpers.wandb_file import finished_records, history

CHECKS = {"reference=blank", "reference=recolored", "sketch=grey", "sketch=binarized"}


def test_copying_is_scored_as_copying(tmp_path):
    tests = cartoons()
    row = evaluate(CopyReference(), tests, two_metrics(), tmp_path)
    assert read(tmp_path / "leaderboard.jsonl") == [row]
    clips = list(tests)
    by_hand = [(c.reference - c.original).square().mean((1, 2, 3)).log10().mul(-10).mean().item() for c in clips]
    plain = evaluate(CopyReference(), tests, Suite([PSNR(size=None)]), tmp_path)
    assert [c["scores"]["PSNR"] for c in plain.clips] == pytest.approx(by_hand, abs=1e-4)
    assert plain.metrics["PSNR"]["value"] == pytest.approx(sum(by_hand) / 4, abs=1e-4)
    assert row.n == 4 and [c["key"] for c in row.clips] == tests.keys


def test_a_row_has_what_a_page_shows(tmp_path):
    tests = cartoons(clips=1)
    row = evaluate(CopyReference(), tests, two_metrics(), tmp_path)
    clip = tests[0]
    for file, shown in (
        (tmp_path / row.clips[0]["media"], clip.reference.expand_as(clip.original)),
        (tmp_path / row.source_media / f"{clip.key}.original.webm", clip.original),
        (tmp_path / row.source_media / f"{clip.key}.sketch.webm", 1 - clip.sketches.expand(-1, 3, -1, -1)),
    ):
        with open_frames(file) as movie:
            assert len(movie) == 3
            frame = torch.from_numpy(movie[2]).movedim(-1, 0) / 255
        assert (frame - shown[2]).abs().mean() < 0.05
    with open_frames(tmp_path / row.source_media / f"{clip.key}.reference.png") as picture:
        assert picture[0].tolist() == clip.reference.mul(255).round().byte().movedim(0, -1).tolist()
    assert set(row.protocol["metrics"]) == {"PSNR", "SegmentAccuracy"}
    assert row.provenance["seed"] == 0 and row.provenance["versions"]["torch"] == torch.__version__.split("+")[0]
    assert row.cost["seconds_per_frame"] > 0 and row.cost["memory_GiB"] > 0.05


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux forgets a peak")
def test_memory_is_not_what_another_evaluation_took():
    reset_peak_memory("cpu")  # of the tests before
    before = peak_memory_gib("cpu")
    held = np.ones(2**27)
    assert peak_memory_gib("cpu") > before + 0.9
    del held
    reset_peak_memory("cpu")
    assert peak_memory_gib("cpu") < before + 0.5


def test_each_clip_has_its_own_seed_whatever_the_others_are(tmp_path):
    whole, some = (FunctionMethod(repeat_reference) for _ in range(2))
    evaluate(whole, cartoons(), two_metrics(), tmp_path / "a", seed=1)
    evaluate(some, cartoons(clips=2), two_metrics(), tmp_path / "b", seed=1)
    assert some.seeds == [whole.seeds[1], whole.seeds[3]] and len(set(whole.seeds)) == 4


@pytest.mark.parametrize(
    ("paint", "told"),
    [
        (lambda r, s: r.expand(len(s) - 1, -1, -1, -1), "(3, 3, 72, 128)"),
        (lambda r, s: r.expand(len(s), -1, -1, -1)[..., ::2], "and not (3, 3, 72, 128)"),
        (lambda r, s: r.expand(len(s), -1, -1, -1) * torch.nan, "not numbers"),
        (lambda r, s: r.expand(len(s), -1, -1, -1) * 255, "0 to 1"),
    ],
)
def test_frames_that_cannot_be_scored_are_refused(paint, told, tmp_path):
    with pytest.raises(InputError) as error:
        evaluate(FunctionMethod(paint), cartoons(clips=1), two_metrics(), tmp_path)
    assert told in str(error.value) and "heldout" in str(error.value)
    assert not (tmp_path / "leaderboard.jsonl").exists()


def test_frames_without_a_neighbor_are_scored_too(tmp_path):
    tests = cartoons(name=7, frames=1, clips=2)  # YAML takes such a name for a number
    row = evaluate(CopyReference(), tests, Suite([PSNR(), TC()]), tmp_path)
    assert row.metrics["PSNR"]["n"] == 2 and row.metrics["TC"]["value"] is None and row.protocol["name"] == "7"


def test_typed(tmp_path, typed, capfd):
    words = ["method=copy_reference", f"out={tmp_path}", "protocol.clips=1", "protocol.frames=2", "protocol.leaks=1"]
    assert typed("eval.py", *words) == 0
    (row,) = read(tmp_path / "leaderboard.jsonl")
    assert row.name == "copy_reference" and "FVD" not in row.metrics  # two frames are too few
    told = capfd.readouterr()
    assert f"{row.metrics['PSNR']['value']:.4g}" in told.out and f"(row {row.id})" in told.out
    assert "1152" in told.out
    assert row.warnings == [] and set(row.leaks) == CHECKS
    assert "painting" in told.err and "metrics" in told.err


@pytest.mark.slow
def test_the_board_goes_to_wandb_where_that_is_asked_for(tmp_path, typed, keyless, capfd):
    words = [f"out={tmp_path}", "protocol.clips=1", "protocol.frames=2", "protocol.leaks=0", "wandb=true"]
    assert typed("eval.py", "method=copy_reference", *words) == 0
    (row,) = read(tmp_path / "leaderboard.jsonl")
    assert "no key was found" in capfd.readouterr().out
    [file] = tmp_path.glob("wandb/offline-run-*/*.wandb")
    [logged] = history(finished_records(file))
    assert f"leaderboard/smoke {row.protocol_key}" in logged


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["method=flow_wrap"], "method=flow_warp?"),
        (["method=copy_reference", "protocol=lvcd_general"], "protocol.shards="),
        (["protocol=smokes"], "protocol=smoke?"),
        (["steps=0"], "steps=0"),
        (["sampling.sigma_min=low"], "above 0"),
        (["sampling.guidance=high"], "guidance=high"),
        (["method=copy_reference", "smoke"], "smoke"),
        (["method=copy_reference", f"out={__file__}"], "test_runner.py"),
        (["method=copy_reference", f"out={__file__}/x"], "test_runner.py"),
        ([], "model="),
        (["model=/nothing"], "/nothing"),
        (["method=copy_reference", "protocol.data=00"], "smoke"),
    ],
)
def test_bad_input_is_one_line(words, told, tmp_path, typed, capfd):
    assert typed("eval.py", f"out={tmp_path / 'out'}", *words) == 2
    error = capfd.readouterr().err
    assert told in error and error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_methods_of_one_network_paint_once(tmp_path):
    """And more clips of the same set are only added; another network or other line art is painted anew."""
    whole, half = DarkenedMethod(1.0), DarkenedMethod(0.5)
    rows = [evaluate(method, cartoons(leaks=1, clips=2), two_metrics(), tmp_path) for method in (whole, half)]
    assert whole.painted == 2 + 4 and half.painted == 0  # four checks of one clip
    direct = FunctionMethod(lambda reference, sketches: (noisy(reference, sketches) * 255).round() / 255 * 0.5)
    assert rows[1].clips[0]["scores"] == evaluate(direct, cartoons(clips=2), two_metrics(), tmp_path).clips[0]["scores"]
    assert rows[0].clips[0]["scores"] != rows[1].clips[0]["scores"]
    evaluate(half, cartoons(leaks=1), two_metrics(), tmp_path)
    assert half.painted == 2 + 4  # the other two clips, and the checks of another clip
    evaluate(half, cartoons(clips=2, line_art="thin"), two_metrics(), tmp_path)
    assert half.painted == 2 + 4 + 2
