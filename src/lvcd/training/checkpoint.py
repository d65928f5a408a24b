"""Checkpoints: they hold the trained weights, and fingerprints of the model that training started from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from lvcd.errors import InputError

BASE_KEY = "base"
"""Key of a checkpoint under which the fingerprints of the starting model are."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that the file is always complete: the old or the new one.

    Lightning writes to the system's temporary folder, and renames only where that is on the same disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write `path`.part, flush it to the disk and rename it to `path`."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        with part.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)


def keep_trained_weights(module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str]) -> None:
    """Drop the weights that are not trained from a Lightning checkpoint, and add the fingerprints of the base."""
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: state[name] for name in state if name in trained}
    checkpoint[BASE_KEY] = dict(base)


def check_trained_weights(module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str]) -> None:
    """InputError: a checkpoint's weights are not those that the module trains, or were trained from another base."""
    trained = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad}
    # a strategy with shards has put the weights in place, and taken them out of the checkpoint, before this is called
    found = (
        {name: tuple(x.shape) for name, x in checkpoint["state_dict"].items()}
        if "state_dict" in checkpoint
        else trained
    )
    if different := sorted(set(trained) ^ set(found)):
        raise InputError(
            f"the checkpoint has {len(found)} trained tensors, this module {len(trained)} (one that differs: "
            f"{different[0]}): use the module= and module.unet= it was trained with"
        )
    if reshaped := [name for name in trained if trained[name] != found[name]]:
        name = reshaped[0]
        raise InputError(
            f"{name} is {found[name]} in the checkpoint and {trained[name]} here: it belongs to another architecture"
        )
    saved = checkpoint.get(BASE_KEY, {})
    if changed := sorted(part for part in set(saved) | set(base) if saved.get(part) != base.get(part)):
        raise InputError(
            f"the checkpoint was trained from another {' and '.join(changed)}: start from the same model folder"
        )
