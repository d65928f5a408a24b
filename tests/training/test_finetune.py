"""What is trained, how it is saved, and that a clip's loss depends on nothing but the clip and its seed."""

from __future__ import annotations

import dataclasses
import inspect
import json

import pytest
import torch
from hydra.utils import instantiate

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.training import ControlNetModule, FineTuneModule, Optimization, networks_from_folder
from lvcd.training.finetune import derive_seed
from tests.helpers.configs import composed
from tests.helpers.fitting import clips, fit, rows_of
from tests.helpers.toys import toy_networks

# --- what is trained --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["none", "self_attention", "all"])
def test_what_learns_gets_a_gradient_and_nothing_else(which):
    module = FineTuneModule(toy_networks(), which)
    module.losses(clips(1), [1])[0].mean().backward()
    parameters = dict(module.named_parameters())
    trained = {name for names in module.trainable.values() for name in names}
    assert trained == {name for name, p in parameters.items() if p.grad is not None}
    assert trained == {name for name, p in parameters.items() if p.requires_grad}
    assert {name.split(".")[0] for name in trained} == ({"controlnet"} if which == "none" else {"controlnet", "unet"})
    if which == "self_attention":
        assert all(".attn1." in name for name in module.trainable["unet"])
        blocks = [n for n, _ in module.unet.named_modules() if n.endswith(".attn1")]
        assert len(module.trainable["unet"]) == 5 * len(blocks) and any("temporal" in name for name in blocks)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"frozen_half": True}, "frozen_half=false"), ({"optimization": Optimization(muon=2.0)}, "muon=null")],
)
def test_what_shards_cannot_do_is_refused(settings, message, monkeypatch):
    monkeypatch.setattr(FineTuneModule, "device_mesh", property(lambda self: {"data_parallel": None}))
    with pytest.raises(InputError, match=message):
        FineTuneModule(toy_networks(), "all", **{"frozen_half": False, **settings}).configure_model()


def test_full_size_trains_the_160_tensors_of_the_original():
    """The original's count (method, section 9), on the real architecture without its weights."""
    from lvcd.nn.controlnet import SketchControlNet
    from lvcd.nn.unet import ColorUNet
    from lvcd.training.trainable import select_trainable

    with torch.device("meta"):
        unet = ColorUNet(in_channels=8, num_attention_heads=(5, 10, 20, 20))
        controlnet = SketchControlNet()
    assert len(select_trainable(unet, controlnet, "self_attention")["unet"]) == 160


def test_unknown_choices_are_refused():
    with pytest.raises(InputError, match="self_attention"):
        FineTuneModule(toy_networks(), "attention")
    with pytest.raises(InputError, match="dropout"):
        FineTuneModule(toy_networks(), condition_dropout=1.0)
    with pytest.raises(InputError, match="learning rate"):
        Optimization(lr=0)


@pytest.mark.parametrize(
    ("name", "kind"), [("controlnet", ControlNetModule), ("finetune", FineTuneModule), ("lora", FineTuneModule)]
)
def test_each_module_has_a_configuration_with_all_its_settings(name, kind, model_folder):
    config = composed("train", f"module={name}", f"module.networks.folder={model_folder}").module
    settings = set(inspect.signature(FineTuneModule).parameters)
    settings -= {"unet"} if kind is ControlNetModule else set()
    assert set(config) - {"_target_"} == settings
    assert set(config.optimization) - {"_target_"} == {field.name for field in dataclasses.fields(Optimization)}
    module = instantiate(config, _convert_="all")
    assert type(module) is kind and bool(module.trainable["unet"]) is (name != "controlnet")


def test_the_paper_trains_self_attention():
    assert composed("train", "module=lvcd").module.unet == "self_attention"


# --- the loss ---------------------------------------------------------------------------------------------------------


def test_a_clip_has_its_loss_whatever_its_batch():
    module, batch = FineTuneModule(toy_networks()), clips(3)
    together, sigma, _ = module.losses(batch, [7, 8, 9])
    for i in range(3):
        alone, s, _ = module.losses(rows_of(batch, i), [7 + i])
        assert alone.item() == pytest.approx(together[i].item(), rel=1e-5) and s.item() == sigma[i].item()


def test_latents_stand_for_pixels():
    module, batch = FineTuneModule(toy_networks()), clips(2)
    latents, condition = module.encode(batch)
    encoded = Batch(batch.sketches, batch.fps, latents=latents, tokens=condition.token)
    torch.testing.assert_close(module.losses(encoded, [1, 2])[0], module.losses(batch, [1, 2])[0])


