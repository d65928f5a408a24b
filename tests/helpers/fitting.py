"""Drawn clips, and a short training of toy networks on them."""

from __future__ import annotations

from pathlib import Path

import lightning
import torch

from lvcd.data.batch import Batch
from lvcd.data.datamodule import CartoonClips, pack
from lvcd.training import FineTuneModule, Optimization
from lvcd.training.callbacks import Ema, SigmaLoss
from lvcd.training.networks import Networks


def clips(n: int, first: int = 0) -> Batch:
    """Return the drawn clips `first` to `first + n - 1`, each of 4 frames of 48 x 32 px, the reference included."""
    return pack(CartoonClips(9, 5, 3, 32, 48, ["shapes"], 9), range(first, first + n)).to("cpu")


def rows_of(batch: Batch, *rows: int) -> Batch:
    """Return a batch of these clips of the batch."""
    index = list(rows)
    return Batch(batch.sketches[index], batch.fps[index], batch.frames[index])


def fit(
    folder: Path, networks: Networks, steps: int, resume=None, seed=0, logger=False, more=(), first=(),
    unet="self_attention", precision="32-true", **settings,
):  # fmt: skip
    """Train on single clips and return the module; `first` and `more` are callbacks before and after the usual ones."""

    class Data(lightning.LightningDataModule):
        def train_dataloader(self):
            return torch.utils.data.DataLoader(range(6), batch_size=1, collate_fn=lambda _: clips(1))

    module = FineTuneModule(networks, unet, Optimization(1e-3, warmup_steps=2), seed=seed, **settings)
    keep = lightning.pytorch.callbacks.ModelCheckpoint(folder, save_last=True, every_n_train_steps=2)
    trainer = lightning.Trainer(
        accelerator="cpu", max_steps=steps, callbacks=[*first, Ema(0.9), SigmaLoss(), keep, *more], logger=logger,
        log_every_n_steps=2, enable_progress_bar=False, enable_model_summary=False, accumulate_grad_batches=1,
        precision=precision,
    )  # fmt: skip
    trainer.fit(module, Data(), ckpt_path=resume, weights_only=True)
    return module
