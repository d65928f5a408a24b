"""The size of the gradients."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn


class GradientNorm(lightning.Callback):
    """Logs the Euclidean norm of the accumulated gradient before it is clipped, over all ranks: `gradient/norm`.

    Where the optimizer has several named groups, it logs each group's norm too: `gradient/controlnet`, `gradient/unet`.
    """

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: torch.optim.Optimizer) -> None:
        """Log the norms at the trainer's logging interval."""
        if (trainer.global_step + 1) % trainer.log_every_n_steps:
            return
        groups = enumerate(optimizer.param_groups)
        squares = {group.get("name", str(i)): sum_of_squares(group["params"]) for i, group in groups}
        if isinstance(trainer.strategy, ModelParallelStrategy):  # each rank has its shards
            squares = {name: trainer.strategy.reduce(s, reduce_op="sum") for name, s in squares.items()}
        norms = {f"gradient/{name}": s.sqrt() for name, s in squares.items() if len(squares) > 1}
        module.log_dict({"gradient/norm": torch.stack([*squares.values()]).sum().sqrt(), **norms})


def sum_of_squares(parameters: list[nn.Parameter]) -> Tensor:
    """Sum the squares of all gradients in float32; a gradient of None counts as zero."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=parameters[0].device)
    return torch.stack(torch._foreach_norm([g.float() for g in gradients])).square().sum()
