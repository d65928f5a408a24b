"""`lvcd train`, and `train.py` in a checkout: Hydra composes what is trained, on what, how long."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lvcd.errors import InputError
from lvcd.system import keep_freed_memory

# torch, lightning and diffusers take seconds to import: that waits until the words have been checked.
if TYPE_CHECKING:
    import lightning
    from omegaconf import DictConfig

    from lvcd.training.callbacks import Speed

HELP = "train networks, and export them as a model folder"
USAGE = """\
usage: lvcd train [NAME=VALUE ...] [-m] [--config-dir DIR] [--cfg job]

Train networks, and export them as a model folder for `lvcd colorize --model` and `lvcd eval model=`.

  lvcd train experiment=mini_cpu                        a small model, on toy clips, on a CPU
  lvcd train experiment=lvcd_320p data.shards=DIR module.networks.folder=SVD
  lvcd train ... resume=true                            go on where this run was stopped
  lvcd train -m ... module.optimization.lr=1e-4,1e-5    a sweep: every value is a run
"""


class TrainedModel(NamedTuple):
    model: Path
    """Folder of the exported model."""
    score: float | None
    """The best value of config.monitor in validation; None = it was never computed."""


def train(config: DictConfig, resume_command: str = "") -> TrainedModel | None:
    """Fit the module of a composed configuration, then export it; => None if the run was stopped by a signal.

    resume_command   that is printed when the run is stopped
    InputError: a setting, a file or the device cannot be used.
    """
    import lightning
    import torch
    from hydra.utils import instantiate
    from lightning.pytorch.strategies import ModelParallelStrategy
    from omegaconf import OmegaConf

    from lvcd.loggers import log_config
    from lvcd.pipeline import silence_libraries
    from lvcd.training.callbacks import Speed, StopOnSignal
    from lvcd.training.plan import plan
    from lvcd.training.plan.fit_report import too_large
    from lvcd.training.run_folder import MODEL, begin_from, checkpoint_to_resume, last_stage

    silence_libraries()
    keep_freed_memory()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # advertisements
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    run = Path(config.run_dir)
    resume = checkpoint_to_resume(run, config.resume)
    data = instantiate(config.data, _convert_="all")
    module = instantiate(config.module, _convert_="all")
    start = config.init_from or (config.stage.after and last_stage(Path(config.stage.after)))
    initial = begin_from(module, Path(start)) if start and not resume else None
    loggers = [instantiate(logger) for logger in config.logger.values()]
    callbacks = [instantiate(callback) for callback in config.callbacks.values() if callback]
    trainer = instantiate(config.trainer, default_root_dir=config.run_dir, logger=loggers, callbacks=callbacks)
    if initial and trainer.is_global_zero:
        print(f"starts with the weights of {initial}")
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    log_config(loggers, settings)
    set_peak_flops(trainer, [c for c in callbacks if isinstance(c, Speed)], settings)
    try:
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    except torch.OutOfMemoryError as error:
        raise InputError(too_large(plan(settings))) from error
    if any(isinstance(c, StopOnSignal) and c.saved for c in callbacks):
        if trainer.is_global_zero:
            print(f"stopped after step {trainer.global_step}; go on with: {resume_command}")
        return None
    model = run / MODEL
    if isinstance(trainer.strategy, ModelParallelStrategy):
        full = trainer.strategy.lightning_module_state_dict()  # all ranks together; the first has it
        module = instantiate(config.module, _convert_="all")
        module.load_state_dict(full, strict=False)
    if trainer.is_global_zero:
        module.export(model)
        print(f"the trained model is in {model}")
    best = trainer.checkpoint_callback.best_model_score
    return TrainedModel(model, None if best is None else float(best))


def set_peak_flops(trainer: lightning.Trainer, speeds: list[Speed], settings: dict[str, Any]) -> None:
    """Give each Speed callback, on the rank that logs, what utilization is computed from, as far as it is known."""
    import torch

    from lvcd.training.plan import plan
    from lvcd.training.plan.fit_report import peak

    for speed in speeds if trainer.is_global_zero else ():
        device = trainer.strategy.root_device
        if speed.peak_flops is None and device.type == "cuda":
            speed.peak_flops = peak(torch.cuda.get_device_name(device), str(trainer.precision))
        if speed.peak_flops is not None and speed.flops_per_clip is None:
            with suppress(InputError):  # what cannot be planned, like a VAE, has no utilization
                speed.flops_per_clip = plan(settings).flops_per_clip


def job(config: DictConfig) -> float | None:
    """Train one run of Hydra's; => its score, which a search (sweep=optuna) minimizes."""
    from .hydra_entry import one_line, prepare_job
    from .sweep import in_sweep, restartable

    program, words = prepare_job("train")
    with one_line(program.name), restartable(config, program.argv([]), words):
        from lvcd.training.callbacks import NoNumberError

        again = sys.argv[1 + len(program.argv([])) :] if words is None else words
        resume = "auto" if in_sweep() and words else "true"
        command = program.command([*(w for w in again if not w.startswith("resume=")), f"resume={resume}"])
        try:
            trained = train(config, command)
        except NoNumberError as error:
            if not in_sweep():
                raise
            print(f"{program.name}: {error}", file=sys.stderr)
            return None  # a sweep goes on with the next job: to find such rates is what it is for
    if trained is None:
        sys.exit()  # nor does a sweep go on
    return trained.score


def main(words: Sequence[str], script: str | None = None) -> int:
    """Train what the words say, once or in a sweep; => exit code.

    script   train.py where that was started, None = `lvcd train`
    """
    from .hydra_entry import Program, start

    return start(Program("train", script), job, words, USAGE)
