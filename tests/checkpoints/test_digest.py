"""Damage of a single bit in weights of ours is seen; models appear whole or not at all, readable as other files."""

from __future__ import annotations

import os
import random
import shutil
import subprocess

import pytest
import torch
from omegaconf import OmegaConf

from lvcd.checkpoints.digest import DIGEST_FILE, SKIP_DIGEST, check_digests, new_model_folder
from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training import FineTuneModule, networks_from_config, networks_from_folder
from lvcd.training.checkpoint import AtomicCheckpointIO
from lvcd.training.run_folder import (
    check_crc,
    checkpoint_to_resume,
    initialize_from,
    is_complete,
    load_trained_weights,
)
from lvcd.weights import BUNDLED
from tests.helpers.configs import composed
from tests.helpers.toys import toy_networks


def flip(file, bit: int) -> None:
    data = bytearray(file.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    file.write_bytes(data)


@pytest.fixture
def exported(tmp_path):
    old = os.umask(0o022)
    FineTuneModule(toy_networks()).export(tmp_path / "model")
    os.umask(old)
    return tmp_path / "model"


@pytest.mark.slow
def test_one_bit_of_a_model(exported, monkeypatch):
    subprocess.run(["sha256sum", "--check", "--quiet", DIGEST_FILE], cwd=exported, check=True)
    draw = random.Random(0)
    for _ in range(20):
        file = draw.choice(sorted(exported.rglob("*.safetensors")))
        size = file.stat().st_size
        bit = draw.randrange(size // 2 * 8, size * 8)  # within the values
        flip(file, bit)
        for load in (load_pipeline, networks_from_folder):
            with pytest.raises(InputError, match=f"{file.name} is damaged"):
                load(exported)
        flip(file, bit)
    flip(file, bit)
    monkeypatch.setenv(SKIP_DIGEST, "1")
    load_pipeline(exported, "cpu")


def test_one_bit_of_an_autoencoder(tmp_path, monkeypatch):
    """That training and evaluation load by itself."""
    vae = tmp_path / "vae"
    shutil.copytree(BUNDLED["mini_vae"], vae)
    (file,) = vae.glob("*.safetensors")
    flip(file, file.stat().st_size * 8 - 100)
    config = composed("train", "experiment=mini_cpu", f"module.networks.vae={vae}").module.networks
    settings = {name: value for name, value in OmegaConf.to_container(config, resolve=True).items() if name[0] != "_"}
    with pytest.raises(InputError, match=f"{file.name} is damaged"):
        networks_from_config(**settings)
    monkeypatch.setenv(SKIP_DIGEST, "1")
    networks_from_config(**settings)


@pytest.mark.parametrize("how", ["resume", "init_from", "export"])
def test_one_bit_of_a_checkpoint_wherever_it_is_read(how, tmp_path):
    file, module = tmp_path / "best.ckpt", FineTuneModule(toy_networks(), "self_attention")
    saved = {"state_dict": module.state_dict(), "global_step": 1}
    module.on_save_checkpoint(saved)
    AtomicCheckpointIO().save_checkpoint(saved, file)
    flip(file, file.stat().st_size // 2 * 8)
    read = {
        "resume": lambda: checkpoint_to_resume(tmp_path, str(file)),
        "init_from": lambda: initialize_from(module, file),
        "export": lambda: load_trained_weights(module, file),
    }
    with pytest.raises(InputError, match="best.ckpt is damaged"):
        read[how]()


def test_one_bit_of_a_checkpoint(tmp_path):
    file = tmp_path / "a.ckpt"
    AtomicCheckpointIO().save_checkpoint({"state_dict": {str(i): torch.randn(500) for i in range(30)}}, file)
    check_crc(file)
    draw, values = random.Random(0), range(8 * 10_000, 8 * 40_000)
    for _ in range(60):
        bit = draw.choice(values)
        flip(file, bit)
        if not is_complete(file):
            with pytest.raises(InputError, match="is damaged"):
                check_crc(file)
        else:  # in the padding between tensors, where nothing is
            assert all(torch.isfinite(v).all() for v in torch.load(file)["state_dict"].values())
        flip(file, bit)
    assert is_complete(file)


def test_bundled_models_have_digests():
    for folder in BUNDLED.values():
        assert (folder / DIGEST_FILE).is_file()
        check_digests(folder)


def test_others_can_read_the_files(exported):
    assert {file.stat().st_mode & 0o777 for file in exported.rglob("*") if file.is_file()} == {0o644}


def test_a_model_is_replaced_whole_and_another_folder_never(exported, tmp_path):
    before = (exported / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    with pytest.raises(KeyboardInterrupt), new_model_folder(exported) as partial:
        (partial / "half").touch()
        raise KeyboardInterrupt
    assert (exported / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == before
    FineTuneModule(toy_networks(seed=1)).export(exported)
    assert (exported / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() != before
    assert [p.name for p in exported.parent.iterdir()] == ["model"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(InputError, match="no model"):
        FineTuneModule(toy_networks()).export(tmp_path / "mine")
