"""The loss by noise level."""

from __future__ import annotations

from typing import Any

import lightning
import torch

SIGMA_EDGES = (0.1, 0.5, 2.0, 8.0, 32.0)
"""Edges of the buckets of sigma; the paper's distribution puts 2, 13, 28, 33, 18 and 6 % of the clips into them."""
COLUMNS = [
    f"sigma/<{SIGMA_EDGES[0]:g}",
    *(f"sigma/{a:g}-{b:g}" for a, b in zip(SIGMA_EDGES, SIGMA_EDGES[1:])),
    f"sigma/>{SIGMA_EDGES[-1]:g}",
]


class SigmaLoss(lightning.Callback):
    """Logs the mean loss of the clips in each bucket of sigma since the last time, over all ranks.

    The columns are `sigma/<0.1`, `sigma/0.1-0.5` ... `sigma/>32`; a bucket without a clip is left out.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(2, len(COLUMNS), dtype=torch.float64)
        """Of each bucket, the sum of losses and the number of clips."""

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        """Add the batch's clips, and log at the trainer's logging interval."""
        buckets = torch.bucketize(outputs["sigma"].double().cpu(), torch.tensor(SIGMA_EDGES, dtype=torch.float64))
        losses = outputs["losses"].double().cpu()
        self.sums[0].index_add_(0, buckets, losses)
        self.sums[1].index_add_(0, buckets, torch.ones_like(losses))
        if (index + 1) % (trainer.log_every_n_steps * trainer.accumulate_grad_batches):
            return
        total, count = trainer.strategy.reduce(self.sums.clone().to(module.device), reduce_op="sum").cpu()
        self.sums.zero_()
        means = {column: float(s / n) for column, s, n in zip(COLUMNS, total, count) if n}
        for logger in trainer.loggers:
            logger.log_metrics(means, trainer.global_step)
