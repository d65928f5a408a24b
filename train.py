"""Train: `python train.py experiment=mini`. Hydra composes what is trained, on what, how long; see conf/."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path

import hydra
import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from lvcd.callbacks import StopOnSignal
from lvcd.entry import check_overrides, one_line
from lvcd.loggers import log_config
from lvcd.pipeline import quiet
from lvcd.training.run import begin_from, newest


def train(config: DictConfig) -> Path | None:
    """Fit, then export; => the folder of the exported model, None if the run was stopped."""
    quiet()
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # advertisements
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    run = Path(config.run_dir)
    resume = newest(run) if config.resume is True else config.resume
    data = instantiate(config.data, _convert_="all")
    module = instantiate(config.module, _convert_="all")
    began = begin_from(module, Path(config.init_from)) if config.init_from and not resume else None
    loggers = [instantiate(logger) for logger in config.logger.values()]
    callbacks = [instantiate(callback) for callback in config.callbacks.values() if callback]
    trainer = instantiate(config.trainer, default_root_dir=config.run_dir, logger=loggers, callbacks=callbacks)
    if began and trainer.is_global_zero:
        print(f"starts with the weights of {began}")
    log_config(loggers, dict(OmegaConf.to_container(config, resolve=True)))  # type: ignore[arg-type]
    trainer.fit(module, data, ckpt_path=resume, weights_only=True)
    if any(isinstance(c, StopOnSignal) and c.saved for c in trainer.callbacks):
        words = " ".join(w for w in sys.argv[1:] if not w.startswith("resume="))
        print(f"stopped after step {trainer.global_step}; go on with: python train.py {words} resume=true")
        return None
    model = run / "model"
    if trainer.is_global_zero:
        module.export(model)
        print(f"the trained model is in {model}")
    return model


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    with one_line("train.py"):
        train(config)


if __name__ == "__main__":
    check_overrides("train.py", "train", Path(__file__).parent / "conf", sys.argv[1:])
    main()
