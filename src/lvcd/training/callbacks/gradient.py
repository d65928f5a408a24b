"""How large the gradients are."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn


class GradientNorm(lightning.Callback):
    """Logs the Euclidean norm of the gradient before it is clipped: `gradient/norm`, and where the optimizer has named
    groups, that of each: `gradient/controlnet`, `gradient/unet`. Over all ranks, of what was accumulated for a step."""

    def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: torch.optim.Optimizer) -> None:
        if (trainer.global_step + 1) % trainer.log_every_n_steps:
            return
        squares = {group.get("name", str(i)): square(group["params"]) for i, group in enumerate(optimizer.param_groups)}
        if isinstance(trainer.strategy, ModelParallelStrategy):  # each rank has its shards
            squares = {name: trainer.strategy.reduce(s, reduce_op="sum") for name, s in squares.items()}
        norms = {f"gradient/{name}": s.sqrt() for name, s in squares.items() if len(squares) > 1}
        module.log_dict({"gradient/norm": torch.stack([*squares.values()]).sum().sqrt(), **norms})


def square(parameters: list[nn.Parameter]) -> Tensor:
    """Sum of the squares of all gradients, in float32; those that are None count as zero."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), device=parameters[0].device)
    return torch.stack(torch._foreach_norm([g.float() for g in gradients])).square().sum()
