"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685) of a network's layers, carried out by peft.

An adapted layer computes W x + (alpha / r) B A x, where A (r in) and B (out r) are trained and W is not. peft wraps the
layer: `to_q.weight` becomes `to_q.base_layer.weight`, beside `to_q.lora_A.default.weight` and `to_q.lora_B...`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import unset_fake_temporarily

from lvcd.errors import InputError

from .blocks import transformer_blocks

LoraTargets = Literal["self_attention", "attention", "transformers", "all"]
"""Which layers get adapters, by their type: the projections of spatial and temporal self-attention (what the paper
trains of the U-Net, section 4.4); of cross-attention, too; all linear layers of transformer blocks, with their feed-
forward layers; all linear layers and all convolutions in space."""
ADAPTER = "default"
"""peft's name of the adapter that is trained."""


def target_layers(network: nn.Module, targets: LoraTargets, effective: Collection[str]) -> list[str]:
    """Return the names of a network's layers of a type that can have adapters.

    effective: names of the weights that change what the network computes; other layers get no adapter. Convolutions
    over time get none either: what isolates a reference in them is their own, and an adapter's would not be.
    InputError: `targets` is not one of LoraTargets.
    """
    if targets not in get_args(LoraTargets):
        raise InputError(f"lora.targets={targets}: choose {', '.join(get_args(LoraTargets))}")
    blocks = transformer_blocks(network)
    parts: list[nn.Module] = {
        "self_attention": [b.attn1 for b in blocks],
        "attention": [a for b in blocks for a in (b.attn1, b.attn2)],
        "transformers": blocks,
        "all": [network],
    }[targets]
    kinds = (nn.Linear, nn.Conv2d) if targets == "all" else (nn.Linear,)
    chosen = {id(layer) for part in parts for layer in part.modules() if isinstance(layer, kinds)}
    return [name for name, layer in network.named_modules() if id(layer) in chosen and f"{name}.weight" in effective]


def add_lora(network: nn.Module, layers: Collection[str], rank: int, alpha: float, dropout: float, seed: int) -> None:
    """Give layers of a network a new adapter, in place: all other weights are frozen, and at first it changes nothing.

    seed: of the random A; B is zero.
    """
    from peft import LoraConfig, inject_adapter_in_model

    numbers: Any = {"r": rank, "lora_alpha": alpha, "lora_dropout": dropout}
    config = LoraConfig(**numbers, target_modules=list(layers))
    with unset_fake_temporarily():  # peft moves weights about, which those without content (lvcd plan) do not bear
        inject_adapter_in_model(config, network, ADAPTER, low_cpu_mem_usage=True)  # on the meta device
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for _, layer in adapted_layers(network):
            device = layer.get_base_layer().weight.device
            for part in (layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]):
                part.weight = nn.Parameter(torch.zeros(part.weight.shape, device=device))
            nn.init.kaiming_uniform_(layer.lora_A[ADAPTER].weight, a=math.sqrt(5))  # as peft does


def adapted_layers(network: nn.Module) -> Iterator[tuple[str, Any]]:
    """Yield the name of each layer that has an adapter, and peft's layer around it."""
    from peft.tuners.lora import LoraLayer

    for name, layer in network.named_modules():
        if isinstance(layer, LoraLayer):
            yield name, layer


def has_lora(network: nn.Module) -> bool:
    """Return whether a layer of the network has an adapter."""
    return any(".lora_" in name for name, _ in network.named_parameters())


def merge_lora(network: nn.Module) -> None:
    """Add the adapters to the weights of their layers, in place, and remove peft's layers: W + (alpha / r) B A."""
    for name, layer in list(adapted_layers(network)):
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, layer.get_base_layer())
    if hasattr(network, "peft_config"):
        del network.peft_config


def without_lora(weights: Iterable[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    """Yield weights under the names that they have in a network without adapters, and none of an adapter."""
    for name, tensor in weights:
        if ".lora_" not in name:
            yield name.replace(".base_layer.", "."), tensor
