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

    Cross-attention to a single token has a softmax over one key. So its queries, its keys and the norm before it do not
    change the output and get no gradient: they are never trained, in either network. (The original trains them with
    gradients of zero, which is the same.) Neither are the temporal layers of a ControlNet with temporal=False.

    InputError: `which` is not one of TrainableUNet.
    """
    if which not in get_args(TrainableUNet):
        raise InputError(f"unet={which}: choose {', '.join(get_args(TrainableUNet))}")
    unet.requires_grad_(which == "all")
    controlnet.requires_grad_(True)
    for block in transformer_blocks(unet):
        if which == "self_attention":
            block.attn1.requires_grad_(True)
    for block in (*transformer_blocks(unet), *transformer_blocks(controlnet)):
        for part in (block.norm2, block.attn2.to_q, block.attn2.to_k):
            part.requires_grad_(False)
    if not controlnet.config.temporal:
        for layer in temporal_layers(controlnet):
            layer.requires_grad_(False)
    networks: dict[str, nn.Module] = {"controlnet": controlnet, "unet": unet}
    return {g: [f"{g}.{name}" for name, p in net.named_parameters() if p.requires_grad] for g, net in networks.items()}
