"""`lvcd export`: a model folder from a checkpoint of a training run."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "turn a training run into a model folder for lvcd colorize"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a training run")
    c.add_argument("--out", required=True, type=Path, help="model folder to write")
    c.add_argument("--checkpoint", type=Path, help="checkpoint of the run (default: its best, else its newest)")


def run(a: argparse.Namespace) -> None:
    config_file = a.run_folder / ".hydra" / "config.yaml"
    if not config_file.is_file():
        raise InputError(f"{a.run_folder} is not a training run: it has no .hydra/config.yaml")
    if a.out.exists():
        raise InputError(f"{a.out} exists: choose another --out")

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from lvcd.pipeline import silence_libraries
    from lvcd.training.run_folder import best_checkpoint, current_module_config, load_trained_weights

    from .hydra_entry import import_from_current_folder

    import_from_current_folder()
    silence_libraries()
    checkpoint = a.checkpoint or best_checkpoint(a.run_folder)
    config = OmegaConf.to_container(OmegaConf.load(config_file).module, resolve=True)
    assert isinstance(config, dict)
    named = {str(key): value for key, value in config.items()}
    module = instantiate(current_module_config(named), _convert_="all")
    if not hasattr(module, "networks"):
        raise InputError(f"{a.run_folder} trained an autoencoder, which is in {a.run_folder / 'model'} already")
    load_trained_weights(module, checkpoint)
    module.export(a.out)
    print(f"{a.out}: the model of {checkpoint}")
