"""Lists of a network's layers by kind, for code that trains, checkpoints or shards them.

A layer is found by its class in diffusers, never by a name that happens to match.
"""

from __future__ import annotations

from typing import Any

from diffusers.models.attention import BasicTransformerBlock, TemporalBasicTransformerBlock
from diffusers.models.resnet import AlphaBlender, SpatioTemporalResBlock, TemporalResnetBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from torch import nn

TRANSFORMER_BLOCKS = (BasicTransformerBlock, TemporalBasicTransformerBlock)
"""Classes of the transformer blocks in space and in time."""


def transformer_blocks(network: nn.Module) -> list[Any]:
    """Return the transformer blocks in space and in time; of each, `attn1` is the self-attention, `attn2` the
    cross-attention, and `norm2` normalizes the latter's input."""
    return [m for m in network.modules() if isinstance(m, TRANSFORMER_BLOCKS)]


def temporal_layers(network: nn.Module) -> list[nn.Module]:
    """Return the layers that only mix frames over time, which a network without temporal layers does not use."""
    kinds = (TemporalResnetBlock, TemporalBasicTransformerBlock, AlphaBlender)
    found: list[nn.Module] = [m for m in network.modules() if isinstance(m, kinds)]
    return found + [m.time_pos_embed for m in network.modules() if isinstance(m, TransformerSpatioTemporalModel)]


def large_blocks(network: nn.Module) -> list[nn.Module]:
    """Return every transformer block and every residual block: FSDP gathers the weights of one at once, torch.compile
    compiles one at once.
    """
    return [m for m in network.modules() if isinstance(m, (*TRANSFORMER_BLOCKS, SpatioTemporalResBlock))]
