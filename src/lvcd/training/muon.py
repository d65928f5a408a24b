"""Muon: steps of one length in all directions for whatever multiplies, AdamW for the rest.

Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks; the length of a step is that of Liu et al.
2025 (arXiv 2502.16982), which makes AdamW's rates fit.

letters: s matrices of one shape, m rows, n columns
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

MOMENTUM = 0.95
"""Share of the last steps' direction in the next, with Nesterov's look ahead."""
ROUNDS = 5
"""Of Newton and Schulz's iteration."""
QUINTIC = (3.4445, -4.7750, 2.0315)
"""Its coefficients, which bring singular values of (0, 1] near 1 (0.7 to 1.2) in so few rounds."""
RMS = 0.2
"""Size of an AdamW step, which a step is made to have."""


def orthogonal(x: Tensor) -> Tensor:
    """Matrices (s m n) => the nearest with all singular values about 1; on a GPU in bfloat16, and as fast as that
    allows. Processors without its instructions take a hundred times longer with it."""
    x = x.bfloat16() if x.is_cuda else x.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp(min=1e-7)
    a, b, c = QUINTIC
    for _ in range(ROUNDS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


def is_matrix(p: Tensor) -> bool:
    """Whether Muon takes it: a convolution's weight (m c h w) counts as m rows."""
    return p.ndim >= 2


class MuonAdamW(torch.optim.AdamW):
    """AdamW, but for groups of parameters with matrices=True, whose steps are Muon's."""

    def __init__(self, groups: Iterable[dict[str, Any]], **settings: Any):
        super().__init__(groups, **settings)
        for group in self.param_groups:
            group.setdefault("matrices", False)

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        groups = self.param_groups
        for group in groups:
            if group["matrices"]:
                self._muon(group)
        self.param_groups = [g for g in groups if not g["matrices"]]  # AdamW's step takes them all
        try:
            super().step()
        finally:
            self.param_groups = groups
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        for p in group["params"]:
            if p.grad is not None:
                alike[tuple(p.shape), p.device].append(p)
        for weights in alike.values():
            grads = [p.grad for p in weights if p.grad is not None]
            for p in weights:
                if not self.state[p]:  # named as AdamW does, which looks at them when they are loaded
                    self.state[p] |= {"step": torch.tensor(0.0), "exp_avg": torch.zeros_like(p)}
                self.state[p]["step"] += 1
            past = [self.state[p]["exp_avg"] for p in weights]
            torch._foreach_lerp_(past, grads, 1 - MOMENTUM)
            along = torch._foreach_lerp(grads, past, MOMENTUM)
            steps = orthogonal(torch.stack(along).flatten(2))
            length = RMS * max(steps.shape[1:]) ** 0.5
            each = steps.to(weights[0].dtype).view(-1, *weights[0].shape).unbind()
            torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(weights, each, alpha=-group["lr"] * length)
