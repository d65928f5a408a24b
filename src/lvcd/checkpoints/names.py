"""Tables of names: which tensor of ours is which of the original's (sgm), a table a component, for both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from torch import Tensor

from .config_files import Config


class OriginalName(NamedTuple):
    """The place of one of our tensors in the original's checkpoint."""

    name: str
    transform: str = "same"
    """How the original's tensor becomes ours: a key of FROM_ORIGINAL."""


FROM_ORIGINAL: dict[str, Callable[[Tensor], Tensor]] = {
    "same": lambda t: t,
    "conv1x1": lambda t: t.flatten(1),  # (o i 1 1) => (o i)
    "transposed": lambda t: t.t(),
    "q": lambda t: t.chunk(3)[0],  # first third of the rows of a fused projection
    "k": lambda t: t.chunk(3)[1],
    "v": lambda t: t.chunk(3)[2],
}
"""Transform -> the original's tensor to ours."""
TO_ORIGINAL: dict[str, Callable[[Tensor], Tensor]] = {
    "same": lambda t: t,
    "conv1x1": lambda t: t[:, :, None, None],
    "transposed": lambda t: t.t(),
}
"""Transform -> our tensor to the original's. Three of ours, q, k and v, are joined to one instead."""

NameTable = dict[str, OriginalName]
"""A prefix of our names, or a whole name -> what stands in its place in the original."""


def with_prefixes(ours: str, original: str, inner: Mapping[str, Any]) -> NameTable:
    """Put prefixes before a table: `ours` before our names, `original` before the original's.

    inner  our names -> the original's, each a str or an OriginalName
    """
    table = {}
    for name, place in inner.items():
        inner_name, transform = place if isinstance(place, OriginalName) else OriginalName(place)
        table[ours + name] = OriginalName(original + inner_name, transform)
    return table


_RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
}
UNET_RESNET = {
    **{f"spatial_res_block.{ours}": original for ours, original in _RES.items()},
    **{f"temporal_res_block.{ours}": f"time_stack.{original}" for ours, original in _RES.items()},
    "spatial_res_block.conv_shortcut": "skip_connection",
    "time_mixer": "time_mixer",
}
UNET_ATTENTION = {
    "norm": "norm",
    "proj_in": "proj_in",
    "transformer_blocks": "transformer_blocks",
    "temporal_transformer_blocks": "time_stack",
    "time_pos_embed.linear_1": "time_pos_embed.0",
    "time_pos_embed.linear_2": "time_pos_embed.2",
    "time_mixer": "time_mixer",
    "proj_out": "proj_out",
}


def _per_level(value: int | Sequence[int], levels: int) -> list[int]:
    return [value] * levels if isinstance(value, int) else list(value)


def encoder_table(config: Config) -> NameTable:
    """Return the table of the encoder, the half that U-Net and ControlNet share."""
    table = {
        "conv_in": OriginalName("input_blocks.0.0"),
        "time_embedding.linear_1": OriginalName("time_embed.0"),
        "time_embedding.linear_2": OriginalName("time_embed.2"),
        "add_embedding.linear_1": OriginalName("label_emb.0.0"),
        "add_embedding.linear_2": OriginalName("label_emb.0.2"),
        **with_prefixes("mid_block.resnets.0.", "middle_block.0.", UNET_RESNET),
        **with_prefixes("mid_block.attentions.0.", "middle_block.1.", UNET_ATTENTION),
        **with_prefixes("mid_block.resnets.1.", "middle_block.2.", UNET_RESNET),
    }
    kinds = config["down_block_types"]
    n = count(1)
    for i, (kind, layers) in enumerate(zip(kinds, _per_level(config["layers_per_block"], len(kinds)))):
        for j in range(layers):
            block = next(n)
            table |= with_prefixes(f"down_blocks.{i}.resnets.{j}.", f"input_blocks.{block}.0.", UNET_RESNET)
            if "CrossAttn" in kind:
                table |= with_prefixes(f"down_blocks.{i}.attentions.{j}.", f"input_blocks.{block}.1.", UNET_ATTENTION)
        if i + 1 < len(kinds):
            table[f"down_blocks.{i}.downsamplers.0.conv"] = OriginalName(f"input_blocks.{next(n)}.0.op")
    return table


def unet_table(config: Config) -> NameTable:
    """Return the table of the U-Net."""
    table = {**encoder_table(config), "conv_norm_out": OriginalName("out.0"), "conv_out": OriginalName("out.2")}
    kinds = config["up_block_types"]
    n = count()
    for i, (kind, layers) in enumerate(zip(kinds, _per_level(config["layers_per_block"], len(kinds))[::-1])):
        attends = "CrossAttn" in kind
        for j in range(layers + 1):
            block = next(n)
            table |= with_prefixes(f"up_blocks.{i}.resnets.{j}.", f"output_blocks.{block}.0.", UNET_RESNET)
            if attends:
                table |= with_prefixes(f"up_blocks.{i}.attentions.{j}.", f"output_blocks.{block}.1.", UNET_ATTENTION)
        if i + 1 < len(kinds):
            table[f"up_blocks.{i}.upsamplers.0.conv"] = OriginalName(f"output_blocks.{block}.{1 + attends}.conv")
    return table


