"""Which of our names is which of the original's (sgm): one table for each component, used in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple

from torch import Tensor

from .files import Config


class Theirs(NamedTuple):
    """Where one of our tensors lies in the original."""

    name: str
    how: str = "same"
    """A key of UNPACK."""


UNPACK: dict[str, Callable[[Tensor], Tensor]] = {  # theirs => ours
    "same": lambda t: t,
    "conv1x1": lambda t: t.flatten(1),  # (o i 1 1) => (o i)
    "transposed": lambda t: t.t(),
    "q": lambda t: t.chunk(3)[0],  # first third of the rows of a fused projection
    "k": lambda t: t.chunk(3)[1],
    "v": lambda t: t.chunk(3)[2],
}
PACK: dict[str, Callable[[Tensor], Tensor]] = {  # ours => theirs, where one tensor is one tensor
    "same": lambda t: t,
    "conv1x1": lambda t: t[:, :, None, None],
    "transposed": lambda t: t.t(),
}

Table = dict[str, Theirs]
"""A prefix of our names (whole names included) -> what stands there in the original."""


def joined(ours: str, theirs: str, inner: Mapping[str, Any]) -> Table:
    """inner: our names -> theirs (str or Theirs), both below the prefixes `ours` and `theirs`."""
    table = {}
    for mine, other in inner.items():
        name, how = other if isinstance(other, Theirs) else Theirs(other)
        table[ours + mine] = Theirs(theirs + name, how)
    return table


_RES = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
}
UNET_RESNET = {
    **{f"spatial_res_block.{ours}": theirs for ours, theirs in _RES.items()},
    **{f"temporal_res_block.{ours}": f"time_stack.{theirs}" for ours, theirs in _RES.items()},
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


def encoder_table(config: Config) -> Table:
    """The half that U-Net and ControlNet share."""
    table = {
        "conv_in": Theirs("input_blocks.0.0"),
        "time_embedding.linear_1": Theirs("time_embed.0"),
        "time_embedding.linear_2": Theirs("time_embed.2"),
        "add_embedding.linear_1": Theirs("label_emb.0.0"),
        "add_embedding.linear_2": Theirs("label_emb.0.2"),
        **joined("mid_block.resnets.0.", "middle_block.0.", UNET_RESNET),
        **joined("mid_block.attentions.0.", "middle_block.1.", UNET_ATTENTION),
        **joined("mid_block.resnets.1.", "middle_block.2.", UNET_RESNET),
    }
    kinds = config["down_block_types"]
    n = count(1)
    for i, (kind, layers) in enumerate(zip(kinds, _per_level(config["layers_per_block"], len(kinds)))):
        for j in range(layers):
            block = next(n)
            table |= joined(f"down_blocks.{i}.resnets.{j}.", f"input_blocks.{block}.0.", UNET_RESNET)
            if "CrossAttn" in kind:
                table |= joined(f"down_blocks.{i}.attentions.{j}.", f"input_blocks.{block}.1.", UNET_ATTENTION)
        if i + 1 < len(kinds):
            table[f"down_blocks.{i}.downsamplers.0.conv"] = Theirs(f"input_blocks.{next(n)}.0.op")
    return table


def unet_table(config: Config) -> Table:
    table = {**encoder_table(config), "conv_norm_out": Theirs("out.0"), "conv_out": Theirs("out.2")}
    kinds = config["up_block_types"]
    n = count()
    for i, (kind, layers) in enumerate(zip(kinds, _per_level(config["layers_per_block"], len(kinds))[::-1])):
        attends = "CrossAttn" in kind
        for j in range(layers + 1):
            block = next(n)
            table |= joined(f"up_blocks.{i}.resnets.{j}.", f"output_blocks.{block}.0.", UNET_RESNET)
            if attends:
                table |= joined(f"up_blocks.{i}.attentions.{j}.", f"output_blocks.{block}.1.", UNET_ATTENTION)
        if i + 1 < len(kinds):
            table[f"up_blocks.{i}.upsamplers.0.conv"] = Theirs(f"output_blocks.{block}.{1 + attends}.conv")
    return table


def controlnet_table(config: Config) -> Table:
    blocks = sum(_per_level(config["layers_per_block"], levels := len(config["down_block_types"]))) + levels
    return {
        **encoder_table(config),
        "stem": Theirs("input_hint_block"),
        **{f"zero_convs.{k}": Theirs(f"zero_convs.{k}.0") for k in range(blocks)},
        "zero_mid": Theirs("middle_block_out.0"),
    }


VAE_RESNET = {name: name for name in ("norm1", "conv1", "norm2", "conv2")} | {"conv_shortcut": "nin_shortcut"}
VAE_VIDEO_RESNET = {
    **{f"spatial_res_block.{ours}": theirs for ours, theirs in VAE_RESNET.items()},
    **{f"temporal_res_block.{o}": f"time_stack.{t}" for o, t in _RES.items() if o != "time_emb_proj"},
    "time_mixer.mix_factor": "mix_factor",
}
VAE_ATTENTION = {
    "group_norm": "norm",
    **{
        f"{ours}.{kind}": Theirs(f"{theirs}.{kind}", how)
        for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out"))
        for kind, how in (("weight", "conv1x1"), ("bias", "same"))
    },
}
VAE_ENDS = {"conv_in": "conv_in", "conv_norm_out": "norm_out", "conv_out": "conv_out"}


def latent_encoder_table(config: Config) -> Table:
    table = {
        **joined("encoder.", "encoder.", VAE_ENDS),
        **joined("encoder.mid_block.resnets.0.", "encoder.mid.block_1.", VAE_RESNET),
        **joined("encoder.mid_block.attentions.0.", "encoder.mid.attn_1.", VAE_ATTENTION),
        **joined("encoder.mid_block.resnets.1.", "encoder.mid.block_2.", VAE_RESNET),
        "quant_conv": Theirs("quant_conv"),
    }
    for i in range(len(config["block_out_channels"])):
        for j in range(config["layers_per_block"]):
            table |= joined(f"encoder.down_blocks.{i}.resnets.{j}.", f"encoder.down.{i}.block.{j}.", VAE_RESNET)
        table[f"encoder.down_blocks.{i}.downsamplers.0.conv"] = Theirs(f"encoder.down.{i}.downsample.conv")
    return table


def vae_table(config: Config) -> Table:
    """Without quant_conv, which the original's first stage has not."""
    table = {
        **latent_encoder_table(config),
        **joined("decoder.", "decoder.", VAE_ENDS),
        **joined("decoder.mid_block.resnets.0.", "decoder.mid.block_1.", VAE_VIDEO_RESNET),
        **joined("decoder.mid_block.attentions.0.", "decoder.mid.attn_1.", VAE_ATTENTION),
        **joined("decoder.mid_block.resnets.1.", "decoder.mid.block_2.", VAE_VIDEO_RESNET),
        "decoder.time_conv_out": Theirs("decoder.conv_out.time_mix_conv"),
    }
    del table["quant_conv"]
    levels = len(config["block_out_channels"])
    for i in range(levels):
        theirs = f"decoder.up.{levels - 1 - i}."
        for j in range(config["layers_per_block"] + 1):
            table |= joined(f"decoder.up_blocks.{i}.resnets.{j}.", f"{theirs}block.{j}.", VAE_VIDEO_RESNET)
        table[f"decoder.up_blocks.{i}.upsamplers.0.conv"] = Theirs(f"{theirs}upsample.conv")
    return table


