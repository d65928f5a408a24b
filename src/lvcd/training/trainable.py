"""Which weights learn: chosen by the type of their layer, never by a name that happens to match."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

from lvcd.errors import InputError
from lvcd.nn.blocks import temporal_layers, transformer_blocks
from lvcd.nn.controlnet import SketchControlNet

UNet = Literal["none", "self_attention", "all"]
"""What learns in the U-Net: nothing; its spatial and temporal self-attention (the paper, section 4.4); everything."""


def choose(unet: nn.Module, controlnet: SketchControlNet, which: UNet) -> dict[str, list[str]]:
    """Set requires_grad of both networks; => {group: names of what learns}, groups "controlnet" and "unet".

    Cross-attention to one token has a softmax over one key: its queries, keys and their norm touch no output and get
    no gradient. They never learn, in either network (the original trains them with zero gradients, which is the same).
    Nor do the temporal layers of a ControlNet that passes them by.
    """
    if which not in get_args(UNet):
        raise InputError(f"unet={which}: choose {', '.join(get_args(UNet))}")
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