def test_checkpointing_changes_no_gradient():
    def gradients(**settings):
        module = FineTuneModule(toy_networks(), "all", **settings).train()
        module.losses(clips(1), [3])[0].mean().backward()
        return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}

    plain, saving = gradients(), gradients(gradient_checkpointing=True)
    assert plain.keys() == saving.keys()
    for name in plain:
        torch.testing.assert_close(saving[name], plain[name], rtol=1e-5, atol=1e-7)


def test_conditions_are_dropped_for_their_share():
    module, batch = FineTuneModule(toy_networks(), condition_dropout=0.5), clips(1)
    kept = module.losses(batch, [0])[0].item()
    same = [module.losses(batch, [s], 0.5)[0].item() == module.losses(batch, [s])[0].item() for s in range(12)]
    assert 2 <= sum(same) <= 10 and kept == module.losses(batch, [0])[0].item()


def test_seeds_differ():
    seen = {derive_seed(a, b, c) for a in range(5) for b in range(5) for c in range(5)}
    assert len(seen) == 125 and max(seen) < 2**63


# --- runs and checkpoints ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    return folder, fit(folder, toy_networks(), 4)


def test_a_checkpoint_holds_what_was_trained(run):
    folder, module = run
    checkpoint = torch.load(folder / "last.ckpt", weights_only=True)
    trained = {name for names in module.trainable.values() for name in names}
    assert set(checkpoint["state_dict"]) == trained
    assert set(checkpoint["base"]) == {"vae", "image_encoder", "unet", "controlnet"}
    (average,) = [v["average"] for k, v in checkpoint["callbacks"].items() if k.startswith("Ema")]
    assert set(average) == trained
    assert not any("vae" in name or "image_encoder" in name for name, _ in module.named_parameters())
    # what is exported is the average, and it is another than the last weights
    now = dict(module.named_parameters())
    assert all(torch.equal(now[n], average[n]) for n in trained)
    assert not all(torch.equal(checkpoint["state_dict"][n], average[n]) for n in trained)


def test_interrupted_is_uninterrupted(run, tmp_path):
    uninterrupted, (folder, _) = fit(tmp_path / "uninterrupted", toy_networks(), 6), run
    going_on = fit(tmp_path / "rest", toy_networks(), 6, resume=folder / "last.ckpt")
    a, b = dict(uninterrupted.named_parameters()), dict(going_on.named_parameters())
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_another_base_is_refused(run, tmp_path):
    with pytest.raises(InputError, match="trained from another"):
        fit(tmp_path, toy_networks(seed=1), 6, resume=run[0] / "last.ckpt")


def test_other_weights_are_refused(run):
    checkpoint = torch.load(run[0] / "last.ckpt", weights_only=True)
    with pytest.raises(InputError, match="trained tensors"):
        ControlNetModule(toy_networks()).on_load_checkpoint(checkpoint)
    name = next(iter(checkpoint["state_dict"]))
    checkpoint["state_dict"][name] = torch.zeros(1)
    with pytest.raises(InputError, match="another architecture"):
        FineTuneModule(toy_networks()).on_load_checkpoint(checkpoint)


def test_losses_are_logged_by_sigma(tmp_path):
    from lightning.pytorch.loggers import CSVLogger

    fit(tmp_path, toy_networks(), 4, logger=CSVLogger(tmp_path))
    (file,) = tmp_path.rglob("metrics.csv")
    header = file.read_text().splitlines()[0].split(",")
    assert any(column.startswith("sigma/") for column in header)


# --- where the networks come from -------------------------------------------------------------------------------------


def test_a_model_folder_is_loaded_whole(model_folder):
    networks = networks_from_folder(model_folder)
    settings = json.loads((model_folder / "model_index.json").read_text())
    assert networks.settings["window"] == settings["window"] and networks.recipe is None
    assert networks.fingerprints == networks_from_folder(model_folder).fingerprints


def test_svd_without_a_sketch_branch_gets_a_silent_one(model_folder, tmp_path):
    import shutil

    shutil.copytree(model_folder, tmp_path / "svd", ignore=shutil.ignore_patterns("controlnet", "model_index.json"))
    networks = networks_from_folder(tmp_path / "svd")
    assert all(not conv.weight.any() for conv in networks.controlnet.zero_convs)
    mine, theirs = networks.controlnet.state_dict(), networks.unet.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine if name in theirs)


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(InputError, match="has no unet"):
        networks_from_folder(tmp_path)