CLIP_LAYER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
    **{
        f"self_attn.{part}_proj.{kind}": Theirs(f"attn.in_proj_{kind}", part)
        for part in "qkv"
        for kind in ("weight", "bias")
    },
}


def clip_table(config: Config) -> Table:
    table = {
        "vision_model.embeddings.class_embedding": Theirs("class_embedding"),
        "vision_model.embeddings.patch_embedding": Theirs("conv1"),
        "vision_model.embeddings.position_embedding.weight": Theirs("positional_embedding"),
        "vision_model.pre_layrnorm": Theirs("ln_pre"),
        "vision_model.post_layernorm": Theirs("ln_post"),
        "visual_projection.weight": Theirs("proj", "transposed"),
    }
    for i in range(config["num_hidden_layers"]):
        table |= joined(f"vision_model.encoder.layers.{i}.", f"transformer.resblocks.{i}.", CLIP_LAYER)
    return table


TABLES: dict[str, Callable[[Config], Table]] = {
    "unet": unet_table,
    "controlnet": controlnet_table,
    "vae": vae_table,
    "image_encoder": clip_table,
    "condition_encoder": latent_encoder_table,
}


def prefixes(name: str) -> Iterator[str]:
    """ "a.b.c" => "a.b.c", "a.b", "a" """
    while name:
        yield name
        name = name.rpartition(".")[0]
