"""Sharding of weights over ranks (PyTorch's fully_shard), for networks of which a GPU cannot hold a copy."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from lvcd.nn.blocks import large_blocks


def shard_network(network: nn.Module, mesh: Any) -> None:
    """Shard a network in place over a DeviceMesh of one dimension; names and shapes of the weights stay.

    Layers outside of a block are sharded one by one, because the networks have entry points besides `forward`.
    """
    warnings.filterwarnings("ignore", message=".*returned a view tensor")  # warns of in-place changes, which are absent
    inside: set[nn.Module] = set()
    for block in large_blocks(network):
        fully_shard(block, mesh=mesh)
        inside.update(block.modules())
    for layer in [m for m in network.modules() if m not in inside]:
        if next(layer.parameters(recurse=False), None) is not None:
            fully_shard(layer, mesh=mesh)


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
