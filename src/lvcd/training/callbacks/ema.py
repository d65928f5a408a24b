"""An average of the weights that learn."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor

from lvcd.errors import InputError

Weights = dict[str, Tensor]


class Ema(lightning.Callback):
    """Exponential moving average of the trained weights alone: w <- d w + (1 - d) v after every optimizer step.

    d = min(decay, (1 + n) / (10 + n)) after n steps, so that the start is soon forgotten. Validation and export see the
    average; the checkpoint holds it, under the callback's state. Kept in float32 on the weights' device.
    InputError: decay outside 0 .. 1, or weights in shards (FSDP).
    """

    def __init__(self, decay: float = 0.999):
        if not 0 < decay < 1:
            raise InputError(f"an average with decay {decay}: give a number between 0 and 1")
        self.decay = decay
        self.steps = 0
        self.average: Weights = {}
        self._own: Weights = {}

    def setup(self, trainer: Any, module: Any, stage: str) -> None:
        if stage == "fit" and isinstance(trainer.strategy, ModelParallelStrategy):
            raise InputError("weights in shards cannot be averaged: use callbacks=paint, or trainer=ddp4")

    def on_fit_start(self, trainer: Any, module: Any) -> None:
        now = _learning(module)
        if not self.average:
            self.average = {name: p.detach().clone() for name, p in now.items()}
        elif set(self.average) != set(now):
            raise InputError("the checkpoint averages other weights than this run trains: use its module")
        self.average = {name: x.to(now[name].device) for name, x in self.average.items()}
        self._seen = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
        if trainer.global_step == self._seen:  # gradients are still being accumulated
            return
        self._seen = trainer.global_step
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        now = _learning(module)
        torch._foreach_lerp_([self.average[name] for name in now], [*now.values()], 1 - decay)

    def on_validation_start(self, trainer: Any, module: Any) -> None:
        if self.average:
            self._own = _swap(module, self.average)

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        if self._own:
            _swap(module, self._own)
            self._own = {}

    def on_exception(self, trainer: Any, module: Any, exception: BaseException) -> None:
        self.on_validation_end(trainer, module)

    def on_fit_end(self, trainer: Any, module: Any) -> None:
        """What is exported is the average."""
        _swap(module, self.average)

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "average": self.average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps, self.average = state["steps"], dict(state["average"])


def _learning(module: Any) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


@torch.no_grad()
def _swap(module: Any, new: Weights) -> Weights:
    """Put other weights in place; => those that were there."""
    old = {}
    for name, p in _learning(module).items():
        old[name] = p.detach().clone()
        p.copy_(new[name])
    return old
