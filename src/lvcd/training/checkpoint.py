"""Checkpoints: they hold the trained weights, and fingerprints of the model that training started from."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import nn

from lvcd.errors import InputError, is_out_of_memory
from lvcd.io.disk import writing

BASE_KEY = "base"
"""Key of a checkpoint under which the fingerprints of the starting model are."""
PART = ".part"
"""End of the name of a checkpoint that is being written; a kill leaves it, and the next start of the run removes it."""
TRAINING_FILE = "training.json"
"""File in an exported model's folder that says which weights of its run it holds: `weights` (last, best, or the name of
a checkpoint) and `step`, the optimizer step after which they were saved."""
TAKEN_KEY = "taken"
"""Key of a checkpoint under which the names of weights are that are not trained, but differ from the starting model's:
they were taken from another run (init_from)."""
RUN_KEYS = {"state_dict", "global_step", "epoch", "loops", "optimizer_states", "lr_schedulers", "callbacks"}
"""What Lightning needs of a checkpoint to go on."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint beside its place and renames it, so that the file is always complete: the old or the new one.

    Lightning writes to the system's temporary folder, and renames only where that is on the same disk.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a hidden file beside `path`, with a name of its own, flush it to the disk and rename it to `path`.

        InputError: the disk is full, read-only or gone. What was at `path` is untouched.
        """
        path = Path(path)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}{PART}")
        try:
            with writing(path, "resume the run"):
                path.parent.mkdir(parents=True, exist_ok=True)
                with part.open("wb") as file:
                    torch.save(checkpoint, file)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    def load_checkpoint(self, path: Any, *args: Any, **settings: Any) -> dict[str, Any]:
        """Read a checkpoint of a training run. InputError: it is damaged, holds code, or is another program's."""
        try:
            checkpoint = super().load_checkpoint(path, *args, **settings)
        except Exception as error:  # torch raises nearly anything on a foreign or damaged file
            if is_out_of_memory(error):
                raise
            raise InputError(f"{path} is damaged, or no checkpoint of lvcd train: give another of the run") from error
        if not isinstance(checkpoint, dict) or not checkpoint.keys() >= RUN_KEYS:
            raise InputError(f"{path} has weights at most, and not where a run stopped: begin with them, by init_from=")
        return checkpoint


def keep_trained_weights(
    module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str], taken: Collection[str] = ()
) -> None:
    """Drop the weights that are not trained from a Lightning checkpoint, and add the fingerprints of the base.

    taken: names of weights that are kept although they are not trained, see TAKEN_KEY.
    """
    kept = {name for name, p in module.named_parameters() if p.requires_grad} | set(taken)
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: state[name] for name in state if name in kept}
    checkpoint[BASE_KEY] = dict(base)
    if taken:
        checkpoint[TAKEN_KEY] = sorted(taken)


def check_trained_weights(module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str]) -> list[str]:
    """Return the names of the weights that a checkpoint holds besides the trained ones, see TAKEN_KEY.

    InputError: a checkpoint's weights are not those that the module trains, or were trained from another base.
    """
    taken = _taken(checkpoint)
    kept = {name: tuple(p.shape) for name, p in module.named_parameters() if p.requires_grad or name in taken}
    # a strategy with shards has put the weights in place, and taken them out of the checkpoint, before this is called
    found = (
        {name: tuple(x.shape) for name, x in checkpoint["state_dict"].items()} if "state_dict" in checkpoint else kept
    )
    if different := sorted(set(kept) ^ set(found)):
        raise InputError(
            f"the checkpoint has {len(found)} trained tensors, this module {len(kept)} (one that differs: "
            f"{different[0]}): use the module= and module.unet= it was trained with, or begin from it by init_from="
        )
    _check_shapes(kept, found)
    _check_base(set(base) | set(checkpoint.get(BASE_KEY, {})), checkpoint, base)
    return taken


def check_taken_weights(
    module: nn.Module, checkpoint: dict[str, Any], base: dict[str, str], effective: Collection[str]
) -> list[str]:
    """Return the names of the weights that the module takes from a checkpoint of another run and does not train.

    base       fingerprints of the starting model: `vae`, `image_encoder`, and `unet` and `controlnet`, or `recipe`
    effective  names of all weights that change what the networks compute. Where the checkpoint has all of a network,
               it does not matter which base that was trained from
    InputError: the run had other networks or encoders, or lacks weights and was trained from another base.
    """
    shapes = {name: tuple(p.shape) for name, p in module.named_parameters()}
    found = {name: tuple(x.shape) for name, x in checkpoint["state_dict"].items()}
    if unknown := sorted(set(found) - set(shapes)):
        raise InputError(f"the checkpoint has {unknown[0]}, and these networks do not: use those it was trained with")
    _check_shapes(found, shapes)
    missing = {name.partition(".")[0] for name in effective if name not in found}
    _check_base({"vae", "image_encoder", *missing, *(["recipe"] if missing else [])}, checkpoint, base)
    trained = {name for name, p in module.named_parameters() if p.requires_grad}
    return sorted(set(found) - trained)


def saved_weights(checkpoint: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Return a checkpoint's weights by name: of those that have a moving average (Ema), the average."""
    states = checkpoint.get("callbacks", {}).values()
    averages = [state["average"] for state in states if isinstance(state, dict) and "average" in state]
    return {**checkpoint["state_dict"], **(averages[0] if averages else {})}


def _taken(checkpoint: dict[str, Any]) -> list[str]:
    return [str(name) for name in checkpoint.get(TAKEN_KEY, ())]


def _check_shapes(wanted: dict[str, tuple[int, ...]], found: dict[str, tuple[int, ...]]) -> None:
    if reshaped := [name for name in wanted if wanted[name] != found[name]]:
        name = reshaped[0]
        raise InputError(
            f"{name} is {found[name]} in the checkpoint and {wanted[name]} here: it belongs to another architecture"
        )


def _check_base(parts: set[str], checkpoint: dict[str, Any], base: dict[str, str]) -> None:
    saved = checkpoint.get(BASE_KEY, {})
    if changed := sorted(part for part in parts if saved.get(part) != base.get(part)):
        raise InputError(
            f"the checkpoint was trained from another {' and '.join(changed)}: start from the same model folder"
        )
