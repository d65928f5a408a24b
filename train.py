"""Train: `python train.py experiment=mini_cpu`. Hydra composes what is trained, on what, how long; see conf/."""

from __future__ import annotations

import logging
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import hydra
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lvcd.cli.hydra_entry import check_overrides, one_line
from lvcd.cli.sweep import as_job, is_sweep, with_folders
from lvcd.errors import InputError, on_out_of_memory
from lvcd.system import keep_freed_memory

# torch, lightning and diffusers take seconds to import: that waits until the words have been checked.
if TYPE_CHECKING:
    import lightning

    from lvcd.training.callbacks import Speed


class Trained(NamedTuple):
    model: Path
    """Folder of the exported model."""
    score: float | None
    """The best that validation saw of config.monitor; None = it saw nothing."""


def train(config: DictConfig, again: str = "") -> Trained | None:
    """Fit, then export; => None if the run was stopped. again: the command that goes on with it."""
    import lightning
    import torch
    from lightning.pytorch.strategies import ModelParallelStrategy

    from lvcd.loggers import log_config
    from lvcd.pipeline import quiet
    from lvcd.training.callbacks import Speed, StopOnSignal
    from lvcd.training.plan import plan
    from lvcd.training.plan.fit_report import too_large
    from lvcd.training.run_folder import MODEL, begin_from, checkpoint_to_resume, last_stage

    quiet()
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
    began = begin_from(module, Path(start)) if start and not resume else None
    loggers = [instantiate(logger) for logger in config.logger.values()]
    callbacks = [instantiate(callback) for callback in config.callbacks.values() if callback]
    trainer = instantiate(config.trainer, default_root_dir=config.run_dir, logger=loggers, callbacks=callbacks)
    if began and trainer.is_global_zero:
        print(f"starts with the weights of {began}")
    told: dict = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    log_config(loggers, told)
    know_peak(trainer, [c for c in callbacks if isinstance(c, Speed)], told)
    with on_out_of_memory(lambda: too_large(plan(told))):
        trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    if any(isinstance(c, StopOnSignal) and c.saved for c in callbacks):
        if trainer.is_global_zero:
            print(f"stopped after step {trainer.global_step}; go on with: {again}")
        return None
    model = run / MODEL
    if isinstance(trainer.strategy, ModelParallelStrategy):
        whole = trainer.strategy.lightning_module_state_dict()  # all ranks together; the first has it
        module = instantiate(config.module, _convert_="all")
        module.load_state_dict(whole, strict=False)
    if trainer.is_global_zero:
        module.export(model)
        print(f"the trained model is in {model}")
    best = trainer.checkpoint_callback.best_model_score
    return Trained(model, None if best is None else float(best))


def know_peak(trainer: lightning.Trainer, speeds: list[Speed], config: dict) -> None:
    """Tell Speed, on the rank that logs, what it needs for utilization, as far as it is known."""
    import torch

    from lvcd.training.plan import plan
    from lvcd.training.plan.fit_report import peak

    for speed in speeds if trainer.is_global_zero else ():
        device = trainer.strategy.root_device
        if speed.peak_flops is None and device.type == "cuda":
            speed.peak_flops = peak(torch.cuda.get_device_name(device), str(trainer.precision))
        if speed.peak_flops is not None and speed.flops_per_clip is None:
            with suppress(InputError):  # what cannot be planned, like a VAE, has no utilization
                speed.flops_per_clip = plan(config).flops_per_clip


@hydra.main(config_path="conf/train", config_name="train", version_base="1.3")
def main(config: DictConfig) -> float | None:
    from lvcd.training.callbacks import NoNumberError

    words = " ".join(w for w in sys.argv[1:] if not w.startswith(("resume=", "hydra.job.config.")))
    sweep = is_sweep(sys.argv)
    with one_line("train.py"), as_job(config):
        try:
            trained = train(config, f"python train.py {words} resume={'auto' if sweep else 'true'}")
        except NoNumberError as error:
            if not sweep:
                raise
            print(f"train.py: {error}", file=sys.stderr)
            return None  # a sweep goes on with the next job: to find such rates is what it is for
    if trained is None:
        sys.exit()  # nor does a sweep go on
    return trained.score


if __name__ == "__main__":
    check_overrides("train.py", "train", Path(__file__).parent / "conf" / "train", sys.argv[1:])
    if is_sweep(sys.argv):
        sys.argv[1:] = with_folders(sys.argv[1:])
    main()
