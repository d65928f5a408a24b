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
from lvcd.training.run_folder import (
    CHECKPOINT_FOLDER,
    best_checkpoint,
    current_module_config,
    initialize_from,
    load_trained_weights,
)
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
    newest = max((run / CHECKPOINT_FOLDER).iterdir(), key=lambda f: f.stat().st_mtime_ns)
    assert initialize_from(module, run).startswith(f"{newest}: controlnet 294 of 294 tensors, unet ")
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


def test_what_does_not_fit_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="another .*unet"):
        initialize_from(FineTuneModule(toy_networks(seed=1)), run)
    vae = VaeModule({"block_out_channels": [32, 32]}, (16, 16), Optimization())
    with pytest.raises(InputError, match="trained tensors"):
        initialize_from(vae, run)
    wide = FineTuneModule(toy_networks())
    wide.register_parameter("more", torch.nn.Parameter(torch.zeros(1)))
    with pytest.raises(InputError, match="more"):
        initialize_from(FineTuneModule(toy_networks()), saved_by(wide, tmp_path / "wide.ckpt"))


def saved_by(module: FineTuneModule, file: Path) -> Path:
    """Write what Lightning would of a run that has moved every trained weight by one."""
    checkpoint: dict = {"state_dict": {}}
    _ = module.networks.fingerprints
    for p in module.parameters():
        p.data += p.requires_grad
    checkpoint["state_dict"] = module.state_dict()
    module.on_save_checkpoint(checkpoint)
    torch.save(checkpoint, file)
    return file


def test_any_run_begins_from_any_other_of_the_same_networks(tmp_path):
    """The ControlNet first, then all, then the ControlNet again: whose checkpoints keep the U-Net of the run before."""
    first = saved_by(ControlNetModule(toy_networks()), tmp_path / "first.ckpt")
    second = FineTuneModule(toy_networks(), "all")
    start = dict(FineTuneModule(toy_networks()).named_parameters())
    told = initialize_from(second, first)
    assert "controlnet 294 of 294" in told and "unet 0 of" in told and "starting model's" in told
    trained = {name for name, p in ControlNetModule(toy_networks()).named_parameters() if p.requires_grad}
    assert all(torch.equal(p, start[n] + (n in trained)) for n, p in second.named_parameters())
    between = saved_by(second, tmp_path / "second.ckpt")
    third = ControlNetModule(toy_networks())
    told = initialize_from(third, between)
    assert "starting model's" not in told and "not trained here" in told
    now = dict(second.named_parameters())
    assert all(torch.equal(p, now[n]) for n, p in third.named_parameters())
    last = saved_by(third, tmp_path / "third.ckpt")
    exported = ControlNetModule(toy_networks())  # as lvcd export, and a run that goes on, build it
    load_trained_weights(exported, last)
    after = dict(third.named_parameters())
    assert all(torch.equal(p, after[n]) for n, p in exported.named_parameters())
    again: dict = {"state_dict": exported.state_dict()}
    exported.on_save_checkpoint(again)
    assert again["state_dict"].keys() == torch.load(last, weights_only=True)["state_dict"].keys()


def test_another_base_matters_where_weights_are_missing(tmp_path):
    """All of a U-Net stands for itself; its self-attention alone belongs to the U-Net that it was trained in."""
    whole = saved_by(FineTuneModule(toy_networks(), "all"), tmp_path / "whole.ckpt")
    part = saved_by(FineTuneModule(toy_networks(), "self_attention"), tmp_path / "part.ckpt")
    other = toy_networks()
    for p in other.unet.parameters():
        p.data += 1
    module = FineTuneModule(other, "none")
    with pytest.raises(InputError, match="another unet: "):
        initialize_from(module, part)
    initialize_from(module, whole)
    expected = torch.load(whole, weights_only=True)["state_dict"]
    now = dict(module.named_parameters())
    assert all(torch.equal(now[name], x) for name, x in expected.items())


def test_an_ablation_begins_with_the_whole_model(tmp_path):
    """The ControlNet without temporal layers takes what it has of one that has them."""
    whole = saved_by(FineTuneModule(toy_networks(), "all"), tmp_path / "whole.ckpt")
    ablated = toy_networks()
    ablated.controlnet = ablated.controlnet.with_config(temporal=False)
    module = FineTuneModule(ablated, "all")
    told = initialize_from(module, whole)
    assert "starting model's" not in told and not module.taken


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
