"""A Lightning module that learns nothing and keeps what it was shown, and shards for it.

python -m tests.helpers.recording OUT SHARDS: train on SHARDS in two processes; OUT/rankN.json holds what each saw.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import lightning
import torch

from lvcd.data.clip import WindowSampling
from lvcd.data.datamodule import ShardDataModule
from tests.helpers.shards import SIZE


class Recorder(lightning.LightningModule):
    """Learns nothing; knows what it was shown."""

    def __init__(self, stop=None):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("state", torch.zeros(1))  # DDP keeps buffers in step, in validation too
        self.stop, self.seen, self.checked, self.batches = stop, [], [], []

    def training_step(self, batch, index):
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt
        self.seen.append(batch.keys)
        self.batches.append(batch)
        return self.weight.sum() + batch.sketches.mean()

    def validation_step(self, batch, index):
        self.checked.append(batch.keys)

    test_step = validation_step

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def data(shards, **settings):
    """Return a data module of small shards."""
    given = {
        "batch_size": 2,
        "sampling": WindowSampling(window=2),
        "workers": 0,
        "buffer": 3,
        "retries": 0,
        "pause": 0.0,
    }
    return ShardDataModule(str(shards), *SIZE, **{**given, **settings})


def train_on_two_ranks(out: str, shards: str) -> None:
    warnings.filterwarnings("ignore")
    module, trainer = Recorder(), lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp", max_epochs=2, logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=out, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(module, data(shards, val_shards=shards, workers=1))
    Path(out, f"rank{trainer.global_rank}.json").write_text(json.dumps([module.seen, module.checked]))


if __name__ == "__main__":
    train_on_two_ranks(*sys.argv[1:])
