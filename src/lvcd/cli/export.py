"""`lvcd export`: a model folder, or an adapter, from a checkpoint of a training run."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvcd.errors import InputError

if TYPE_CHECKING:
    from lvcd.training.run_folder import Weights

OWN = "ControlNetModule FineTuneModule VaeModule Optimization networks_from_config networks_from_folder"
TARGETS = frozenset(f"lvcd.training.{name}" for name in OWN.split())
"""What the configuration of a run may build."""

HELP = "turn a training run into a model folder, or an adapter, for lvcd colorize"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a training run")
    c.add_argument("--out", required=True, type=Path, help="model folder to write")
    c.add_argument("--adapter", action="store_true",
                   help="of a run that trained adapters (module=lora), write these alone: for lvcd colorize --adapter, "
                        "peft, diffusers and ComfyUI")  # fmt: skip
    which = c.add_mutually_exclusive_group()
    help = "of the last step, or the best by validation (default: best, where there was a validation)"
    which.add_argument("--weights", choices=("last", "best"), help=help)
    which.add_argument("--checkpoint", type=Path, help="a checkpoint of the run, in place of its last or best one")
    c.add_argument("--allow", action="append", default=[], metavar="NAME",
                   help="class of your own that the run was trained with, like my_package.MyModule")  # fmt: skip


def run(a: argparse.Namespace) -> None:
    config_file = a.run_folder / ".hydra" / "config.yaml"
    if not config_file.is_file():
        raise InputError(f"{a.run_folder} is not a training run: it has no .hydra/config.yaml")
    if a.out.exists():
        raise InputError(f"{a.out} exists: choose another --out")

    from hydra.errors import HydraException
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from lvcd.io.disk import reading
    from lvcd.pipeline import silence_libraries
    from lvcd.training.run_folder import current_module_config, load_trained_weights

    silence_libraries()
    with reading("configuration", config_file, "copy the run again"):
        config = OmegaConf.to_container(OmegaConf.load(config_file).module, resolve=True)
        if not isinstance(config, dict):
            raise ValueError("it has no module")
        config = current_module_config({str(key): value for key, value in config.items()})
    check_targets(config, {*TARGETS, *a.allow}, config_file)
    checkpoint, weights = chosen_checkpoint(a.run_folder, a.checkpoint, a.weights)
    try:
        module = instantiate(config, _convert_="all")
    except HydraException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"{config_file}: {str(error).splitlines()[0]}: copy the run again") from error
    if not hasattr(module, "networks"):
        raise InputError(f"{a.run_folder} trained an autoencoder, which is in {a.run_folder / 'model'} already")
    step = load_trained_weights(module, checkpoint)
    if a.adapter and not hasattr(module, "export_adapter"):
        raise InputError(f"{a.run_folder} has a module without adapters: export its model")
    (module.export_adapter if a.adapter else module.export)(a.out, {"weights": weights, "step": step})
    what = "adapter" if a.adapter else "model"
    print(f"{a.out}: the {what} of {checkpoint}, with the {weights} weights, of step {step}")


def chosen_checkpoint(run: Path, checkpoint: Path | None, weights: Weights | None) -> tuple[Path, str]:
    """Return the checkpoint to export, and what its weights are: last, best, or the name of a given checkpoint.

    InputError: the run has none, or none that is the best.
    """
    from lvcd.training.run_folder import best_checkpoint, newest_checkpoint

    if checkpoint is not None:
        return checkpoint, checkpoint.stem
    found = newest_checkpoint(run) if weights == "last" else best_checkpoint(run)
    is_best = found.stem == "best"
    if weights == "best" and not is_best:
        raise InputError(f"{run} has no best weights, because no validation was better: give --weights last")
    return found, "best" if is_best else "last"


def check_targets(config: Any, allowed: set[str], config_file: Path) -> None:
    """InputError: a run's configuration names something else to build than `allowed`. Data does not choose code."""
    if isinstance(config, dict):
        target = config.get("_target_", None)
        if target is not None and target not in allowed:
            raise InputError(
                f"{config_file} names {target}, which is not lvcd's: if you trust it, add --allow {target}"
            )
    for part in config.values() if isinstance(config, dict) else config if isinstance(config, list) else ():
        check_targets(part, allowed, config_file)
