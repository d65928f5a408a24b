"""`lvcd plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "tell what a training run needs, and which cards it fits, before any weight is loaded"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = (
        "Parameters, memory per GPU and work of the run that `python train.py` with the same words would start. "
        "For the checkout's folder: it reads conf/."
    )
    c.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="as for train.py, like experiment=lvcd_320p")
    c.add_argument("--card", help="24, '24 GiB', 'RTX 4090', A6000, H100, ... (default: 24, 48 and 80 GiB)")


def run(a: argparse.Namespace) -> None:
    folder = Path("conf/train")
    if not (folder / "train.yaml").is_file():
        raise InputError("there is no conf/train.yaml here: run lvcd plan in the folder that train.py is in")

    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from lvcd.pipeline import quiet
    from lvcd.training.plan import plan
    from lvcd.training.plan.fit_report import card, text

    from .hydra_entry import check_overrides

    cards = card(a.card)
    check_overrides("lvcd plan", "train", folder, a.overrides)
    quiet()
    with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
        composed = compose("train", a.overrides)
    try:
        config = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{str(error).splitlines()[0]}: give what is missing") from error
    assert isinstance(config, dict)
    print(text(plan({str(name): part for name, part in config.items()}), cards))
