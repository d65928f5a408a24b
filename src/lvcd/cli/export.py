"""`lvcd export`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "turn a training run into a model folder for lvcd colorize"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a run of train.py")
    c.add_argument("--out", required=True, type=Path, help="folder of the model")
    c.add_argument("--checkpoint", type=Path, help="of the run (default: its best, else its newest)")


def run(a: argparse.Namespace) -> None:
    config = a.run_folder / ".hydra" / "config.yaml"
    if not config.is_file():
        raise InputError(f"{a.run_folder} is no run of train.py: it has no .hydra/config.yaml")
    if a.out.exists():
        raise InputError(f"{a.out} exists: choose another --out")

    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from lvcd.pipeline import silence_libraries
    from lvcd.training.run_folder import best, restore

    silence_libraries()
    checkpoint = a.checkpoint or best(a.run_folder)
    module = instantiate(OmegaConf.load(config).module, _convert_="all")
    if not hasattr(module, "networks"):
        raise InputError(f"{a.run_folder} trained an autoencoder: train.py has exported it to {a.run_folder / 'model'}")
    restore(module, checkpoint)
    module.export(a.out)
    print(f"{a.out}: the model of {checkpoint}")
