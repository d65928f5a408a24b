"""Damage of a single bit in weights of ours is seen; models appear whole or not at all, readable as other files."""

from __future__ import annotations

import os
import random
import subprocess

import pytest
import torch

from lvcd.checkpoints.digest import DIGEST_FILE, SKIP_DIGEST, check_digests, new_model_folder
from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training import FineTuneModule, networks_from_folder
from lvcd.training.checkpoint import AtomicCheckpointIO
from lvcd.training.run_folder import check_crc, is_complete
from lvcd.weights import BUNDLED
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
