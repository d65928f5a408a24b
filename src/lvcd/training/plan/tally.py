"""Bytes and floating-point operations of a computation, counted while it runs, on real tensors or on fake ones."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Tally(TorchDispatchMode):
    """Counts the storages that are alive at once, and floating-point operations by part of the step.

    standing  tensors that are there all the time: they and their views are not counted
    """

    def __init__(self, standing: Iterable[Tensor] = ()):
        super().__init__()
        self.live = self.peak = 0
        """Bytes."""
        self.flops: Counter[str] = Counter()
        """Of "forward", "recompute" (a checkpointed block run again in backward) and "backward"; a multiplication and
        an addition are two. Of matrix products, convolutions and attention, as torch.utils.flop_counter has them."""
        self._seen: dict[int, weakref.ref] = {}
        for tensor in standing:
            self._watch(tensor, counted=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops[_part()] += formula(*args, **kwargs, out_val=out)
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._watch(value)
        return out

    def _watch(self, tensor: Tensor, counted: bool = True) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes() if counted else 0
        if key in self._seen:
            return

        def gone(_: Any) -> None:
            del self._seen[key]
            self.live -= size

        self._seen[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


def _part() -> str:
    if torch._C._current_graph_task_id() < 0:
        return "forward"
    return "recompute" if torch.is_grad_enabled() else "backward"


@contextmanager
def autocast(module: nn.Module, half: torch.dtype | None, gpu: bool) -> Iterator[Callable[[], Any]]:
    """The types that mixed precision gives, for tensors of the CPU; => what to enter in forward.

    half: None = no mixed precision. gpu: norms in float32 as autocast does it there; on a CPU it leaves them alone.
    """
    if half is None:
        yield nullcontext
        return
    norms = [m for m in module.modules() if gpu and isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    hooks = [m.register_forward_pre_hook(lambda m, x: tuple(part.float() for part in x)) for m in norms]
    try:
        yield lambda: torch.autocast("cpu", half)
    finally:
        for hook in hooks:
            hook.remove()
