"""Score a toy's validation on so many ranks: python -m tests.helpers.scores_ranks RANKS OUT. Saves what was logged."""

from __future__ import annotations

import sys

import lightning
import torch

from lvcd.data.datamodule import CartoonDataModule
from lvcd.training import FineTuneModule
from lvcd.training.callbacks import Scores
from tests.helpers.toys import toy_networks


def scored(ranks: int) -> tuple[FineTuneModule, dict[str, float]]:
    """The module after no step, and what its validation logged."""
    torch.set_num_threads(1)
    data = CartoonDataModule(3, 32, 48, batch_size=1, val_clips=4, workers=0)
    trainer = lightning.Trainer(
        accelerator="cpu", devices=ranks, strategy="ddp" if ranks > 1 else "auto", logger=False,
        callbacks=[Scores(clips=3, frames=4, size=None, steps=1, overlap=1)], limit_val_batches=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    module = FineTuneModule(toy_networks(), "none")
    trainer.validate(module, data, verbose=False)
    return module, {name: float(value) for name, value in trainer.callback_metrics.items()}


if __name__ == "__main__":
    torch.save(scored(int(sys.argv[1]))[1], sys.argv[2])
