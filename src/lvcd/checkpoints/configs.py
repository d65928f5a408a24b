"""Configurations of the networks in an original checkpoint, inferred from the shapes of its tensors alone."""

from __future__ import annotations

import math
import re
from pathlib import Path

from lvcd.errors import InputError

from .component import PREFIXES
from .config_files import Config
from .files import LazyStateDict


class _Shapes:
    """The shapes of the tensors under one prefix of a checkpoint."""

    def __init__(self, tensors: LazyStateDict, prefix: str, source: Path):
        self.prefix, self.source = prefix, source
        self.shapes = {name[len(prefix) :]: t.shape for name, t in tensors.items() if name.startswith(prefix)}

    def __call__(self, name: str, dim: int, rank: int) -> int:
        """Return the size of a tensor along `dim`. InputError: it is missing, or has another number of dimensions."""
        shape = self.shapes.get(name)
        if shape is None:
            raise InputError(f"{self.source}: {self.prefix}{name} is missing")
        if len(shape) != rank:
            raise InputError(f"{self.source}: {self.prefix}{name} has shape {shape}, expected {rank} dimensions")
        return shape[dim]

    def count(self, stem: str) -> int:
        """Return how many of `stem`.0, .1, ... there are, by the highest number: a gap is a missing tensor."""
        numbers = [re.match(rf"{re.escape(stem)}\.(\d+)\.", name) for name in self.shapes]
        return max((int(m[1]) + 1 for m in numbers if m), default=0)

    def has(self, prefix: str) -> bool:
        """Return whether any tensor's name starts so."""
        return any(name.startswith(prefix) for name in self.shapes)


def unet_config(tensors: LazyStateDict, source: Path, head_channels: int) -> Config:
    """Infer the U-Net's configuration.

    head_channels  channels of an attention head, which no shape shows
    source         the file that messages name
    InputError: a tensor is missing, or the shapes are not those of a video U-Net.
    """
    size = _Shapes(tensors, PREFIXES["unet"], source)
    channels: list[list[int]] = [[]]  # of each level's residual blocks
    attends = [False]
    for n in range(1, size.count("input_blocks")):
        if size.has(f"input_blocks.{n}.0.op."):
            channels.append([])
            attends.append(False)
        else:
            channels[-1].append(size(f"input_blocks.{n}.0.in_layers.2.weight", 0, 4))
            attends[-1] |= size.has(f"input_blocks.{n}.1.")
    if not all(channels) or not any(attends):
        raise InputError(f"{source}: {size.prefix}input_blocks is missing, or is no video U-Net's")
    layers = [len(level) for level in channels]
    widths = [level[-1] for level in channels]
    first = 1 + sum(layers[: attends.index(True)]) + attends.index(True)
    numbers = size("label_emb.0.0.weight", 1, 2)
    if numbers % 3:
        raise InputError(f"{source}: {size.prefix}label_emb.0.0.weight is {numbers} wide, not a multiple of 3")
    for width, attend in zip(widths, attends):
        if (attend or width == widths[-1]) and width % head_channels:
            raise InputError(
                f"{source}: {width} channels do not divide into heads of {head_channels}; give --head-channels"
            )
    kinds = ["CrossAttnDownBlockSpatioTemporal" if a else "DownBlockSpatioTemporal" for a in attends]
    return {
        "in_channels": size("input_blocks.0.0.weight", 1, 4),
        "out_channels": size("out.2.weight", 0, 4),
        "down_block_types": kinds,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(kinds)],
        "block_out_channels": widths,
        "addition_time_embed_dim": numbers // 3,
        "projection_class_embeddings_input_dim": numbers,
        "layers_per_block": layers[0] if len(set(layers)) == 1 else layers,
        "cross_attention_dim": size(f"input_blocks.{first}.1.transformer_blocks.0.attn2.to_k.weight", 1, 2),
        "num_attention_heads": [max(1, width // head_channels) for width in widths],
        "num_frames": 14,
    }


def controlnet_config(tensors: LazyStateDict, source: Path, unet: Config) -> Config:
    """Infer the ControlNet's configuration: the U-Net's, and the widths of its sketch stem: of its first convolution,
    and of each that halves the size."""
    size = _Shapes(tensors, PREFIXES["controlnet"], source)
    stem = range(0, max(size.count("input_hint_block") - 1, 1), 4)
    widths = [size(f"input_hint_block.{i}.weight", 0, 4) for i in stem]
    return {k: v for k, v in unet.items() if not k.startswith("_")} | {"stem_widths": widths}


def latent_encoder_config(tensors: LazyStateDict, source: Path, prefix: str) -> Config:
    """Infer the configuration of the VAE encoder whose tensors' names start with `prefix`."""
    size = _Shapes(tensors, prefix, source)
    levels = size.count("encoder.down")
    return {
        "in_channels": size("encoder.conv_in.weight", 1, 4),
        "latent_channels": size("encoder.conv_out.weight", 0, 4) // 2,
        "block_out_channels": [size(f"encoder.down.{i}.block.0.conv1.weight", 0, 4) for i in range(levels)],
        "layers_per_block": size.count("encoder.down.0.block"),
    }


def vae_config(tensors: LazyStateDict, source: Path) -> Config:
    """Infer the VAE's configuration."""
    encoder = latent_encoder_config(tensors, source, PREFIXES["vae"])
    size = _Shapes(tensors, PREFIXES["vae"], source)
    return {
        **encoder,
        "out_channels": size("decoder.conv_out.weight", 0, 4),
        "down_block_types": ["DownEncoderBlock2D"] * len(encoder["block_out_channels"]),
    }


def clip_config(tensors: LazyStateDict, source: Path) -> Config:
    """Infer the configuration of CLIP's image encoder, taken to be like open_clip's ViT-H-14: exact gelu, eps 1e-5,
    heads of 80 channels, or of 64 where 80 does not divide the width."""
    size = _Shapes(tensors, PREFIXES["image_encoder"], source)
    width, patch = size("conv1.weight", 0, 4), size("conv1.weight", 3, 4)
    head = next((h for h in (80, 64) if width % h == 0), None)
    if head is None:
        raise InputError(f"{source}: {size.prefix}* is {width} wide, which divides into heads of neither 80 nor 64")
    patches = size("positional_embedding", 0, 2) - 1
    if patches < 1 or math.isqrt(patches) ** 2 != patches:
        raise InputError(f"{source}: {size.prefix}positional_embedding has {patches} patches, not a square")
    return {
        "hidden_size": width,
        "intermediate_size": size("transformer.resblocks.0.mlp.c_fc.weight", 0, 2),
        "num_hidden_layers": size.count("transformer.resblocks"),
        "num_attention_heads": width // head,
        "num_channels": size("conv1.weight", 1, 4),
        "patch_size": patch,
        "image_size": patch * math.isqrt(patches),
        "projection_dim": size("proj", 1, 2),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }
