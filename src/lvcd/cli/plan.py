"""`lvcd plan`: the memory and the work of a training run, before it starts."""

from __future__ import annotations

import argparse
import gc
import sys

from lvcd.errors import InputError

HELP = "estimate the memory and work of a training run, and which GPUs it fits, without loading weights"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = "Parameters, memory per GPU and work of the run that `lvcd train` with the same words would start."
    c.add_argument("overrides", nargs="*", metavar="NAME=VALUE", help="as for lvcd train, like experiment=lvcd_320p")
    c.add_argument("--config-dir", metavar="DIR", help="folder with configuration of your own, as for lvcd train")
    c.add_argument("--card", help="24, '24 GiB', 'RTX 4090', A6000, H100, ... (default: 12, 16, 24, 48 and 80 GiB)")


def run(a: argparse.Namespace) -> None:
    gc.disable()  # a sixth of the time: hundreds of thousands of objects stay until the plan is printed
    try:
        _plan(a)
    finally:
        gc.enable()


def _plan(a: argparse.Namespace) -> None:
    from .hydra_entry import compose_config, import_from_current_folder

    import_from_current_folder()
    if sys.stderr.isatty():
        print("loading PyTorch ...", end="\r", file=sys.stderr, flush=True)
    words = [*(["--config-dir", a.config_dir] if a.config_dir is not None else []), *a.overrides]
    composed = compose_config("train", words)

    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from lvcd.pipeline import silence_libraries
    from lvcd.training.combinations import check_combination
    from lvcd.training.plan import plan_training
    from lvcd.training.plan.fit_report import format_report, parse_card

    cards = parse_card(a.card)
    silence_libraries()
    try:
        config = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise InputError(f"{str(error).splitlines()[0]}: give what is missing") from error
    assert isinstance(config, dict)
    settings = {str(name): part for name, part in config.items()}
    check_combination(settings)
    if sys.stderr.isatty():
        print(
            "a training step runs on tensors without content, which takes some seconds ...", end="\r", file=sys.stderr
        )
    plan = plan_training(settings)
    if sys.stderr.isatty():
        print(end="\033[K", file=sys.stderr, flush=True)
    print(format_report(plan, cards))
