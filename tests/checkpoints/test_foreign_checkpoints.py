"""Checkpoints of other programs are read, or refused with the class that they name; code in them is never run."""

from __future__ import annotations

import argparse
import pathlib

import pytest
import torch
from omegaconf import OmegaConf

from lvcd.checkpoints.files import open_checkpoint, write_safetensors
from lvcd.cli import main
from lvcd.errors import InputError
from tests.helpers.svd import save_svd

WEIGHTS = {"a.weight": torch.ones(2, 3)}


@pytest.mark.parametrize("key", ["state_dict", "module"])
def test_lightning_and_deepspeed(tmp_path, key):
    plain = {"lr": 1e-4, "out": pathlib.PosixPath("/runs/1"), "args": argparse.Namespace(seed=1)}
    torch.save({key: WEIGHTS, "hyper_parameters": plain, "epoch": 3}, tmp_path / "a.ckpt")
    tensors, others = open_checkpoint(tmp_path / "a.ckpt")
    assert torch.equal(tensors["a.weight"].read(), WEIGHTS["a.weight"])
    assert others == ["hyper_parameters", "epoch"]


def test_a_class_is_named_with_the_way_on(tmp_path):
    config = OmegaConf.create({"lr": 1e-4})
    torch.save({"state_dict": WEIGHTS, "hyper_parameters": config}, tmp_path / "a.ckpt")
    with pytest.raises(InputError, match=r"omegaconf.*save_file") as error:
        open_checkpoint(tmp_path / "a.ckpt")
    assert "\n" not in str(error.value)


def test_unknown_tensors_are_listed_and_can_be_left_out(tmp_path, capsys):
    tensors, _ = open_checkpoint(save_svd("file", tmp_path / "svd.safetensors"))
    some = next(iter(tensors.values()))
    write_safetensors(tensors | {"extra.a": some, "extra.b": some, "odd": some}, tmp_path / "more.safetensors")
    words = ["convert", "--svd", str(tmp_path / "more.safetensors"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    message = capsys.readouterr().err
    assert "extra.a, extra.b, odd" in message and "--ignore" in message
    assert main([*words, "--ignore", "extra.", "--ignore", "odd"]) == 0
