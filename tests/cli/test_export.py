"""`lvcd export`: what a run's files say chooses no code, and a kill leaves a usable folder or none."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml

from lvcd.checkpoints.digest import check_digests
from lvcd.cli import main
from lvcd.pipeline import load_pipeline
from lvcd.training import FineTuneModule, networks_from_folder
from lvcd.training.checkpoint import AtomicCheckpointIO
from tests.helpers.toys import write_run


@pytest.fixture
def run(model_folder, tmp_path) -> Path:
    """A run's folder, as far as export reads it."""
    write_run(tmp_path / "run", model_folder)
    return tmp_path / "run"


def set_module(run: Path, module: object) -> None:
    (run / ".hydra" / "config.yaml").write_text(yaml.safe_dump({"module": module}))


@pytest.mark.parametrize(
    "evil",
    [
        lambda made: {"_target_": "os.mkdir", "path": made},
        lambda made: {"_target_": "lvcd.io.disk.os.mkdir", "_args_": [made]},
        lambda made: {"_target_": "lvcd.training.FineTuneModule", "networks": {"_target_": "os.mkdir", "path": made}},
        lambda made: {"_target_": "lvcd.training.Optimization", "lr": [{"x": {"_target_": "os.mkdir", "path": made}}]},
        lambda made: {"_target_": ["os.mkdir"], "path": made},
        lambda made: {"_target_": "lvcd.cli.main", "argv": ["convert", "--svd", made]},
        lambda made: ["no", "module"],
        lambda made: {"_target_": "lvcd.training.FineTuneModule", "no_such_setting": 1},
        lambda made: {"_target_": "lvcd.training.FineTuneModule", "networks": "${nowhere}"},
    ],
)
def test_a_configuration_chooses_no_code(run, tmp_path, capsys, evil):
    set_module(run, evil(str(tmp_path / "made")))
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "made").exists() and not (tmp_path / "out").exists()
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_the_command_line_allows_is_built(run, tmp_path, capsys):
    config = yaml.safe_load((run / ".hydra" / "config.yaml").read_text())["module"]
    set_module(run, config | {"_target_": "tests.cli.test_export.OwnModule"})
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 2
    assert "--allow tests.cli.test_export.OwnModule" in capsys.readouterr().err
    words = ["--allow", "tests.cli.test_export.OwnModule"]
    assert main(["export", str(run), "--out", str(tmp_path / "out"), *words]) == 0
    load_pipeline(tmp_path / "out", "cpu")


@pytest.mark.slow
def test_the_last_or_the_best_weights_are_exported_and_named(run, tmp_path, capsys):
    """The best.ckpt of a run is of step 0; its last.ckpt has other weights, and the newest step."""
    assert main(["export", str(run), "--out", str(tmp_path / "only"), "--weights", "best"]) == 0
    module = FineTuneModule(networks_from_folder(yaml.safe_load((run / ".hydra" / "config.yaml").read_text())
                                                 ["module"]["networks"]["folder"]))  # fmt: skip
    _ = module.networks.fingerprints
    bias = module.controlnet.zero_mid.bias
    bias.data += 1
    checkpoint = {"state_dict": dict(module.state_dict()), "global_step": 7}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, run / "checkpoints" / "last.ckpt")
    found = {}
    for words in ([], ["--weights", "best"], ["--weights", "last"], ["--checkpoint", f"{run}/checkpoints/last.ckpt"]):
        out = tmp_path / f"out{len(found)}"
        assert main(["export", str(run), "--out", str(out), *words]) == 0
        note = json.loads((out / "training.json").read_text())
        assert f"{note['weights']} weights" in capsys.readouterr().out
        found[tuple(words)] = note, load_pipeline(out, "cpu").controlnet.zero_mid.bias.float()
    notes = [note for note, _ in found.values()]
    assert notes == [{"weights": w, "step": n} for w, n in (("best", 0), ("best", 0), ("last", 7), ("last", 7))]
    for note, value in found.values():
        expected = bias if note["weights"] == "last" else bias - 1
        assert torch.allclose(value, expected.detach(), atol=1e-3)
    (run / "checkpoints" / "best.ckpt").unlink()
    assert main(["export", str(run), "--out", str(tmp_path / "none"), "--weights", "best"]) == 2
    assert "--weights last" in capsys.readouterr().err


class OwnModule(FineTuneModule):
    """A module of one's own."""


@pytest.mark.slow
def test_a_kill_leaves_a_usable_folder_or_none(run, tmp_path, monkeypatch):
    out = tmp_path / "out"
    words = ["export", str(run), "--out", str(out)]
    start = time.monotonic()
    assert main([*words[:-1], str(tmp_path / "first")]) == 0
    took, left = time.monotonic() - start, 0
    for n in range(12):
        child = os.fork()
        if not child:
            os._exit(main(words))
        time.sleep(took * (n + 1) / 12)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        if out.exists():
            left += 1
            check_digests(out)
            load_pipeline(out, "cpu")
            for file in sorted(out.rglob("*"), reverse=True):
                file.unlink() if file.is_file() else file.rmdir()
            out.rmdir()
    assert left < 12
    assert main(words) == 0
    load_pipeline(out, "cpu")
