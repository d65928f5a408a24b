"""`lvcd train`, and `train.py` in a checkout: Hydra composes what is trained, on what, how long."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lvcd.errors import on_out_of_memory
from lvcd.system import keep_freed_memory

# torch, lightning and diffusers take seconds to import: that waits until the words have been checked.
if TYPE_CHECKING:
    from omegaconf import DictConfig

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
    """A finished training leaves a model and its best score."""

    model: Path
    """Folder of the exported model."""
    score: float | None
    """The best value of config.monitor in validation; None = it was never computed."""


_own_folders: set[Path] = set()


@contextmanager
def alone_in_folder(config: DictConfig) -> Iterator[None]:
    """Let no other training write to the folder of a run meanwhile; ranks that Lightning or a cluster starts may.

    InputError: another training does, or the folder holds another run's checkpoints.
    """
    from lvcd.io.disk import Lock, writing

    from .job_errors import LOCK_FILE

    run = Path(config.run_dir)
    ranks = ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID")
    if run in _own_folders or any(os.environ.get(name, "0") not in ("", "0") for name in ranks):
        yield
        return
    if not config.resume and any((run / "checkpoints").glob("*.ckpt")):
        from lvcd.training.run_folder import checkpoint_to_resume

        checkpoint_to_resume(run, config.resume)  # says what to do
    with writing(run, "choose another run_dir"):
        run.mkdir(parents=True, exist_ok=True)
        lock = Lock(
            run / LOCK_FILE, f"another training writes to {run} right now: wait for it, or choose another run_dir"
        )
    _own_folders.add(run)
    try:
        yield
    finally:
        _own_folders.discard(run)
        lock.release()


def train(config: DictConfig, resume_command: str = "") -> TrainedModel | None:
    """Fit the module of a composed configuration, then export it; => None if the run was stopped by a signal.

    resume_command   that is printed when the run is stopped
    InputError: a setting, a file or the device cannot be used.
    """
    with alone_in_folder(config):
        return _train(config, resume_command)


def _train(config: DictConfig, resume_command: str) -> TrainedModel | None:
    import lightning
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf

    from lvcd.loggers import log_config
    from lvcd.pipeline import silence_libraries
    from lvcd.training.callbacks import Speed, StopOnSignal
    from lvcd.training.combinations import check_combination, check_machine
    from lvcd.training.fsdp import with_full_weights
    from lvcd.training.plan import plan_training
    from lvcd.training.plan.fit_report import out_of_memory_message
    from lvcd.training.run_folder import (
        ADAPTER_FOLDER,
        BEST,
        MODEL_FOLDER,
        checkpoint_to_resume,
        initialize_from,
        previous_stage,
        remove_unfinished,
    )

    silence_libraries()
    keep_freed_memory()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # advertisements
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    settings: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    check_combination(settings)
    check_machine(settings)
    run = Path(config.run_dir)
    resume = checkpoint_to_resume(run, config.resume)
    if run in _own_folders:
        remove_unfinished(run)
    data = instantiate(config.data, _convert_="all")
    module = instantiate(config.module, _convert_="all")
    start = config.init_from or (config.stage.after and previous_stage(Path(config.stage.after)))
    initial = initialize_from(module, Path(start)) if start and not resume else None
    loggers = [instantiate(logger) for logger in config.logger.values()]
    callbacks = [instantiate(callback) for callback in config.callbacks.values() if callback]
    trainer = instantiate(config.trainer, default_root_dir=config.run_dir, logger=loggers, callbacks=callbacks)
    if initial and trainer.is_global_zero:
        print(f"starts with the weights of {initial}")
    log_config(loggers, settings)
    for callback in callbacks:
        if isinstance(callback, Speed):
            callback.find_flops(trainer, settings)
    with on_out_of_memory(lambda: out_of_memory_message(plan_training(settings))):
        try:
            trainer.fit(module, data, ckpt_path=resume, weights_only=True)
        except SystemExit as end:
            if trainer.interrupted and end.code == 1:  # Lightning's way to end at Ctrl-C
                raise KeyboardInterrupt from None
            raise
    if any(isinstance(c, StopOnSignal) and c.saved for c in callbacks):
        if trainer.is_global_zero:
            print(f"stopped after step {trainer.global_step}; go on with: {resume_command}")
        return None
    model = run / MODEL_FOLDER
    trained: Any = with_full_weights(trainer, module, lambda: instantiate(config.module, _convert_="all"))
    if trainer.is_global_zero:
        of = {"weights": "last", "step": trainer.global_step}
        if getattr(trained, "is_adapter", False):  # before the model's export merges them
            trained.export_adapter(run / ADAPTER_FOLDER, of)
            print(f"the trained adapters are in {run / ADAPTER_FOLDER}")
        trained.export(model, of)
        others = f"; of the best ones makes a model: lvcd export {run} --out DIR" if (run / BEST).is_file() else ""
        print(f"the trained model is in {model}, with the last weights, of step {trainer.global_step}{others}")
    best = trainer.checkpoint_callback.best_model_score
    return TrainedModel(model, None if best is None else float(best))


def job(config: DictConfig) -> float | None:
    """Train one run of Hydra's; => its score, which a search (sweep=optuna) minimizes."""
    from .hydra_entry import prepare_job
    from .job_errors import job_folder, one_line
    from .sweep import in_sweep, restartable

    program, words = prepare_job("train")
    with one_line(program.name, job_folder()), restartable(config, program.argv([]), words):
        from lvcd.training.callbacks import NanLossError

        again = sys.argv[1 + len(program.argv([])) :] if words is None else words
        resume = "auto" if in_sweep() and words else "true"
        command = program.command([*(w for w in again if not w.startswith("resume=")), f"resume={resume}"])
        try:
            trained = train(config, command)
        except NanLossError as error:
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

    return start(Program("train", script), job, words, USAGE, alone_in_folder)
