"""Streams of batches for Lightning."""

from __future__ import annotations

from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .batch import Batch
from .cartoons import Cartoon, draw


class CartoonClips(Dataset[Cartoon]):
    """Clips drawn when they are asked for: item i is always the same. The reference comes first.

    The reference is any earlier frame of the same scene, as in the paper, at most `reach` frames before the clip.
    """

    def __init__(self, count: int, seed: int, window: int, height: int, width: int, style: str, reach: int):
        self.count, self.seed, self.window = count, seed, window
        self.height, self.width, self.style, self.reach = height, width, style, reach

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Cartoon:
        seed = self.seed + index
        start = int(np.random.default_rng([seed, 2]).integers(1, self.reach + 1))
        times = [0, *range(start, start + self.window)]
        return draw(seed, len(times), self.height, self.width, self.style, times=times)


def collate(clips: list[Cartoon]) -> Batch:
    frames = torch.from_numpy(np.stack([c.frames for c in clips])).movedim(-1, 2).float() / 127.5 - 1
    sketches = torch.from_numpy(np.stack([c.lines for c in clips]))[:, :, None].float() / 255
    return Batch(sketches, torch.full((len(clips),), 6.0), frames)


class CartoonDataModule(lightning.LightningDataModule):
    """Training and validation clips by seed; the seeds of the two never meet."""

    def __init__(
        self,
        window: int,  # video frames of a clip; the reference comes on top
        height: int,  # px
        width: int,
        batch_size: int,  # clips
        style: str = "shapes",
        train_clips: int = 1_000_000,  # one epoch
        val_clips: int = 16,
        reach: int = 24,  # the reference is at most so many frames before the clip
        seed: int = 0,
        workers: int = 1,
    ):
        super().__init__()
        self.save_hyperparameters()

    def _loader(self, count: int, seed: int) -> DataLoader:
        h: Any = self.hparams
        clips = CartoonClips(count, seed, h.window, h.height, h.width, h.style, h.reach)
        return DataLoader(
            clips, h.batch_size, num_workers=h.workers, collate_fn=collate, persistent_workers=h.workers > 0
        )

    def train_dataloader(self) -> DataLoader:
        h: Any = self.hparams
        return self._loader(h.train_clips, 10_000_000 * (1 + h.seed))

    def val_dataloader(self) -> DataLoader:
        h: Any = self.hparams
        return self._loader(h.val_clips, VALIDATION_SEED)


VALIDATION_SEED, TEST_SEED = 1_000_000, 2_000_000
"""Training seeds begin at 10,000,000."""
