"""Weights in shards over all ranks (PyTorch's fully_shard), for networks that do not fit a GPU as copies."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from torch.distributed.fsdp import fully_shard

from lvcd.nn.blocks import sharded_blocks


def shard(network: nn.Module, mesh: Any) -> None:
    """In place; names and shapes of the weights stay. mesh: a DeviceMesh of one dimension.

    Every layer outside of a block is by itself, for networks have entries besides `forward`.
    """
    warnings.filterwarnings("ignore", message=".*returned a view tensor")  # of in-place changes, and there are none
    inside: set[nn.Module] = set()
    for block in sharded_blocks(network):
        fully_shard(block, mesh=mesh)
        inside.update(block.modules())
    for layer in [m for m in network.modules() if m not in inside]:
        if next(layer.parameters(recurse=False), None) is not None:
            fully_shard(layer, mesh=mesh)
