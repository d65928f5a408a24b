"""conf/ as the two programs compose it."""

from __future__ import annotations

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from tests.helpers.paths import CONF


def composed(program: str, *overrides: str, hydra: bool = False) -> DictConfig:
    """Return the config of `program`, "train" or "eval"; with `hydra`, Hydra's own settings too."""
    with initialize_config_dir(str(CONF / program), version_base="1.3"):
        return compose(program, list(overrides), return_hydra_config=hydra)
