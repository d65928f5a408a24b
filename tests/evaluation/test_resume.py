"""An evaluation that was stopped goes on to the same row; several processes come to the row of one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from lvcd.errors import InputError
from lvcd.evaluation import Ranks, evaluate, runner
from lvcd.leaderboard import Row, read
from tests.helpers.evaluation import FunctionMethod, cartoons, noisy, two_metrics
from tests.helpers.paths import ROOT
from tests.helpers.processes import wait_until
from tests.helpers.ranks import on_ranks


class Stops(FunctionMethod):
    """Painting ends with Ctrl-C after so many clips."""

    def __init__(self, after: int):
        super().__init__(noisy)
        self.after = after

    def paint(self, *given):
        if len(self.seeds) == self.after:
            raise KeyboardInterrupt
        return super().paint(*given)


def result(row: Row) -> dict:
    """The row without what is never the same; the checkout may be edited while tests run."""
    held = {name: value for name, value in asdict(row).items() if name not in ("time", "cost")}
    held["provenance"].pop("git")
    return held


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> dict:
    return result(evaluate(FunctionMethod(noisy), cartoons(leaks=2), two_metrics(), tmp_path_factory.mktemp("whole")))


@pytest.mark.parametrize("every", [0.0, 1e9], ids=["scores kept", "scores lost"])
@pytest.mark.parametrize("after", [3, 7], ids=["at a clip", "at a leak check"])
def test_stopped_by_hand(every, after, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "SAVE_SCORES_EVERY_SEC", every)
    stopped = Stops(after)
    with pytest.raises(KeyboardInterrupt):
        evaluate(stopped, cartoons(leaks=2), two_metrics(), tmp_path)
    assert not (tmp_path / "leaderboard.jsonl").exists()
    more = FunctionMethod(noisy)
    row = evaluate(more, cartoons(leaks=2), two_metrics(), tmp_path)
    assert result(row) == whole and read(tmp_path / "leaderboard.jsonl") == [row]
    assert len(stopped.seeds) + len(more.seeds) == 4 + 2 * 4  # no clip was painted twice
    assert list((tmp_path / "unfinished").iterdir()) == []


@pytest.mark.slow
def test_killed(whole, tmp_path):
    command = [sys.executable, "-m", "tests.helpers.slow_evaluation", str(tmp_path)]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: len(list(tmp_path.glob("unfinished/*/*.npz"))) >= 2, child)
    finally:
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
    more = FunctionMethod(noisy)
    row = evaluate(more, cartoons(leaks=2), two_metrics(), tmp_path)
    assert result(row) == whole and len(more.seeds) <= 10


@pytest.mark.parametrize("what", ["code", "versions"])
def test_what_other_code_has_painted_is_not_gone_on_with(what, tmp_path, monkeypatch):
    """A row has one commit."""
    with pytest.raises(KeyboardInterrupt):
        evaluate(Stops(2), cartoons(), two_metrics(), tmp_path)
    more = FunctionMethod(noisy)
    monkeypatch.setattr(runner, what, lambda: "another")
    evaluate(more, cartoons(), two_metrics(), tmp_path)
    assert len(more.seeds) == 4


def test_memory_is_also_that_of_the_process_that_was_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "peak_memory_gib", lambda device: 77.0)
    with pytest.raises(KeyboardInterrupt):
        evaluate(Stops(2), cartoons(), two_metrics(), tmp_path)
    monkeypatch.setattr(runner, "peak_memory_gib", lambda device: 1.0)
    assert evaluate(FunctionMethod(noisy), cartoons(), two_metrics(), tmp_path).cost["memory_GiB"] == 77.0


def test_the_same_evaluation_runs_once(tmp_path):
    def again(reference, sketches):
        with pytest.raises(InputError, match="is running already"):
            evaluate(FunctionMethod(noisy), cartoons(), two_metrics(), tmp_path)
        return noisy(reference, sketches)

    evaluate(FunctionMethod(again), cartoons(), two_metrics(), tmp_path)


def on_a_rank(rank: int, world: int):
    os.environ["WORLD_SIZE"] = str(world)
    ranks = Ranks.join()
    method = FunctionMethod(noisy)
    folder = Path(os.environ["LVCD_TEST_OUT"])
    row = evaluate(method, cartoons(leaks=2), two_metrics(), folder, ranks=ranks)
    return result(row), len(method.seeds), (ranks.rank, ranks.world)


@pytest.mark.slow
def test_two_processes_come_to_the_row_of_one(whole, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setenv("LVCD_TEST_OUT", str(out))
    (first, one, a), (second, other, b) = on_ranks(on_a_rank, tmp_path)
    assert one == other == 6 and (a, b) == ((0, 2), (1, 2))
    assert len(read(out / "leaderboard.jsonl")) == 1
    for row in (first, second):
        assert row["clips"] == whole["clips"] and row["leaks"] == whole["leaks"]
        assert row["protocol"] == whole["protocol"] and row["method"] == whole["method"]
        for column, report in whole["metrics"].items():
            assert row["metrics"][column]["value"] == pytest.approx(report["value"], rel=1e-12)
            assert row["metrics"][column]["n"] == report["n"] == 4


def test_memory_does_not_grow_with_the_clips():
    """No clip is held once the next is read."""
    import gc

    tests = cartoons()
    for clip in tests:
        size = clip.original.shape
        del clip
    gc.collect()
    assert not [x for x in gc.get_objects() if isinstance(x, torch.Tensor) and x.shape == size]
