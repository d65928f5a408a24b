"""Moving average of the trained weights."""

from __future__ import annotations

from typing import Any

import lightning
import torch
from torch import Tensor, nn

from lvcd.errors import InputError

from ..fsdp import local_part, placed_like, whole

Weights = dict[str, Tensor]


class Ema(lightning.Callback):
    """Exponential moving average of the trained weights: average <- d average + (1 - d) weights after each step.

    d = min(decay, (1 + n) / (10 + n)) after n optimizer steps, so that the first weights are soon forgotten.
    Validation, samples and the exported model use the average. A checkpoint holds it in this callback's state. It is
    kept in float32 on the weights' device, and sharded as they are (FSDP); in a checkpoint it is whole. Lightning's
    WeightAveraging copies the whole module, the frozen U-Net too.

    InputError: decay outside of 0 .. 1.
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

    def on_sanity_check_start(self, trainer: Any, module: Any) -> None:
        """Begin the average before a validation that comes before training."""
        self.on_train_start(trainer, module)

    def on_train_start(self, trainer: Any, module: Any) -> None:
        """Begin the average, or go on with a checkpoint's. InputError: the checkpoint averages other weights.

        Not in on_fit_start: with sharded weights, Lightning loads a checkpoint after that.
        """
        weights = _trained(module)
        if not self.average:
            self.average = {name: p.detach().clone() for name, p in weights.items()}
        elif set(self.average) != set(weights):
            raise InputError("the checkpoint averages other weights than this run trains: use its module")
        self.average = {name: placed_like(x, weights[name]) for name, x in self.average.items()}
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
        averages, news = ([local_part(x) for x in (named[n] for n in weights)] for named in (self.average, weights))
        torch._foreach_lerp_(averages, news, 1 - decay)

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
        return {"steps": self.steps, "average": {name: whole(x) for name, x in self.average.items()}}

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
