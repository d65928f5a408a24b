"""Checkpoints of other programs are read, or refused with the class that they name; code in them is never run."""

from __future__ import annotations

import argparse
import pathlib

import pytest
import torch
from omegaconf import OmegaConf

from lvcd.checkpoints.files import open_checkpoint
from lvcd.errors import InputError

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