def controlnet_table(config: Config) -> NameTable:
    """Return the table of the ControlNet: the encoder's, the sketch stem and the zero convolutions."""
    blocks = sum(_per_level(config["layers_per_block"], levels := len(config["down_block_types"]))) + levels
    return {
        **encoder_table(config),
        "stem": OriginalName("input_hint_block"),
        **{f"zero_convs.{k}": OriginalName(f"zero_convs.{k}.0") for k in range(blocks)},
        "zero_mid": OriginalName("middle_block_out.0"),
    }


VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"conv_shortcut": "nin_shortcut"}
VAE_VIDEO_RESNET = {
    **{f"spatial_res_block.{ours}": original for ours, original in VAE_RESNET.items()},
    **{
        f"temporal_res_block.{ours}": f"time_stack.{original}"
        for ours, original in _RES.items()
        if ours != "time_emb_proj"
    },
    "time_mixer.mix_factor": "mix_factor",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    **{
        f"{ours}.{kind}": OriginalName(f"{original}.{kind}", how)
        for ours, original in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))
        for kind, how in (("weight", "conv1x1"), ("bias", "same"))
    },
}
VAE_ENDS = {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out"}


def latent_encoder_table(config: Config) -> NameTable:
    """Return the table of the condition's encoder: a VAE's encoder with its quant_conv."""
    table = {
        **with_prefixes("encoder.", "encoder.", VAE_ENDS),
        **with_prefixes("encoder.mid_block.resnets.0.", "encoder.mid.block_1.", VAE_RESNET),
        **with_prefixes("encoder.mid_block.attentions.0.", "encoder.mid.attn_1.", VAE_ATTENTION),
        **with_prefixes("encoder.mid_block.resnets.1.", "encoder.mid.block_2.", VAE_RESNET),
        "quant_conv": OriginalName("quant_conv"),
    }
    for i in range(len(config["block_out_channels"])):
        for j in range(config["layers_per_block"]):
            table |= with_prefixes(f"encoder.down_blocks.{i}.resnets.{j}.", f"encoder.down.{i}.block.{j}.", VAE_RESNET)
        table[f"encoder.down_blocks.{i}.downsamplers.0.conv"] = OriginalName(f"encoder.down.{i}.downsample.conv")
    return table


def vae_table(config: Config) -> NameTable:
    """Return the table of the VAE, without quant_conv, which the original's first stage lacks."""
    table = {
        **latent_encoder_table(config),
        **with_prefixes("decoder.", "decoder.", VAE_ENDS),
        **with_prefixes("decoder.mid_block.resnets.0.", "decoder.mid.block_1.", VAE_VIDEO_RESNET),
        **with_prefixes("decoder.mid_block.attentions.0.", "decoder.mid.attn_1.", VAE_ATTENTION),
        **with_prefixes("decoder.mid_block.resnets.1.", "decoder.mid.block_2.", VAE_VIDEO_RESNET),
        "decoder.time_conv_out": OriginalName("decoder.conv_out.time_mix_conv"),
    }
    del table["quant_conv"]
    levels = len(config["block_out_channels"])
    for i in range(levels):
        original = f"decoder.up.{levels - 1 - i}."
        for j in range(config["layers_per_block"] + 1):
            table |= with_prefixes(f"decoder.up_blocks.{i}.resnets.{j}.", f"{original}block.{j}.", VAE_VIDEO_RESNET)
        table[f"decoder.up_blocks.{i}.upsamplers.0.conv"] = OriginalName(f"{original}upsample.conv")
    return table


CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    **{
        f"self_attn.{part}_proj.{kind}": OriginalName(f"attn.in_proj_{kind}", part)
        for part in "qkv"
        for kind in ("weight", "bias")
    },
}


def clip_table(config: Config) -> NameTable:
    """Return the table of CLIP's image encoder, whose query, key and value projections the original fuses."""
    table = {
        "vision_model.embeddings.class_embedding": OriginalName("class_embedding"),
        "vision_model.embeddings.patch_embedding": OriginalName("conv1"),
        "vision_model.embeddings.position_embedding.weight": OriginalName("positional_embedding"),
        "vision_model.pre_layrnorm": OriginalName("ln_pre"),
        "vision_model.post_layernorm": OriginalName("ln_post"),
        "visual_projection.weight": OriginalName("proj", "transposed"),
    }
    for i in range(config["num_hidden_layers"]):
        table |= with_prefixes(f"vision_model.encoder.layers.{i}.", f"transformer.resblocks.{i}.", CLIP_LAYER)
    return table


TABLES: dict[str, Callable[[Config], NameTable]] = {
    "unet": unet_table,
    "controlnet": controlnet_table,
    "vae": vae_table,
    "image_encoder": clip_table,
    "condition_encoder": latent_encoder_table,
}
"""Component's name -> its table, for a configuration."""


def prefixes(name: str) -> Iterator[str]:
    """Yield a name and its prefixes, the longest first: "a.b.c" => "a.b.c", "a.b", "a"."""
    while name:
        yield name
        name = name.rpartition(".")[0]
