"""Training low-rank adapters: they alone learn, and are saved, resumed, averaged, merged and exported."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from lvcd.checkpoints.adapters import read_adapter
from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training import FineTuneModule, networks_from_config, networks_from_folder
from lvcd.training.run_folder import load_trained_weights
from tests.helpers.configs import composed
from tests.helpers.fitting import clips, fit
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING
from tests.helpers.toys import toy_networks
from tests.helpers.two_ranks import train


@pytest.mark.parametrize("targets", ["self_attention", "attention", "transformers", "all"])
def test_adapters_learn_and_nothing_else(targets):
    before = FineTuneModule(toy_networks()).losses(clips(1), [1])[0].item()
    module = FineTuneModule(toy_networks(), "lora", lora={"rank": 2, "targets": targets})
    loss = module.losses(clips(1), [1])[0].mean()
    assert loss.item() == pytest.approx(before, rel=1e-6)  # at first they add nothing
    loss.backward()
    with_gradient = {name for name, p in module.named_parameters() if p.grad is not None}
    assert with_gradient == {name for names in module.trainable.values() for name in names}
    assert all(".lora_A." in name or ".lora_B." in name for name in with_gradient)
    assert module.trainable["unet"] and module.trainable["controlnet"] and module.is_adapter
    layers = {name.rpartition(".lora_")[0] for name in with_gradient}
    assert all(".attn1." in name for name in layers) is (targets == "self_attention")
    assert any(".ff." in name for name in layers) is (targets in ("transformers", "all"))
    assert any("stem." in name for name in layers) is (targets == "all")


def test_the_base_is_known_under_its_adapters():
    module, plain = FineTuneModule(toy_networks(), "lora"), toy_networks()
    assert module.networks.fingerprints == plain.fingerprints
    assert fingerprint(module.unet) == fingerprint(plain.unet)


@pytest.mark.parametrize(
    ("unet", "controlnet", "trained"),
    [("lora", "none", {"unet"}), ("none", "lora", {"controlnet"}), ("none", "all", {"controlnet"})],
)
def test_each_network_is_chosen(unet, controlnet, trained):
    module = FineTuneModule(toy_networks(), unet, controlnet=controlnet)
    assert {name for name, names in module.trainable.items() if names} == trained
    assert module.is_adapter is (controlnet != "all")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unet": "none", "controlnet": "none"}, "nothing"),
        ({"controlnet": "some"}, "choose"),
        ({"lora": {"rank": 0}}, "rank"),
        ({"lora": {"alpha": -1}}, "alpha"),
        ({"lora": {"targets": "attn"}}, "targets"),
        ({"lora": {"dropout": 1}}, "dropout"),
        ({"lora": {"r": 4}}, "give rank"),
    ],
)
def test_what_cannot_be_is_one_line(settings, message):
    with pytest.raises(InputError, match=message):
        FineTuneModule(toy_networks(), **{"unet": "lora", **settings})


def test_new_networks_have_nothing_to_adapt():
    config = composed("train", "module=mini").module.networks
    networks = networks_from_config(**{k: v for k, v in config.items() if k != "_target_"}, weights=False)
    with pytest.raises(InputError, match="folder"):
        FineTuneModule(networks, "lora")


# --- runs -------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, fit(folder, toy_networks(), 4, unet="lora", lora={"rank": 2})


def test_a_checkpoint_holds_the_adapters_and_the_base_they_are_for(run):
    folder, module = run
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    trained = {name for names in module.trainable.values() for name in names}
    assert set(checkpoint["state_dict"]) == trained and set(checkpoint["base"]) >= {"unet", "controlnet"}
    (average,) = [v["average"] for k, v in checkpoint["callbacks"].items() if k.startswith("Ema")]
    assert set(average) == trained
    (state,) = checkpoint["optimizer_states"]
    assert len(state["state"]) == len(trained)


def test_interrupted_is_uninterrupted(run, tmp_path):
    settings = {"unet": "lora", "lora": {"rank": 2}}
    uninterrupted = fit(tmp_path / "uninterrupted", toy_networks(), 6, **settings)
    going_on = fit(tmp_path / "rest", toy_networks(), 6, resume=run[0] / "last.ckpt", **settings)
    a, b = dict(uninterrupted.named_parameters()), dict(going_on.named_parameters())
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("frozen_half", [False, True])
def test_mixed_precision_trains_adapters_in_float32(tmp_path, frozen_half):
    module = fit(tmp_path, toy_networks(), 1, unet="lora", precision="bf16-mixed", frozen_half=frozen_half)
    dtypes = {p.dtype for p in module.parameters() if p.requires_grad}
    assert dtypes == {torch.float32}
    assert any(p.dtype == torch.bfloat16 for p in module.parameters()) is frozen_half
    assert any(p.abs().max() > 0 for name, p in module.named_parameters() if ".lora_B." in name)


def test_another_base_and_another_rank_are_refused(run, tmp_path):
    checkpoint = torch.load(run[0] / "last.ckpt", weights_only=True)
    with pytest.raises(InputError, match="trained from another"):
        FineTuneModule(toy_networks(seed=1), "lora", lora={"rank": 2}).on_load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="another architecture"):
        FineTuneModule(toy_networks(), "lora", lora={"rank": 3}).on_load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="trained tensors"):
        FineTuneModule(toy_networks(), "self_attention").on_load_checkpoint(checkpoint)
    with pytest.raises(InputError, match="not"):  # nor does a run of whole weights begin with it
        FineTuneModule(toy_networks(), "self_attention").take_weights(checkpoint)


def test_the_model_has_the_adapters_in_its_weights(run, model_folder, tmp_path):
    """Exported as a model and as an adapter, a run paints the same."""
    settings = {"unet": "lora", "lora": {"rank": 2}}
    module = FineTuneModule(networks_from_folder(model_folder), **settings)
    for name, p in module.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(p, std=0.05)
    module.export_adapter(tmp_path / "adapter", {"weights": "last", "step": 1})
    module.export(tmp_path / "model", {"weights": "last", "step": 1})
    merged = load_pipeline(tmp_path / "model", "cpu")
    added = load_pipeline(model_folder, "cpu", adapters=[(tmp_path / "adapter", 1.0)])
    base = load_pipeline(model_folder, "cpu")
    for name in ("unet", "controlnet"):
        theirs, plain = getattr(added, name).state_dict(), getattr(base, name).state_dict()
        for key, x in getattr(merged, name).state_dict().items():
            torch.testing.assert_close(x, theirs[key], rtol=1e-3, atol=1e-4)  # the model is in half precision
        assert any(not torch.equal(x, plain[key]) for key, x in theirs.items())
    assert json.loads((tmp_path / "adapter" / "training.json").read_text())["step"] == 1


def test_a_run_that_trained_more_has_no_adapter_to_export(tmp_path):
    with pytest.raises(InputError, match="more than adapters"):
        FineTuneModule(toy_networks(), "lora", controlnet="all").export_adapter(tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


@pytest.mark.slow
def test_two_ranks_train_what_one_does(tmp_path):
    """With sharded weights; DDP asks no more of adapters than of any weights (test_ddp.py)."""
    train(1, 2, str(tmp_path / "1.pt"), "ddp", "lora")
    command = [sys.executable, "-m", "tests.helpers.two_ranks", "2", "1", str(tmp_path / "2.pt"), "fsdp", "lora"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stderr[-2000:]
    one, two = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in "12")
    assert one["gradients"].keys() == two["gradients"].keys() and all(".lora_" in n for n in one["gradients"])
    for name, gradient in one["gradients"].items():
        torch.testing.assert_close(two["gradients"][name], gradient, rtol=1e-4, atol=1e-6)
    frozen = [name for name in one["after"] if ".lora_" not in name]
    assert all(torch.equal(two["after"][name], one["before"][name]) for name in frozen)
    module = FineTuneModule(toy_networks(), "lora")
    load_trained_weights(module, tmp_path / "2.pt.ckpt")
    module.export_adapter(tmp_path / "adapter")
    assert read_adapter(tmp_path / "adapter").base["unet"] == toy_networks().fingerprints["unet"]
