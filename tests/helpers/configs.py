"""The configuration as the two programs compose it."""

from __future__ import annotations

from omegaconf import DictConfig

from lvcd.cli.hydra_entry import compose_config


def composed(program: str, *overrides: str, hydra: bool = False) -> DictConfig:
    """Return the config of `program`, "train" or "eval"; with `hydra`, Hydra's own settings too."""
    return compose_config(program, overrides, hydra_too=hydra)
