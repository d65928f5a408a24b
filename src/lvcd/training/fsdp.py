"""Sharding of weights over ranks (PyTorch's fully_shard), for networks of which a GPU cannot hold a copy."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import lightning
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from lvcd.nn.blocks import large_blocks


def shard_network(network: nn.Module, mesh: Any) -> None:
    """Shard a network in place over a DeviceMesh of one dimension; names and shapes of the weights stay.

    Layers outside of a block are sharded one by one, because the networks have entry points besides `forward`. So
    there is no module around all of them, each counts as outermost, and PyTorch would keep those whole until backward.
    """
    warnings.filterwarnings("ignore", message=".*returned a view tensor")  # warns of in-place changes, which are absent
    inside: set[nn.Module] = set()
    for block in large_blocks(network):
        fully_shard(block, mesh=mesh, reshard_after_forward=True)
        inside.update(block.modules())
    for layer in [m for m in network.modules() if m not in inside]:
        if next(layer.parameters(recurse=False), None) is not None:
            fully_shard(layer, mesh=mesh, reshard_after_forward=True)


def local_part(x: Tensor) -> Tensor:
    """Return this rank's part of a sharded tensor, with the same memory; any other tensor is returned as it is."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(x: Tensor) -> Tensor:
    """Return a sharded tensor gathered on the CPU, which every rank must call; any other is returned as it is."""
    return x.full_tensor().cpu() if isinstance(x, DTensor) else x


def placed_like(x: Tensor, other: Tensor) -> Tensor:
    """Return a whole tensor, equal on all ranks, on another's device, and sharded as that is."""
    x = x.to(other.device)
    if not isinstance(other, DTensor) or isinstance(x, DTensor):
        return x
    return distribute_tensor(x, other.device_mesh, other.placements, src_data_rank=None)  # without talking


@contextmanager
def whole_weights(module: nn.Module) -> Iterator[None]:
    """Hold all sharded weights on every rank, as long as the context is open: each may run the networks alone.

    Every rank must enter it, without gradients. A module whose weights are not sharded stays as it is.
    """
    sharded = [m for m in module.modules() if isinstance(m, FSDPModule)]
    try:
        for m in sharded:
            m.set_reshard_after_forward(False, recurse=False)
            m.unshard()
        yield
    finally:
        for m in sharded:
            m.reshard()
            m.set_reshard_after_forward(True, recurse=False)


def with_full_weights(
    trainer: lightning.Trainer,
    module: lightning.LightningModule,  # as trained
    build: Callable[[], lightning.LightningModule],  # makes the module anew
) -> lightning.LightningModule:
    """Return the trained module with unsharded weights: itself, or under ModelParallelStrategy a new one.

    Every rank must call it; of a sharded run only the first rank's result has the trained weights.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy):
        return module
    weights = trainer.strategy.lightning_module_state_dict()  # gathered from all ranks onto the first
    full = build()
    full.load_state_dict(weights, strict=False)
    return full
