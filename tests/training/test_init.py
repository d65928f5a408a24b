"""A training that takes its weights from another one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lvcd.errors import InputError
from lvcd.training import ControlNetModule, FineTuneModule, Optimization, VaeModule
from lvcd.training.run_folder import CHECKPOINT_FOLDER, best_checkpoint, initialize_from
from tests.helpers.fitting import fit
from tests.helpers.toys import toy_networks


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    fit(folder / CHECKPOINT_FOLDER, toy_networks(), 4)
    return folder


def saved(run: Path) -> dict:
    return torch.load(run / CHECKPOINT_FOLDER / "last.ckpt", weights_only=True)


def test_it_begins_with_the_average_and_is_of_the_same_base(run, tmp_path):
    module = FineTuneModule(toy_networks())
    assert initialize_from(module, run) == max((run / CHECKPOINT_FOLDER).iterdir(), key=lambda f: f.stat().st_mtime_ns)
    (average,) = [v["average"] for k, v in saved(run)["callbacks"].items() if k.startswith("Ema")]
    now, before = dict(module.named_parameters()), dict(FineTuneModule(toy_networks()).named_parameters())
    assert all(torch.equal(now[name], x) for name, x in average.items())
    assert all(torch.equal(now[name], x) for name, x in before.items() if name not in average)
    next_one: dict = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(next_one)  # what is saved of it goes over the same folder of a model
    assert next_one["base"] == saved(run)["base"] and next_one["state_dict"].keys() == average.keys()


def test_the_best_is_taken_and_a_torn_one_passed_over(run, tmp_path):
    folder = tmp_path / CHECKPOINT_FOLDER
    folder.mkdir()
    whole = (run / CHECKPOINT_FOLDER / "last.ckpt").read_bytes()
    (folder / "best.ckpt").write_bytes(whole)
    (folder / "last.ckpt").write_bytes(whole)
    assert best_checkpoint(tmp_path).name == "best.ckpt"
    (folder / "best.ckpt").write_bytes(whole[: len(whole) // 2])
    assert best_checkpoint(tmp_path).name == "last.ckpt"
    module = FineTuneModule(toy_networks())
    with pytest.raises(InputError, match="best.ckpt"):
        initialize_from(module, folder / "best.ckpt")


def test_what_does_not_fit_is_refused(run):
    with pytest.raises(InputError, match="another controlnet"):
        initialize_from(FineTuneModule(toy_networks(seed=1)), run)
    with pytest.raises(InputError, match="trained tensors"):
        initialize_from(ControlNetModule(toy_networks()), run)
    vae = VaeModule({"block_out_channels": [32, 32]}, (16, 16), Optimization())
    with pytest.raises(InputError, match="trained tensors"):
        initialize_from(vae, run)
