"""Two processes with half the batch train what one trains with the whole: with copies of the weights, or shards."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from lightning.pytorch.strategies import ModelParallelStrategy
from PIL import Image
from safetensors.torch import load_file

from lvcd.training import AtomicCheckpointIO
from tests.helpers.configs import composed
from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING
from tests.helpers.two_ranks import train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    train(1, 2, str(folder / "1ddp.pt"))
    for name, kind in (("2ddp.pt", "ddp"), ("killed", "killed"), ("2fsdp.pt", "fsdp")):
        command = [sys.executable, "-m", "tests.helpers.two_ranks", "2", "1", str(folder / name), kind]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
        assert (done.returncode == 0) == (kind != "killed"), done.stderr[-2000:]
    return folder


@pytest.fixture(scope="module", params=["ddp", "fsdp"])
def pair(request, runs):
    return [torch.load(runs / f"{name}.pt", weights_only=True) for name in ("1ddp", f"2{request.param}")]


def test_the_gradients_are_the_same(pair):
    one, two = (run["gradients"] for run in pair)
    assert one.keys() == two.keys() and len(one) > 100
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-4, atol=1e-6)


def test_the_weights_are_the_same(pair):
    one, two = pair
    moved = torch.cat([(one["after"][n] - one["before"][n]).flatten() for n in one["gradients"]])
    apart = torch.cat([(one["after"][n] - two["after"][n]).flatten() for n in one["gradients"]])
    gradients = torch.cat([g.flatten() for g in one["gradients"].values()])
    assert moved.abs().max() > 1e-4  # two steps of AdamW
    # AdamW divides a gradient by its size: one that is nothing but rounding becomes a whole step, so such are left out
    sure = gradients.abs() > 1e-5
    assert sure.float().mean() > 0.5
    assert apart[sure].abs().max() < 1e-6 and apart.square().mean().sqrt() < 1e-6


def test_a_checkpoint_of_shards_is_that_of_any_run(runs):
    """Whole weights under their names, so that one process goes on with it, begins from it and exports it."""
    from lvcd.training import FineTuneModule
    from lvcd.training.run_folder import load_trained_weights
    from tests.helpers.toys import toy_networks

    module = FineTuneModule(toy_networks(), "all")
    load_trained_weights(module, runs / "2fsdp.pt.ckpt")
    after = torch.load(runs / "2fsdp.pt", weights_only=True)["after"]
    assert all(torch.equal(p, after[name]) for name, p in module.named_parameters())
    saved = torch.load(runs / "2fsdp.pt.ckpt", weights_only=True)
    assert len(saved["optimizer_states"][0]["state"]) == len(saved["state_dict"])


def test_stopped_and_killed_is_uninterrupted(runs):
    """Shards stopped by SIGTERM at step 1 and killed in step 2: who goes on has every bit of a run never stopped."""
    assert torch.load(runs / "killed.run" / "last.ckpt", weights_only=True)["global_step"] == 1
    two = torch.load(runs / "2fsdp.pt", weights_only=True)
    assert all(torch.equal(p, two["rested"][name]) for name, p in two["after"].items())


def test_the_average_of_shards_is_exported(runs):
    """The module ends with the average of both steps, which a checkpoint holds whole and a model in half precision."""
    two = torch.load(runs / "2fsdp.pt", weights_only=True)
    saved = torch.load(runs / "2fsdp.pt.ckpt", weights_only=True)["callbacks"]["Ema"]
    assert saved["steps"] == 2
    assert all(torch.equal(x, two["after"][name]) for name, x in saved["average"].items())
    for network in ("unet", "controlnet"):
        weights = load_file(runs / "2fsdp.pt.model" / network / "diffusion_pytorch_model.safetensors")
        assert all(torch.equal(x, two["after"][f"{network}.{name}"].half()) for name, x in weights.items())


def test_samples_of_shards_are_those_of_one(runs):
    one, two = (np.asarray(Image.open(runs / f"{run}.pt.run" / "step-00000002-0.png")) for run in ("1ddp", "2fsdp"))
    assert one.std() > 5 and np.abs(one.astype(int) - two).max() <= 1  # rounding to bytes


def test_a_checkpoint_of_shards_that_is_torn_leaves_nothing(runs):
    """The test above reads the one before it."""
    assert not list(runs.glob(".*.part"))


@pytest.mark.parametrize("experiment", ["experiment=lvcd_320p", "experiment=mini_cpu", "callbacks=ema"])
def test_fsdp_brings_what_it_requires_whatever_the_experiment(experiment):
    """Half the precision of one, the average of another; what a person adds still wins."""
    words = [experiment, "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1"]
    config = composed("train", *words)
    assert (config.trainer.precision, config.trainer.gradient_clip_val) == ("bf16-mixed", None)
    assert not config.module.frozen_half
    assert all(config.callbacks[name] for name in ("samples", "scores"))
    assert isinstance(instantiate(config.trainer, logger=False).strategy, ModelParallelStrategy)
    assert composed("train", *words, "trainer.precision=32-true").trainer.precision == "32-true"


def test_the_configured_trainer_of_shards_writes_so():
    config = composed("train", "trainer=fsdp", "trainer.accelerator=cpu", "trainer.devices=1").trainer
    strategy = instantiate(config, logger=False).strategy
    assert isinstance(strategy, ModelParallelStrategy) and isinstance(strategy.checkpoint_io, AtomicCheckpointIO)
    assert not config.strategy.save_distributed_checkpoint
