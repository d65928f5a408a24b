"""Where along the noise the network is good, and where not."""

from __future__ import annotations

from typing import Any

import lightning
import torch

EDGES = (0.1, 0.5, 2.0, 8.0, 32.0)
"""Between the buckets of sigma; the paper's law puts 2, 13, 28, 33, 18 and 6 % of the clips into them."""


class SigmaLoss(lightning.Callback):
    """Logs the mean loss of the clips in each bucket of sigma since the last time, over all ranks, weighted by clips:
    `sigma/<0.1`, `sigma/0.1-0.5` ... `sigma/>32`. A bucket without a clip is left out."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2, len(EDGES) + 1, dtype=torch.float64)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
        where = torch.bucketize(outputs["sigma"].double().cpu(), torch.tensor(EDGES, dtype=torch.float64))
        losses = outputs["losses"].double().cpu()
        self.sums[0].index_add_(0, where, losses)
        self.sums[1].index_add_(0, where, torch.ones_like(losses))
        if (index + 1) % (trainer.log_every_n_steps * trainer.accumulate_grad_batches):
            return
        total, count = trainer.strategy.reduce(self.sums.clone().to(module.device), reduce_op="sum").cpu()
        self.sums.zero_()
        means = {name: float(s / n) for name, s, n in zip(NAMES, total, count) if n}
        for logger in trainer.loggers:
            logger.log_metrics(means, trainer.global_step)


NAMES = [f"sigma/<{EDGES[0]:g}", *(f"sigma/{a:g}-{b:g}" for a, b in zip(EDGES, EDGES[1:])), f"sigma/>{EDGES[-1]:g}"]
