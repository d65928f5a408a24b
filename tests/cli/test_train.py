"""train.py as it is started: stopped and gone on with, exported, refused."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from lvcd.io.disk import Lock
from lvcd.training.run_folder import newest_checkpoint
from tests.helpers.processes import CEILING
from tests.helpers.train_program import TINY, start_train, step_of_checkpoint


@pytest.mark.slow
def test_killed_stopped_and_gone_on_with(tmp_path, typed, capfd):
    run = tmp_path / "run"
    words = [*TINY, f"run_dir={run}", "trainer.max_steps=100000", "trainer.val_check_interval=2"]
    process = start_train(*words)
    step_of_checkpoint(run)
    process.kill()
    process.communicate(timeout=CEILING)
    at = step_of_checkpoint(run)
    assert typed("train.py", *words) == 2
    assert "resume=true" in capfd.readouterr().err
    words.append("data.workers=1")
    process = start_train(*words, "resume=true", start_new_session=True)
    out = process.stdout.readline()
    while "FineTuneModule: steps" not in out:
        out = process.stdout.readline()
    assert at and f"steps {at} to 100000" in out  # nothing is lost but the steps since then
    os.killpg(process.pid, signal.SIGHUP)  # its terminal was closed: the processes that read hear it too
    out, err = process.communicate(timeout=CEILING)
    assert process.returncode == 0, err
    assert "python train.py experiment=mini_cpu" in out and "resume=true" in out
    step = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"]
    words[-3] = f"trainer.max_steps={step + 2}"
    capfd.readouterr()
    assert typed("train.py", *words, "resume=true") == 0
    out = capfd.readouterr().out
    assert f"step {step + 2}/{step + 2}" in out and str(run / "model") in out
    from lvcd.cli import main

    assert main(["export", str(run), "--out", str(tmp_path / "model")]) == 0
    assert (tmp_path / "model" / "model_index.json").exists()
    other = [
        f"run_dir={tmp_path / 'other'}",
        "module.unet=self_attention",
        f"resume={run / 'checkpoints' / 'last.ckpt'}",
    ]
    capfd.readouterr()
    assert typed("train.py", *TINY, *other) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "unet=" in line
    assert not (tmp_path / "other").exists()
    torn = run / "checkpoints" / "last.ckpt"
    torn.write_bytes(torn.read_bytes()[:1000])
    assert newest_checkpoint(run).name == "best.ckpt"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.max_step=3"], "trainer.max_steps"),
        (["module.networks.vae=nowhere"], "nowhere"),
        (["data.shards=nowhere"], "manifest.json"),
        (["resume=true"], "checkpoint"),
        (["init_from=nowhere"], "init_from=nowhere"),
        (["data.batch_size=abc"], "data"),
        (["mini"], "NAME=VALUE"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, typed, capfd):
    run = tmp_path / "run"
    code = typed("train.py", "experiment=mini_cpu", *words, f"run_dir={run}")
    lines = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert code == 2 and len(lines) == 1 and message in lines[0], lines
    assert not run.exists()


def test_a_second_training_in_one_folder_is_refused_and_changes_nothing(tmp_path, typed, capfd):
    run = tmp_path / "run"
    run.mkdir()
    first = Lock(run / ".lock", "busy")  # as a training holds it
    assert typed("train.py", "experiment=mini_cpu", f"run_dir={run}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert str(run) in line and "another training" in line and [p.name for p in run.iterdir()] == [".lock"]
    first.release()
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "best.ckpt").touch()
    assert typed("train.py", "experiment=mini_cpu", f"run_dir={run}") == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert "resume=true" in line and [p.name for p in run.iterdir()] == ["checkpoints"]  # no other run's settings
