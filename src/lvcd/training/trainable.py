"""Which weights are trained: chosen by the class of their layer, never by a name that happens to match."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from lvcd.errors import InputError
from lvcd.nn.blocks import temporal_layers, transformer_blocks
from lvcd.nn.controlnet import SketchControlNet

TrainableUNet = Literal["none", "self_attention", "all"]
"""What is trained of the U-Net: nothing, its spatial and temporal self-attention (paper, section 4.4), or all of it."""


def select_trainable(unet: nn.Module, controlnet: SketchControlNet, which: TrainableUNet) -> dict[str, list[str]]:
    """Set requires_grad of both networks and return the names of the trained weights, by "controlnet" and "unet".

    Weights that change nothing are never trained, see `effective_weights`.

    InputError: `which` is not one of TrainableUNet.
    """
    if which not in get_args(TrainableUNet):
        raise InputError(f"unet={which}: choose {', '.join(get_args(TrainableUNet))}")
    unet.requires_grad_(which == "all")
    controlnet.requires_grad_(True)
    for block in transformer_blocks(unet):
        if which == "self_attention":
            block.attn1.requires_grad_(True)
    effective = effective_weights(unet, controlnet)
    trained: dict[str, list[str]] = {}
    for group, network in (("controlnet", controlnet), ("unet", unet)):
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
