"""Moving average of the trained weights."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn

from lvcd.errors import InputError

Weights = dict[str, Tensor]


class Ema(lightning.Callback):
    """Exponential moving average of the trained weights: average <- d average + (1 - d) weights after each step.

    d = min(decay, (1 + n) / (10 + n)) after n optimizer steps, so that the first weights are soon forgotten.
    Validation, samples and the exported model use the average. A checkpoint holds it in this callback's state. It is
    kept in float32 on the weights' device. Lightning's WeightAveraging copies the whole module, the frozen U-Net too.

    InputError: decay outside of 0 .. 1, or sharded weights (FSDP).
    """

    def __init__(self, decay: float = 0.999):
        if not 0 < decay < 1:
            raise InputError(f"an average with decay {decay}: give a number between 0 and 1")
        self.decay = decay
        self.steps = 0
        """Optimizer steps that the average has seen."""
        self.average: Weights = {}
        self._weights: Weights = {}
        """The trained weights, while the average stands in for them."""

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        """InputError: the strategy shards weights."""
        if stage == "fit" and isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError("sharded weights cannot be averaged: set callbacks=paint, or trainer=ddp4")

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        """Begin the average, or go on with a checkpoint's. InputError: the checkpoint averages other weights."""
        weights = _trained(module)
        if not self.average:
            self.average = {name: p.detach().clone() for name, p in weights.items()}
        elif set(self.average) != set(weights):
            raise InputError("the checkpoint averages other weights than this run trains: use its module")
        self.average = {name: x.to(weights[name].device) for name, x in self.average.items()}
        self._last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
        """Update the average if this batch ended an optimizer step."""
        if trainer.global_step == self._last_step:  # gradients are still being accumulated
            return
        self._last_step = trainer.global_step
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        weights = _trained(module)
        torch._foreach_lerp_([self.average[name] for name in weights], [*weights.values()], 1 - decay)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        """Validate with the average."""
        if self.average:
            self._weights = _swap(module, self.average)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Put the trained weights back."""
        if self._weights:
            _swap(module, self._weights)
            self._weights = {}

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        """Put the trained weights back if validation failed."""
        self.on_validation_end(trainer, module)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        """Leave the average in the module, which is then exported."""
        _swap(module, self.average)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.average = state["steps"], dict(state["average"])


def _trained(module: Any) -> dict[str, nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


@torch.no_grad()
def _swap(module: Any, new: Weights) -> Weights:
    """Put other weights in place; return those that were there."""
    old = {}
    for name, p in _trained(module).items():
        old[name] = p.detach().clone()
        p.copy_(new[name])
    return old
