"""Counting the memory and the floating-point operations of a computation while it runs, on real or fake tensors."""

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


class CostCounter(TorchDispatchMode):
    """A context that counts the bytes that are alive at once, and the FLOP of each part of a training step."""

    def __init__(self, persistent: Iterable[Tensor] = ()):
        """persistent: tensors that are not counted, and neither are their views."""
        super().__init__()
        self.live = self.peak = 0
        """Bytes alive now, and the most so far."""
        self.flops: Counter[str] = Counter()
        """FLOP of "forward", "recompute" (a checkpointed block repeated in backward) and "backward": of the matrix
        products, convolutions and attention that torch.utils.flop_counter knows. A multiply-add counts as 2."""
        self._storages: dict[int, weakref.ref] = {}
        for tensor in persistent:
            self._track(tensor, counted=False)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops[_current_part()] += formula(*args, **kwargs, out_val=out)
        for value in tree_leaves(out):
            if isinstance(value, Tensor):
                self._track(value)
        return out

    def _track(self, tensor: Tensor, counted: bool = True) -> None:
        storage = tensor.untyped_storage()
        key, size = id(storage), storage.nbytes() if counted else 0
        if key in self._storages:
            return

        def on_freed(_: Any) -> None:
            del self._storages[key]
            self.live -= size

        self._storages[key] = weakref.ref(storage, on_freed)
        self.live += size
        self.peak = max(self.peak, self.live)


def _current_part() -> str:
    if torch._C._current_graph_task_id() < 0:
        return "forward"
    return "recompute" if torch.is_grad_enabled() else "backward"


@contextmanager
def cpu_autocast(module: nn.Module, dtype: torch.dtype | None, gpu: bool) -> Iterator[Callable[[], Any]]:
    """Give CPU tensors the types that mixed precision gives; yield the context to enter for forward.

    dtype: None = no mixed precision; gpu: run norms in float32, as autocast does on a GPU but not on a CPU.
    """
    if dtype is None:
        yield nullcontext
        return
    norms = [m for m in module.modules() if gpu and isinstance(m, (nn.GroupNorm, nn.LayerNorm))]
    hooks = [m.register_forward_pre_hook(lambda m, x: tuple(part.float() for part in x)) for m in norms]
    try:
        yield lambda: torch.autocast("cpu", dtype)
    finally:
        for hook in hooks:
            hook.remove()
