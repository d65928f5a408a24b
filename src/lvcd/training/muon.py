"""Muon: updates with all singular values near one for weights that are matrices, AdamW for all other weights.

Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks. The scale of the updates is that of Liu et
al. 2025 (arXiv 2502.16982), with which AdamW's learning rates fit. torch.optim.Muon steps one matrix after the other
and takes no convolutions; this one steps all matrices of a shape as a batch, which saves most of the kernel launches.

letters: s matrices of one shape, m rows, n columns
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

MOMENTUM = 0.95
"""Weight of earlier gradients in the momentum; the update is Nesterov's."""
NEWTON_SCHULZ_STEPS = 5
NEWTON_SCHULZ_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic polynomial that brings singular values of (0, 1] to 0.7 .. 1.2 in so few steps."""
ADAMW_UPDATE_RMS = 0.2
"""Root mean square of an AdamW update before the learning rate, which Muon's updates are scaled to."""


def orthogonalize(x: Tensor) -> Tensor:
    """Return matrices (s m n) with all singular values brought near one, by Newton-Schulz iterations.

    They run in bfloat16 on a GPU and in float32 on a CPU, where bfloat16 can take a hundred times longer.
    """
    x = x.bfloat16() if x.is_cuda else x.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = NEWTON_SCHULZ_COEFFICIENTS
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def is_matrix(p: Tensor) -> bool:
    """Return whether Muon steps a weight; a convolution's weight (m c h w) counts as a matrix of m rows."""
    return p.ndim >= 2


class BatchedMuon(torch.optim.Optimizer):
    """Muon with decoupled weight decay, for weights of two or more dimensions."""

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, weight_decay: float = 0.01):
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient."""
        for group in self.param_groups:
            same_shape: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    same_shape[tuple(p.shape), p.device].append(p)
            for weights in same_shape.values():
                self._step_batch(weights, group["lr"], group["weight_decay"])

    def _step_batch(self, weights: list[Tensor], lr: float, weight_decay: float) -> None:
        grads = [p.grad for p in weights if p.grad is not None]
        for p in weights:
            if not self.state[p]:  # named as AdamW's state, which checks these names when it is loaded
                self.state[p] |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p)}
            self.state[p]["step"] += 1
        momentum = [self.state[p]["exp_avg"] for p in weights]
        torch._foreach_lerp_(momentum, grads, 1 - MOMENTUM)
        nesterov = torch._foreach_lerp(grads, momentum, MOMENTUM)
        matrices = orthogonalize(torch.stack(nesterov).flatten(2))
        scale = ADAMW_UPDATE_RMS * max(matrices.shape[1:]) ** 0.5
        updates = matrices.to(weights[0].dtype).view(-1, *weights[0].shape).unbind()
        torch._foreach_mul_(weights, 1 - lr * weight_decay)
        torch._foreach_add_(weights, updates, alpha=-lr * scale)


class MuonAdamW(torch.optim.Optimizer):
    """Two optimizers behind one: BatchedMuon steps the parameter groups with matrices=True, torch's AdamW the others.

    Both work on this optimizer's groups and state, so schedules, checkpoints and gradient scalers see a single one.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float = 1e-3, weight_decay: float = 0.01):
        groups = [{"matrices": False, **group} for group in groups]
        matrices, others = ([g for g in groups if g["matrices"] is kind] for kind in (True, False))
        no_weights: list[dict[str, Any]] = [{"params": []}]  # an optimizer needs a group
        self.muon = BatchedMuon(matrices or no_weights, lr, weight_decay)
        self.adamw = torch.optim.AdamW(others or no_weights, lr, weight_decay=weight_decay)
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})
        self._link()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._link()

    def _link(self) -> None:
        """Let both optimizers step this one's groups, with this one's state."""
        for optimizer, matrices in ((self.muon, True), (self.adamw, False)):
            groups = [g for g in self.param_groups if g["matrices"] is matrices]
            optimizer.__setstate__({"param_groups": groups, "state": self.state})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Update all weights that have a gradient; return the closure's loss if there is a closure."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.muon.step()
        self.adamw.step()
        return loss
