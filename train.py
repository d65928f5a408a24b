"""Train: `python train.py experiment=mini`. Hydra composes what is trained, on what, how long; see conf/."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import hydra
import lightning
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig


def train(config: DictConfig) -> Path:
    """Fit, then export; => the folder of the exported model."""
    warnings.filterwarnings("ignore", module="lightning")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)  # advertisements
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    torch.set_float32_matmul_precision("high")
    data = instantiate(config.data, _convert_="all")
    module = instantiate(config.module, _convert_="all")
    trainer = instantiate(config.trainer, default_root_dir=config.run_dir)
    trainer.fit(module, data, ckpt_path=config.resume)
    model = Path(config.run_dir) / "model"
    module.export(model)
    print(f"the trained model is in {model}")
    return model


@hydra.main(config_path="conf", config_name="train", version_base="1.3")
def main(config: DictConfig) -> None:
    train(config)


if __name__ == "__main__":
    main()
