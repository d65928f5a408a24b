"""Checkpoints hold what was trained, and the fingerprints of what it was trained from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from lvcd.errors import InputError

BASE = "base"


class WholeFiles(TorchCheckpointIO):
    """A checkpoint is written beside and renamed: under its name it is whole, the one before stays until then.

    Lightning's own writes to the folder for temporary files, and renames only where that is on the same disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f"{path.name}.part")
        with beside.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)


def keep_trained(module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str]) -> None:
    """Leave in a Lightning checkpoint only the weights that learn, and note what they belong to."""
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: state[name] for name in state if name in trained}
    checkpoint[BASE] = dict(base)


def check_fits(module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str]) -> None:
    """InputError: other weights than the module trains, of other shapes, or trained from another base."""
    trained = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    # a strategy with shards has put the weights in place, and taken them out of the checkpoint, before anyone is asked
    found = (
        {name: tuple(x.shape) for name, x in checkpoint["state_dict"].items()}
        if "state_dict" in checkpoint
        else trained
    )
    if missing := sorted(set(trained) ^ set(found)):
        raise InputError(
            f"the checkpoint has {len(found)} trained tensors, this module {len(trained)} (one that differs: "
            f"{missing[0]}): resume with the module= and unet= it was made with"
        )
    if other := [name for name in trained if trained[name] != found[name]]:
        name = other[0]
        raise InputError(
            f"{name} is {found[name]} in the checkpoint and {trained[name]} here: it belongs to another architecture"
        )
    told = checkpoint.get(BASE, {})
    if wrong := sorted(part for part in set(told) | set(base) if told.get(part) != base.get(part)):
        raise InputError(
            f"the checkpoint was trained from another {' and '.join(wrong)}: start from the same model folder as then"
        )
