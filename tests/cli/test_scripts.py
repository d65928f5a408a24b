"""The entry points, run as they are: train a toy for a few steps, evaluate it, color with it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from lvcd.cli import main
from lvcd.cli.eval import run_evaluation
from lvcd.cli.train import train
from tests.helpers.configs import composed
from tests.helpers.paths import CONF, ROOT

pytestmark = pytest.mark.slow

SMALL = [
    "data.height=32",
    "data.width=48",
    "data.workers=0",
    "trainer.max_steps=3",
    "trainer.val_check_interval=3",
    "trainer.limit_val_batches=1",
]
QUICK = [*SMALL, "callbacks.scores=null", "callbacks.samples=null"]


@pytest.fixture(scope="module")
def vae(tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("vae")
    return train(composed("train", "experiment=mini_vae", f"run_dir={run}", *SMALL)).model


@pytest.fixture(scope="module")
def model(vae, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("mini")
    return train(composed("train", "experiment=mini_cpu", f"module.networks.vae={vae}", f"run_dir={run}", *QUICK)).model


def test_the_autoencoder_is_scaled_to_unit_variance(vae):
    from lvcd.data.datamodule import VALIDATION_SEED, CartoonClips, pack
    from lvcd.nn.condition import encode_mode
    from lvcd.nn.vae import ColorVAE

    net = ColorVAE.from_pretrained(vae, torch_dtype=torch.float32)
    batch = pack(CartoonClips(4, VALIDATION_SEED, 2, 32, 48, ["shapes"], 24), range(4)).to("cpu")
    with torch.no_grad():
        z = encode_mode(net, batch.frames.flatten(0, 1)) * net.config.scaling_factor
    assert 0.9 < z.std() < 1.1


@pytest.mark.slow
def test_a_trained_model_is_evaluated(model, tmp_path):
    small = ["protocol.clips=1", "protocol.frames=2", "protocol.height=32", "protocol.width=48"]
    row = run_evaluation(composed("eval", f"model={model}", f"out={tmp_path}", *small))
    assert row.n == 1 and row.name == "ours" and row.protocol["name"] == "smoke"
    assert list(tmp_path.glob("sheets/*/*.png"))


def test_a_trained_model_serves_the_command_line(model, tmp_path):
    from tools.demo import show, walk

    frames, lines = walk(ROOT / "data" / "walk")
    assert frames.shape == (24, 144, 256, 3) and lines.shape == (24, 144, 256)
    show("walk", frames[:6], lines[:6], tmp_path, "--model", str(model), "--size", "64x36")
    assert (tmp_path / "walk.mp4").exists() and (tmp_path / "walk.png").exists()
    names = {"--svd": tmp_path / "svd.safetensors", "--lvcd": tmp_path / "lvcd.ckpt", "--out": model}
    assert main(["convert", *[str(w) for pair in names.items() for w in pair], "--to-original"]) == 0
    assert names["--svd"].exists() and names["--lvcd"].exists()


@pytest.mark.slow
def test_a_model_is_trained_on_for_a_while(model, tmp_path, monkeypatch, capsys):
    """As `make demo` does with the bundled one: it begins with its weights, and time may end it before its steps."""
    monkeypatch.setattr("lvcd.training.callbacks.progress.LINE_EVERY_SEC", 0.0)
    more = [
        f"module.networks.folder={model}",
        f"run_dir={tmp_path}",
        "trainer.max_steps=100000",
        "trainer.val_check_interval=50",
    ]
    late = train(composed("train", "experiment=mini_finetune", *QUICK, *more, "trainer.max_time=00:00:00:02")).model
    unets = [load_file(folder / "unet" / "diffusion_pytorch_model.safetensors") for folder in (model, late)]
    moved = [float((a.float() - b.float()).abs().max()) for a, b in zip(*(u.values() for u in unets), strict=True)]
    assert unets[0].keys() == unets[1].keys() and 0 < max(moved) < 0.02
    left = re.findall(r"step \d+/100000 .* (\S+) left", capsys.readouterr().out)
    assert left and set(left) <= {"0:00", "0:01"}


@pytest.mark.slow
def test_the_recipe_of_the_bundled_model_goes_on_and_is_exported(vae, tmp_path):
    """On clips drawn meanwhile, whose settings its checkpoints hold; here on a CPU."""
    small = ["trainer=cpu", "data.window=2", "data.batch_size=1", "data.val_clips=1", "trainer.log_every_n_steps=1"]
    more = [f"module.networks.vae={vae}", f"run_dir={tmp_path}", *QUICK, *small]
    for steps, again in ((1, "null"), (3, "true")):
        more += [f"trainer.max_steps={steps}", f"trainer.val_check_interval={steps}", f"resume={again}"]
        config = composed("train", "experiment=mini", *more)
        assert train(config).score is not None
        write_config(config, tmp_path)
    assert main(["export", str(tmp_path), "--out", str(tmp_path / "exported")]) == 0
    assert (tmp_path / "exported" / "unet" / "config.json").is_file()


def write_config(config, run: Path) -> None:
    """As Hydra does for a run from the command line."""
    (run / ".hydra").mkdir(exist_ok=True)
    OmegaConf.save(config, run / ".hydra" / "config.yaml")


def test_progress_is_shown(vae, tmp_path, capsys):
    train(composed("train", "experiment=mini_vae", f"run_dir={tmp_path}", *SMALL))
    out = capsys.readouterr().out
    assert (
        "765,992 trainable parameters" in out and "step 3/3  train/loss " in out and "clips/s" in out and "left" in out
    )


@pytest.mark.slow
def test_training_lowers_the_loss(vae):
    """The same few clips over and over: whatever the noise, the loss must fall."""
    from hydra.utils import instantiate

    from lvcd.data.datamodule import CartoonClips, pack

    torch.manual_seed(0)
    config = composed("train", "experiment=mini_cpu", f"module.networks.vae={vae}")
    module = instantiate(config.module, _convert_="all")
    batch = pack(CartoonClips(2, 0, 3, 32, 48, ["shapes"], 24), range(2)).to("cpu")
    optimizer = torch.optim.AdamW((p for p in module.parameters() if p.requires_grad), 1e-3)
    losses = []
    for step in range(25):
        loss = module.losses(batch, [2 * (step % 5), 2 * (step % 5) + 1])[0].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_training_clips_and_held_out_clips_never_meet():
    from lvcd.data.datamodule import TEST_SEED, VALIDATION_SEED

    assert VALIDATION_SEED + 100_000 < TEST_SEED < 10_000_000 - 100_000


@pytest.mark.parametrize("experiment", [f.stem for f in (CONF / "train" / "experiment").glob("*.yaml")])
def test_every_experiment_composes(experiment):
    config = composed("train", f"experiment={experiment}")
    assert config.module._target_.startswith("lvcd.training.")


RANKS = ["trainer.devices=2", "trainer.strategy=ddp", "trainer.limit_val_batches=1"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["-m", "seed=1,2"]], ids=["run", "sweep"])
def test_other_ranks_are_started_by_the_same_command(words, tmp_path):
    """By Lightning, from sys.argv: of `lvcd train` in any folder, with configuration of one's own."""
    (tmp_path / "conf" / "experiment").mkdir(parents=True)
    mine = "# @package _global_\ndefaults: [mini_cpu]\nname: mine\n"
    (tmp_path / "conf" / "experiment" / "mine.yaml").write_text(mine)
    command = [
        sys.executable,
        "-m",
        "lvcd.cli",
        "train",
        "--config-dir",
        "conf",
        "experiment=mine",
        *QUICK,
        *RANKS,
        *words,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    runs = ["seed=1", "seed=2"] if "-m" in words else [""]
    assert all((tmp_path / "outputs" / "mine_80p" / run / "model" / "model_index.json").is_file() for run in runs)
    assert done.stdout.count("on 2 x cpu") == len(runs)
