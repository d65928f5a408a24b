"""Which weights are trained: chosen by the class of their layer, never by a name that happens to match."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from torch import nn

from lvcd.errors import InputError
from lvcd.nn.blocks import temporal_layers, transformer_blocks
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.lora import LoraTargets, add_lora, target_layers

TrainableUNet = Literal["none", "self_attention", "lora", "all"]
"""What is trained of the U-Net: nothing, its spatial and temporal self-attention (paper, section 4.4), low-rank
adapters beside its weights, or all of it."""
TrainableControlNet = Literal["none", "lora", "all"]
"""What is trained of the ControlNet: nothing, low-rank adapters beside its weights, or all of it."""
MAX_RANK = 1024


@dataclass(frozen=True)
class LoraSettings:
    """The settings of low-rank adapters. InputError: a setting out of its range."""

    rank: int = 16
    """Numbers between A and B, r: an adapter of a layer (out in) has r (out + in) weights."""
    alpha: float | None = None
    """What an adapter adds is multiplied by alpha / r; None = r."""
    targets: LoraTargets = "self_attention"
    """Which layers get adapters, by their type."""
    dropout: float = 0.0
    """Probability of dropping a number of an adapter's input in training."""

    def __post_init__(self) -> None:
        if not (type(self.rank) is int and 1 <= self.rank <= MAX_RANK):
            raise InputError(f"lora.rank={self.rank}: give a whole number from 1 to {MAX_RANK}")
        if self.alpha is not None and not (math.isfinite(self.alpha) and self.alpha > 0):
            raise InputError(f"lora.alpha={self.alpha}: give a number above 0, or null for the rank")
        if not 0 <= self.dropout < 1:
            raise InputError(f"lora.dropout={self.dropout}: give a probability from 0 to below 1")

    @classmethod
    def of(cls, settings: Mapping[str, Any] | LoraSettings | None) -> LoraSettings:
        """Return settings that are given by name; None = the defaults. InputError: there is no such setting."""
        if isinstance(settings, LoraSettings):
            return settings
        try:
            return cls(**settings or {})
        except TypeError as error:
            raise InputError(f"lora: {error}: give rank, alpha, targets and dropout") from error


def select_trainable(
    unet: nn.Module,
    controlnet: SketchControlNet,
    which: TrainableUNet,
    which_controlnet: TrainableControlNet = "all",
    lora: LoraSettings | None = None,  # of the networks that get adapters; None = the defaults
) -> dict[str, list[str]]:
    """Set requires_grad of both networks and return the names of the trained weights, by "controlnet" and "unet".

    Weights that change nothing are never trained, see `effective_weights`. Adapters are added to the networks.

    InputError: `which` or `which_controlnet` is not one of the words, or no layer can have an adapter.
    """
    if which not in get_args(TrainableUNet):
        raise InputError(f"unet={which}: choose {', '.join(get_args(TrainableUNet))}")
    if which_controlnet not in get_args(TrainableControlNet):
        raise InputError(f"controlnet={which_controlnet}: choose {', '.join(get_args(TrainableControlNet))}")
    if which == which_controlnet == "none":
        raise InputError("unet=none and controlnet=none train nothing: choose another of the two")
    unet.requires_grad_(which == "all")
    controlnet.requires_grad_(which_controlnet == "all")
    for block in transformer_blocks(unet):
        if which == "self_attention":
            block.attn1.requires_grad_(True)
    effective = effective_weights(unet, controlnet)
    lora = lora or LoraSettings()
    networks: dict[str, nn.Module] = {"unet": unet, "controlnet": controlnet}
    for seed, (group, network) in enumerate(networks.items()):
        if (which, which_controlnet)[seed] != "lora":
            continue
        own = {name.removeprefix(f"{group}.") for name in effective if name.startswith(f"{group}.")}
        if not (layers := target_layers(network, lora.targets, own)):
            raise InputError(f"the {group} has no layers of lora.targets={lora.targets}: choose all")
        add_lora(network, layers, lora.rank, lora.alpha or lora.rank, lora.dropout, seed)
        effective |= {f"{group}.{name}" for name, p in network.named_parameters() if p.requires_grad}
    trained: dict[str, list[str]] = {}
    for group, network in reversed(networks.items()):
        trained[group] = []
        for name, p in network.named_parameters():
            p.requires_grad_(p.requires_grad and f"{group}.{name}" in effective)
            if p.requires_grad:
                trained[group].append(f"{group}.{name}")
    return trained


def effective_weights(unet: nn.Module, controlnet: SketchControlNet) -> set[str]:
    """Return the names of the weights that change what the networks compute, after "unet." or "controlnet.".

    Cross-attention to a single token has a softmax over one key. So its queries, its keys and the norm before it do not
    change the output and get no gradient. (The original trains them with gradients of zero, which is the same.) Neither
    do the temporal layers of a ControlNet with temporal=False.
    """
    idle = [
        part
        for block in (*transformer_blocks(unet), *transformer_blocks(controlnet))
        for part in (block.norm2, block.attn2.to_q, block.attn2.to_k)
    ]
    idle += [] if controlnet.config.temporal else temporal_layers(controlnet)
    idle_weights = {id(p) for part in idle for p in part.parameters()}
    return {
        f"{group}.{name}"
        for group, network in (("controlnet", controlnet), ("unet", unet))
        for name, p in network.named_parameters()
        if id(p) not in idle_weights
    }
