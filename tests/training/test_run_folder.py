"""What a run has left in its folder, which another training begins with, also where an earlier version made it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lvcd.errors import InputError
from lvcd.training import (
    ControlNetModule,
    FineTuneModule,
    Optimization,
    VaeModule,
    networks_from_config,
    networks_from_folder,
)
from lvcd.training.run_folder import CHECKPOINT_FOLDER, best_checkpoint, current_module_config, initialize_from
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
    content = (run / CHECKPOINT_FOLDER / "last.ckpt").read_bytes()
    (folder / "best.ckpt").write_bytes(content)
    (folder / "last.ckpt").write_bytes(content)
    assert best_checkpoint(tmp_path).name == "best.ckpt"
    (folder / "best.ckpt").write_bytes(content[: len(content) // 2])
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


def test_names_of_earlier_versions_are_todays():
    old = {
        "_target_": "lvcd.training.FineTuneModule",
        "unet": "all",
        "lookup": 0.7,
        "gaze": 0.3,
        "optimization": {"_target_": "lvcd.training.Optimization", "lr": 1e-3},
        "networks": {"_target_": "lvcd.training.fresh", "unet": {"block_out_channels": [64, 96]}},
    }
    new = current_module_config(old)
    assert new == {
        "_target_": "lvcd.training.FineTuneModule",
        "unet": "all",
        "reference_only_prob": 0.7,
        "correspondence_weight": 0.3,
        "optimization": {"_target_": "lvcd.training.Optimization", "lr": 1e-3},
        "networks": {"_target_": "lvcd.training.networks_from_config", "unet": {"block_out_channels": [64, 96]}},
    }
    assert current_module_config(new) == new
    folder = current_module_config({"networks": {"_target_": "lvcd.training.load", "folder": "load"}})
    assert folder == {"networks": {"_target_": "lvcd.training.networks_from_folder", "folder": "load"}}
    for kind in (FineTuneModule, networks_from_config, networks_from_folder):
        assert kind.__module__.startswith("lvcd.training.")
