"""What cannot run together is refused in one line, before a weight is loaded."""

from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from lvcd.cli import main
from lvcd.cli.hydra_words import suggest_setting
from lvcd.errors import InputError
from lvcd.metrics import paper
from lvcd.training.combinations import SCORES, check_combination, check_machine
from tests.helpers.configs import composed

FSDP = [
    "experiment=mini_cpu", "trainer=fsdp", "module.optimization.muon=null", "module.correspondence_weight=0",
]  # fmt: skip


def settings(*words: str) -> dict:
    return OmegaConf.to_container(composed("train", *words), resolve=True)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["experiment=mini_vae", "trainer=fsdp"], "trainer=ddp4"),
        ([*FSDP, "trainer.precision=16-mixed"], "trainer.precision=bf16-mixed"),
        ([*FSDP, "trainer.gradient_clip_val=1.0"], "trainer.gradient_clip_val=null"),
        ([*FSDP, "module.frozen_half=true"], "module.frozen_half=false"),
        ([*FSDP, "module.compile=true"], "module.compile=false"),
        ([*FSDP, "module.correspondence_weight=0.3"], "module.correspondence_weight=0"),
        (["experiment=mini_cpu", "trainer=fsdp"], "module.optimization.muon=null"),
        (["experiment=mini_cpu", "trainer.strategy=fsdp"], "trainer=fsdp"),
        (["experiment=mini_cpu", "monitor=val/los"], "val/loss"),
        (["experiment=mini_cpu", "monitor=val/fvd"], "val/FVD"),
        (["experiment=mini_vae", "monitor=val/loss"], "val/psnr"),
        (["experiment=mini_cpu", "monitor=val/FVD", "callbacks.scores=null"], "callbacks.scores"),
    ],
)
def test_it_is_refused_and_says_what_to_set(words, advice):
    with pytest.raises(InputError) as refused:
        check_combination(settings(*words))
    assert advice in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "words",
    [
        ["experiment=lvcd_320p"],
        ["experiment=lvcd_320p", "trainer=fsdp"],
        ["experiment=mini"],
        ["experiment=mini_vae"],
        ["experiment=mini_finetune"],
        ["experiment=mini_cpu", "trainer=nodes"],
        ["experiment=mini_cpu", "monitor=val/FVD"],
        ["experiment=mini_cpu", "monitor=val/correspondence"],
        ["experiment=mini_cpu", "monitor=samples/psnr", "monitor_mode=max"],
        ["experiment=mini_cpu", "module._target_=tests.training.test_combinations.Own", "monitor=mine"],
        FSDP,
    ],
)
def test_what_runs_is_not_refused(words):
    check_combination(settings(*words))


@pytest.mark.parametrize("experiment", ["lvcd_320p", "mini", "mini_cpu", "mini_vae", "mini_finetune"])
def test_the_seed_is_that_of_noise_and_clips(experiment):
    config = settings(f"experiment={experiment}", "seed=5")
    assert config["module"]["seed"] == config["data"]["seed"] == 5


class Own:
    """A module of one's own."""


def test_gpus_that_are_not_here(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(InputError, match="trainer=cpu"):
        check_machine(settings("experiment=mini"))
    check_machine(settings("experiment=mini", "trainer=cpu"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    check_machine(settings("experiment=mini"))
    with pytest.raises(InputError, match="trainer.devices=1"):
        check_machine(settings("experiment=mini_cpu", "trainer=ddp4"))


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("train", ["experiment=mini_vae", "trainer=fsdp"], "trainer=ddp4"),
        ("plan", ["experiment=mini_cpu", "trainer=fsdp"], "muon"),
        ("train", ["experiment=mini_cpu", "module.networks.unet.block_out_channels=[4,4,6]"], "multiples of 32"),
        ("plan", ["experiment=mini_cpu", "module.networks.unet.block_out_channels=[4,4,6]"], "multiples of 32"),
        ("train", ["experiment=mini_cpu", "trainer.overfit_batches=1"], "; +trainer.overfit_batches=1 adds one"),
        ("train", ["-m", "experiment=mini_cpu", "sweep=lr,lines"], "sweep"),
        ("train", ["experiment=mini_cpu", "monitor=val/psnr", "callbacks.scores=null"], "val/psnr is not logged"),
    ],
)
def test_one_line_and_nothing_is_made(command, words, message, tmp_path, monkeypatch, capfd):
    def load(*_, **__):
        raise AssertionError("a weight was loaded")

    monkeypatch.setattr("lvcd.training.networks._load_vae", load)
    run = [] if command == "plan" else [f"run_dir={tmp_path / 'run'}"]
    assert main([command, *words, *run]) == 2
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.strip()]
    assert message in line and "Traceback" not in line
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("trainer.max_step", "trainer.max_steps"),
        ("traner.max_steps", "trainer.max_steps"),
        ("trainer.overfit_batches", ""),
        ("sid", ""),
        ("seeds", "seed"),
    ],
)
def test_the_nearest_setting(name, nearest):
    names = ["seed", "trainer", "trainer.max_steps", "trainer.limit_val_batches", "module.seed"]
    found = suggest_setting(name, names)
    assert found == (f"; did you mean {nearest}?" if nearest else found) and bool(found) == bool(nearest)


def test_every_metric_can_choose_a_checkpoint():
    pytest.importorskip("stlpips_pytorch", reason="pip install stlpips_pytorch")
    with_files = {"FID", "LPIPS"}  # whose weights are not here: others stand in
    assert {type(metric).__name__ for metric in paper()} | with_files == set(SCORES)
