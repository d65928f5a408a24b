"""The released checkpoints (sgm names: svd.safetensors and lvcd.ckpt) to a folder of our classes, and back.

A checkpoint is a dict of name -> Lazy: shape and dtype are known, the numbers are read when they are written. So
nothing is held but the tensor on its way, and everything is checked before the first byte is written. One table for
each component says which of our names is which of theirs, and is used in both directions.

    sgm name                                         component          class
    model.diffusion_model.                           unet               ColorUNet
    control_model.                                   controlnet         SketchControlNet
    first_stage_model.                               vae                AutoencoderKLTemporalDecoder
    conditioner.embedders.3.encoder.                 condition_encoder  LatentEncoder
    conditioner.embedders.0.open_clip.model.visual.  image_encoder      CLIPVisionModelWithProjection
"""

from __future__ import annotations

import inspect
import json
import math
import pickle
import re
import shutil
import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import diffusers
import torch
from diffusers import AutoencoderKLTemporalDecoder
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.errors import InputError

from .condition import LatentEncoder
from .controlnet import SketchControlNet
from .unet import ColorUNet

CLASSES: dict[str, tuple[str, type]] = {
    "unet": ("lvcd.nn.unet", ColorUNet),
    "controlnet": ("lvcd.nn.controlnet", SketchControlNet),
    "vae": ("diffusers", AutoencoderKLTemporalDecoder),
    "image_encoder": ("transformers", CLIPVisionModelWithProjection),
    "condition_encoder": ("lvcd.nn.condition", LatentEncoder),
}
PREFIXES = {
    "unet": "model.diffusion_model.",
    "controlnet": "control_model.",
    "vae": "first_stage_model.",
    "image_encoder": "conditioner.embedders.0.open_clip.model.visual.",
    "condition_encoder": "conditioner.embedders.3.encoder.",
}

# What may lie in the files besides, and why it is left there. Prefixes where they end in ".", else whole names.
TEXT_TOWER = "CLIP's text tower, of which only the image half is used"
TRAINING = "used in training only"
IGNORED_SVD = {
    "model_ema.": "moving average of the weights",
    "conditioner.embedders.0.open_clip.model.transformer.": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.token_embedding.": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.ln_final.": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.positional_embedding": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.text_projection": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.logit_scale": TEXT_TOWER,
    "conditioner.embedders.0.open_clip.model.attn_mask": TEXT_TOWER,
    "conditioner.embedders.0.mean": "CLIP's normalization, a constant",
    "conditioner.embedders.0.std": "CLIP's normalization, a constant",
    "conditioner.embedders.3.encoder.decoder.": "decoder of the conditioner's VAE, never called",
    "conditioner.embedders.3.encoder.post_quant_conv.": "decoder of the conditioner's VAE, never called",
    "conditioner.embedders.3.encoder.loss.": TRAINING,
    "first_stage_model.loss.": TRAINING,
    "loss_fn.": TRAINING,
    "denoiser.": "noise schedule, which is computed",
    "filter.": "NSFW filter, never called",
    "nsfw_filter.": "NSFW filter, never called",
}
IGNORED_LVCD = {
    **IGNORED_SVD,
    "conditioner.": "taken from SVD's file",
    "first_stage_model.": "taken from SVD's file",
    "control_model_ema.": "moving average of the weights",
}
IGNORED_DIFFUSERS = {"vision_model.embeddings.position_ids": "a count from 0, which is computed"}

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
MAX_SHARD = 2 * 10**9  # bytes

Config = dict[str, Any]


# ---------------------------------------------------------------------------------------------------------------------
# Tensors that are not read yet


@dataclass(frozen=True)
class Lazy:
    meta: Tensor
    """On the meta device: shape and dtype."""
    read: Callable[[], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.meta.shape)


Checkpoint = dict[str, Lazy]


def held(tensor: Tensor) -> Lazy:
    return Lazy(tensor.to("meta"), lambda: tensor)


def combine(function: Callable[..., Tensor], *parts: Lazy) -> Lazy:
    """function(*parts), computed when read."""
    return Lazy(function(*(p.meta for p in parts)), lambda: function(*(p.read() for p in parts)))


def open_checkpoint(path: Path) -> tuple[Checkpoint, list[str]]:
    """=> its tensors, and the names of what else the file holds (a Lightning checkpoint's optimizer and so on).

    `.safetensors`, or anything torch.save writes: {"state_dict": ...} or the dict itself. Code in it is never run.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return _open_safetensors(path), []
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: refused, it holds pickled code or is no checkpoint; only tensors are read") from None
    except Exception as e:  # torch raises nearly anything on a foreign or damaged file
        raise InputError(f"{path}: damaged, or not a checkpoint of torch 1.6 or later ({type(e).__name__})") from None
    others: list[str] = []
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        others = [str(k) for k in content if k != "state_dict"]
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no state dict")
    strange = [str(k) for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise InputError(f"{path}: not only tensors by name, but also {_some(strange)}")
    return {name: held(tensor) for name, tensor in content.items()}, others


def _open_safetensors(path: Path) -> Checkpoint:
    dtypes = {name: dtype for dtype, name in DTYPES.items()}
    try:
        file = safe_open(path, framework="pt")
    except Exception as e:  # a SafetensorError, or what the file system says
        raise InputError(f"{path}: damaged, or not a safetensors file ({e})") from None

    def lazy(name: str) -> Lazy:
        part = file.get_slice(name)
        dtype = dtypes.get(part.get_dtype(), torch.int64)  # not a float: `check` refuses it where one is wanted
        return Lazy(torch.empty(part.get_shape(), dtype=dtype, device="meta"), lambda: file.get_tensor(name))

    return {name: lazy(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def write_safetensors(tensors: Checkpoint, path: Path) -> None:
    """The same bytes as safetensors' own writer, tensor by tensor (which holds all of them at once)."""
    order = sorted(tensors, key=lambda name: (-tensors[name].meta.element_size(), name))  # keeps all aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        meta = tensors[name].meta
        start, end = end, end + meta.nbytes
        header[name] = {"dtype": DTYPES[meta.dtype], "shape": list(meta.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].read().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def write_torch(tensors: Checkpoint, path: Path) -> None:
    """{"state_dict": ...} as torch.save does it. Tensors that lie in files as they are stay there until written."""
    try:
        torch.save({"state_dict": {name: lazy.read().contiguous() for name, lazy in tensors.items()}}, path)
    except RuntimeError as e:  # what torch makes of a full disk
        raise OSError(str(e).splitlines()[0]) from None


def write_sharded(tensors: Checkpoint, folder: Path, stem: str, max_shard: int) -> int:
    """One file, or several of at most `max_shard` bytes (or one tensor) and an index. => the number of files."""
    shards: list[Checkpoint] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.meta.nbytes > max_shard:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.meta.nbytes
    if len(shards) == 1:
        write_safetensors(tensors, folder / f"{stem}.safetensors")
        return 1
    where: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(shard, folder / file)
        where |= dict.fromkeys(shard, file)
    total = sum(t.meta.nbytes for t in tensors.values())
    _write_json({"metadata": {"total_size": total}, "weight_map": where}, folder / f"{stem}.safetensors.index.json")
    return len(shards)


# ---------------------------------------------------------------------------------------------------------------------
# Names


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


def _joined(ours: str, theirs: str, inner: Mapping[str, Any]) -> Table:
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
        **_joined("mid_block.resnets.0.", "middle_block.0.", UNET_RESNET),
        **_joined("mid_block.attentions.0.", "middle_block.1.", UNET_ATTENTION),
        **_joined("mid_block.resnets.1.", "middle_block.2.", UNET_RESNET),
    }
    kinds = config["down_block_types"]
    n = count(1)
    for i, (kind, layers) in enumerate(zip(kinds, _per_level(config["layers_per_block"], len(kinds)))):
        for j in range(layers):
            block = next(n)
            table |= _joined(f"down_blocks.{i}.resnets.{j}.", f"input_blocks.{block}.0.", UNET_RESNET)
            if "CrossAttn" in kind:
                table |= _joined(f"down_blocks.{i}.attentions.{j}.", f"input_blocks.{block}.1.", UNET_ATTENTION)
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
            table |= _joined(f"up_blocks.{i}.resnets.{j}.", f"output_blocks.{block}.0.", UNET_RESNET)
            if attends:
                table |= _joined(f"up_blocks.{i}.attentions.{j}.", f"output_blocks.{block}.1.", UNET_ATTENTION)
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
        **_joined("encoder.", "encoder.", VAE_ENDS),
        **_joined("encoder.mid_block.resnets.0.", "encoder.mid.block_1.", VAE_RESNET),
        **_joined("encoder.mid_block.attentions.0.", "encoder.mid.attn_1.", VAE_ATTENTION),
        **_joined("encoder.mid_block.resnets.1.", "encoder.mid.block_2.", VAE_RESNET),
        "quant_conv": Theirs("quant_conv"),
    }
    for i in range(len(config["block_out_channels"])):
        for j in range(config["layers_per_block"]):
            table |= _joined(f"encoder.down_blocks.{i}.resnets.{j}.", f"encoder.down.{i}.block.{j}.", VAE_RESNET)
        table[f"encoder.down_blocks.{i}.downsamplers.0.conv"] = Theirs(f"encoder.down.{i}.downsample.conv")
    return table


def vae_table(config: Config) -> Table:
    """Without quant_conv, which the original's first stage has not."""
    table = {
        **latent_encoder_table(config),
        **_joined("decoder.", "decoder.", VAE_ENDS),
        **_joined("decoder.mid_block.resnets.0.", "decoder.mid.block_1.", VAE_VIDEO_RESNET),
        **_joined("decoder.mid_block.attentions.0.", "decoder.mid.attn_1.", VAE_ATTENTION),
        **_joined("decoder.mid_block.resnets.1.", "decoder.mid.block_2.", VAE_VIDEO_RESNET),
        "decoder.time_conv_out": Theirs("decoder.conv_out.time_mix_conv"),
    }
    del table["quant_conv"]
    levels = len(config["block_out_channels"])
    for i in range(levels):
        theirs = f"decoder.up.{levels - 1 - i}."
        for j in range(config["layers_per_block"] + 1):
            table |= _joined(f"decoder.up_blocks.{i}.resnets.{j}.", f"{theirs}block.{j}.", VAE_VIDEO_RESNET)
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
        table |= _joined(f"vision_model.encoder.layers.{i}.", f"transformer.resblocks.{i}.", CLIP_LAYER)
    return table


TABLES: dict[str, Callable[[Config], Table]] = {
    "unet": unet_table,
    "controlnet": controlnet_table,
    "vae": vae_table,
    "image_encoder": clip_table,
    "condition_encoder": latent_encoder_table,
}


# ---------------------------------------------------------------------------------------------------------------------
# Components


@dataclass
class Component:
    """One network of the pipeline, known by its configuration, without weights."""

    name: str
    model: Any
    """An nn.Module of the class in CLASSES, on the meta device."""
    names: Table
    """Every tensor of the original's part -> its place there. A bijection."""

    @classmethod
    def of(cls, name: str, config: Config, source: Path) -> Component:
        """source: who is to blame if no network can be built of `config`."""
        kind = CLASSES[name][1]
        try:
            with torch.device("meta"):
                if kind is CLIPVisionModelWithProjection:
                    model = kind(CLIPVisionConfig.from_dict({**config, "architectures": [kind.__name__]}))
                else:
                    known = inspect.signature(kind).parameters
                    model = kind(**{k: v for k, v in config.items() if k in known})
            table = TABLES[name](_settings(model))
        except Exception as e:  # sizes that do not fit raise whatever the layer in question raises
            raise InputError(f"{source}: no {name} of such sizes can be built ({e})") from None
        names = {}
        for ours in model.state_dict():
            prefix = next((p for p in _prefixes(ours) if p in table), None)
            if prefix is not None:
                theirs, how = table[prefix]
                names[ours] = Theirs(PREFIXES[name] + theirs + ours[len(prefix) :], how)
            elif not (name == "vae" and ours.startswith("quant_conv.")):
                raise InputError(f"{source}: {name} has {ours}, for which the original has no name")
        assert len(set(names.values())) == len(names)
        return cls(name, model, names)

    @cached_property
    def expected(self) -> Checkpoint:
        """Our names and shapes (nothing to read)."""
        return {name: held(tensor) for name, tensor in self.model.state_dict().items()}

    @cached_property
    def expected_original(self) -> Checkpoint:
        """The original's."""
        return self.to_original(self.expected)

    def to_ours(self, theirs: Checkpoint) -> Checkpoint:
        return {ours: combine(UNPACK[how], theirs[name]) for ours, (name, how) in self.names.items()}

    def to_original(self, ours: Checkpoint) -> Checkpoint:
        pieces: dict[str, dict[str, Lazy]] = defaultdict(dict)
        for mine, (name, how) in self.names.items():
            pieces[name][how] = ours[mine]
        result = {}
        for name, parts in pieces.items():
            if "q" in parts:
                result[name] = combine(lambda *p: torch.cat(p), parts["q"], parts["k"], parts["v"])
            else:
                ((how, part),) = parts.items()
                result[name] = combine(PACK[how], part)
        return result

    def write(self, tensors: Checkpoint, folder: Path, max_shard: int) -> int:
        """Configuration and weights as from_pretrained reads them. => the number of files with weights."""
        folder.mkdir()
        if self.name == "image_encoder":
            self.model.config.dtype = next(iter(tensors.values())).meta.dtype
            self.model.config.save_pretrained(folder)
            return write_sharded(tensors, folder, "model", max_shard)
        self.model.save_config(folder)
        return write_sharded(tensors, folder, "diffusion_pytorch_model", max_shard)


def _prefixes(name: str) -> Iterator[str]:
    """ "a.b.c" => "a.b.c", "a.b", "a" """
    while name:
        yield name
        name = name.rpartition(".")[0]


def _settings(model: Any) -> Config:
    return model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)


# ---------------------------------------------------------------------------------------------------------------------
# Configuration from shapes


class _Sizes:
    """The shapes under one prefix of a checkpoint."""

    def __init__(self, tensors: Checkpoint, prefix: str, source: Path):
        self.prefix, self.source = prefix, source
        self.shapes = {name[len(prefix) :]: t.shape for name, t in tensors.items() if name.startswith(prefix)}

    def __call__(self, name: str, dim: int, rank: int) -> int:
        shape = self.shapes.get(name)
        if shape is None:
            raise InputError(f"{self.source}: {self.prefix}{name} is missing")
        if len(shape) != rank:
            raise InputError(f"{self.source}: {self.prefix}{name} has shape {shape}, expected {rank} dimensions")
        return shape[dim]

    def count(self, stem: str) -> int:
        """How many of `stem`.0, .1, ... there are (by the highest number: a gap is a missing tensor)."""
        numbers = [re.match(rf"{re.escape(stem)}\.(\d+)\.", name) for name in self.shapes]
        return max((int(m[1]) + 1 for m in numbers if m), default=0)

    def has(self, prefix: str) -> bool:
        return any(name.startswith(prefix) for name in self.shapes)


def unet_config(tensors: Checkpoint, source: Path, head_channels: int) -> Config:
    size = _Sizes(tensors, PREFIXES["unet"], source)
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


def controlnet_config(tensors: Checkpoint, source: Path, unet: Config) -> Config:
    """The U-Net's, and the widths of the sketch stem: of its first convolution and of each that halves the size."""
    size = _Sizes(tensors, PREFIXES["controlnet"], source)
    stem = range(0, max(size.count("input_hint_block") - 1, 1), 4)
    widths = [size(f"input_hint_block.{i}.weight", 0, 4) for i in stem]
    return {k: v for k, v in unet.items() if not k.startswith("_")} | {"stem_widths": widths}


def latent_encoder_config(tensors: Checkpoint, source: Path, prefix: str) -> Config:
    size = _Sizes(tensors, prefix, source)
    levels = size.count("encoder.down")
    return {
        "in_channels": size("encoder.conv_in.weight", 1, 4),
        "latent_channels": size("encoder.conv_out.weight", 0, 4) // 2,
        "block_out_channels": [size(f"encoder.down.{i}.block.0.conv1.weight", 0, 4) for i in range(levels)],
        "layers_per_block": size.count("encoder.down.0.block"),
    }


def vae_config(tensors: Checkpoint, source: Path) -> Config:
    encoder = latent_encoder_config(tensors, source, PREFIXES["vae"])
    size = _Sizes(tensors, PREFIXES["vae"], source)
    return {
        **encoder,
        "out_channels": size("decoder.conv_out.weight", 0, 4),
        "down_block_types": ["DownEncoderBlock2D"] * len(encoder["block_out_channels"]),
    }


def clip_config(tensors: Checkpoint, source: Path) -> Config:
    """open_clip's ViT-H-14 (heads of 80, exact gelu, eps 1e-5); heads of 64 where 80 does not divide the width."""
    size = _Sizes(tensors, PREFIXES["image_encoder"], source)
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


# ---------------------------------------------------------------------------------------------------------------------
# Strictness


@dataclass
class Report:
    """What a conversion did."""

    tensors: dict[str, int] = field(default_factory=dict)
    """Component, or path of a file -> tensors written."""
    ignored: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path -> name in that file or folder -> why it was not used."""

    def ignored_lines(self) -> Iterator[str]:
        for file, names in self.ignored.items():
            reasons = defaultdict(list)
            for name, reason in names.items():
                reasons[reason].append(name)
            for reason, group in reasons.items():
                yield f"{file}: ignored {_some(group)}: {reason}"


def check(found: Checkpoint, expected: Checkpoint, source: Path, ignorable: Mapping[str, str]) -> dict[str, str]:
    """InputError unless all that is expected is there in its shape, and the rest may be ignored. => that, and why."""
    problems = []
    ignored, unexpected = {}, []
    for name in found.keys() - expected.keys():
        reason = next((r for p, r in ignorable.items() if name == p or (p[-1] == "." and name.startswith(p))), None)
        if reason is None:
            unexpected.append(name)
        else:
            ignored[name] = reason
    misshaped = [
        f"{name} has shape {found[name].shape}, expected {want.shape}"
        for name, want in expected.items()
        if name in found and found[name].shape != want.shape
    ]
    no_floats = [name for name in expected if name in found and found[name].meta.dtype not in DTYPES]
    for problem, names in (
        ("missing", [name for name in expected if name not in found]),
        ("unexpected", unexpected),
        ("misshaped", misshaped),
        ("not floating point", no_floats),
    ):
        if names:
            problems.append(f"{problem}: {_some(names)}")
    if problems:
        raise InputError(f"{source}: {'; '.join(problems)}")
    return dict(sorted(ignored.items()))


def _some(names: Iterable[str], most: int = 3) -> str:
    names = sorted(names)
    tail = f" ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + tail


# ---------------------------------------------------------------------------------------------------------------------
# The two ways


def to_diffusers(
    svd: Path,  # svd.safetensors, or a folder of SVD in diffusers' form (then condition_encoder stays empty)
    lvcd: Path,  # lvcd.ckpt, or the same as .safetensors
    out: Path,  # made; must not exist, or be empty
    head_channels: int = 64,  # of the U-Net's attention: no shape tells it. A folder's config.json knows better
    dtype: torch.dtype | None = None,  # None = as stored
    report: Callable[[str], object] = print,  # takes lines of text
    max_shard: int = MAX_SHARD,  # bytes a file
) -> Report:
    """Write a folder for LineartVideoPipeline.from_pretrained. InputError, and no folder, if anything does not fit.

    lvcd holds the ControlNet and the U-Net's self-attentions, which replace SVD's.
    """
    svd, lvcd, out = Path(svd), Path(lvcd), Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out}: exists and is not an empty folder; choose another name or remove it")
    tuned, others = open_checkpoint(lvcd)
    base = _open_folder(svd, ("unet", "vae", "image_encoder")) if svd.is_dir() else _open_svd(svd, head_channels)
    unet, unet_tensors = base.parts["unet"]
    controlnet = Component.of("controlnet", controlnet_config(tuned, lvcd, _settings(unet.model)), lvcd)
    retrained = {ours: theirs.name for ours, theirs in unet.names.items() if ".attn1." in ours}
    wanted = unet.expected_original
    expected = controlnet.expected_original | {name: wanted[name] for name in retrained.values()}
    ignored = dict.fromkeys(others, TRAINING) | check(tuned, expected, lvcd, IGNORED_LVCD)
    replaced = {ours if svd.is_dir() else theirs: "replaced by LVCD's" for ours, theirs in retrained.items()}

    parts = base.parts | {
        "unet": (unet, unet_tensors | {ours: tuned[theirs] for ours, theirs in retrained.items()}),
        "controlnet": (controlnet, controlnet.to_ours(tuned)),
    }
    done = Report(ignored={str(svd): base.ignored | replaced, str(lvcd): ignored})
    index: Config = {"_class_name": "LineartVideoPipeline", "_diffusers_version": diffusers.__version__}
    with _new_folder(out) as folder:
        for name, (library, kind) in CLASSES.items():
            index[name] = [library, kind.__name__] if name in parts else [None, None]
            if name not in parts:
                continue
            component, tensors = parts[name]
            if dtype is not None:
                tensors = {k: combine(lambda t: t.to(dtype), v) for k, v in tensors.items()}
            files = component.write(tensors, folder / name, max_shard)
            done.tensors[name] = len(tensors)
            size = sum(t.meta.nbytes for t in tensors.values())
            report(f"{name}: {len(tensors)} tensors, {size / 1e6:,.1f} MB in {files} file{'s'[: files > 1]}")
        _write_json(index, folder / "model_index.json")
    for line in done.ignored_lines():
        report(line)
    return done


def to_original(
    folder: Path,  # as to_diffusers, or save_pretrained of the pipeline, writes it
    svd_out: Path,  # .safetensors
    lvcd_out: Path,  # .safetensors, or else a torch checkpoint {"state_dict": ...}
    report: Callable[[str], object] = print,
) -> Report:
    """The way back. InputError, and no file, if anything does not fit.

    The self-attentions that LVCD retrained are LVCD's in both files: SVD's own values are not in the folder. What
    to_diffusers ignored is not there either. A folder made from a diffusers-style SVD has no condition_encoder: the
    VAE's encoder is written in its place, and the VAE's quant_conv, which the original's first stage lacks, is merged
    into the convolution before it (equal up to rounding).
    """
    folder, svd_out, lvcd_out = Path(folder), Path(svd_out), Path(lvcd_out)
    for path in (svd_out, lvcd_out):
        if path.exists():
            raise InputError(f"{path}: exists; choose another name or remove it")
    if svd_out.suffix != ".safetensors":
        raise InputError(f"{svd_out}: SVD's file must be named .safetensors")
    if svd_out.resolve() == lvcd_out.resolve():
        raise InputError(f"{svd_out}: cannot be both SVD's file and LVCD's")
    opened, empty = _open_model(folder)
    parts = opened.parts
    vae, vae_tensors = parts["vae"]
    if empty:
        keys = inspect.signature(LatentEncoder).parameters
        config = {k: v for k, v in _settings(vae.model).items() if k in keys}
        encoder = Component.of("condition_encoder", config, folder / "vae")
        parts["condition_encoder"] = encoder, {name: vae_tensors[name] for name in encoder.names}
    parts["vae"] = vae, _without_quant_conv(vae_tensors)

    svd: Checkpoint = {}
    for name, (component, tensors) in parts.items():
        if name != "controlnet":
            svd |= component.to_original(tensors)
    controlnet, tensors = parts["controlnet"]
    retrained = [theirs.name for ours, theirs in parts["unet"][0].names.items() if ".attn1." in ours]
    lvcd = controlnet.to_original(tensors) | {name: svd[name] for name in retrained}

    done = Report({str(svd_out): len(svd), str(lvcd_out): len(lvcd)}, {str(folder): opened.ignored})
    with _new_file(svd_out) as part:
        write_safetensors(svd, part)
        with _new_file(lvcd_out) as part:
            write_safetensors(lvcd, part) if lvcd_out.suffix == ".safetensors" else write_torch(lvcd, part)
    for path, tensors in ((svd_out, svd), (lvcd_out, lvcd)):
        report(f"{path}: {len(tensors)} tensors, {sum(t.meta.nbytes for t in tensors.values()) / 1e6:,.1f} MB")
    for line in done.ignored_lines():
        report(line)
    return done


def verify(folder: Path) -> None:
    """InputError, in one line, unless `folder` is a model with every tensor of every network in its shape."""
    folder = Path(folder)
    index = _read_json(folder / "model_index.json")
    if index.get("_class_name") != "LineartVideoPipeline":
        raise InputError(f"{folder}: a {index.get('_class_name')}, not a model of lvcd; lvcd convert makes one")
    _open_model(folder)


@dataclass
class _Opened:
    parts: dict[str, tuple[Component, Checkpoint]]
    """Component's name -> it, and its tensors by our names."""
    ignored: dict[str, str]
    """Name in the file -> why it is not in `parts`."""


def _open_svd(path: Path, head_channels: int) -> _Opened:
    tensors, others = open_checkpoint(path)
    configs = {
        "unet": unet_config(tensors, path, head_channels),
        "vae": vae_config(tensors, path),
        "image_encoder": clip_config(tensors, path),
        "condition_encoder": latent_encoder_config(tensors, path, PREFIXES["condition_encoder"]),
    }
    components = [Component.of(name, config, path) for name, config in configs.items()]
    expected: Checkpoint = {}
    for component in components:
        expected |= component.expected_original
    ignored = dict.fromkeys(others, TRAINING) | check(tensors, expected, path, IGNORED_SVD)
    parts = {c.name: (c, c.to_ours(tensors)) for c in components}
    vae = parts["vae"][1]
    last = vae["encoder.conv_out.bias"].meta
    eye = torch.eye(len(last))[:, :, None, None].to(last.dtype)
    vae |= {"quant_conv.weight": held(eye), "quant_conv.bias": held(torch.zeros(len(last)).to(last.dtype))}
    return _Opened(parts, ignored)


def _open_model(folder: Path) -> tuple[_Opened, bool]:
    """=> its components, and whether it lacks a condition encoder (the VAE's serves)."""
    empty = _read_json(folder / "model_index.json").get("condition_encoder") in (None, [None, None])
    return _open_folder(folder, [name for name in CLASSES if not (empty and name == "condition_encoder")]), empty


def _open_folder(folder: Path, names: Iterable[str]) -> _Opened:
    """Components of a folder that diffusers or to_diffusers wrote."""
    opened = _Opened({}, {})
    for name in names:
        config = _read_json(folder / name / "config.json")
        component = Component.of(name, config, folder / name)
        tensors = _open_weights(folder / name, "model" if name == "image_encoder" else "diffusion_pytorch_model")
        opened.ignored |= check(tensors, component.expected, folder / name, IGNORED_DIFFUSERS)
        opened.parts[name] = component, {key: tensors[key] for key in component.expected}
    return opened


def _open_weights(folder: Path, stem: str) -> Checkpoint:
    """One file or several, in full precision or the fp16 variant, in this order of preference."""
    for variant in ("", ".fp16"):
        if (whole := folder / f"{stem}{variant}.safetensors").is_file():
            return _open_safetensors(whole)
        if (index := folder / f"{stem}.safetensors.index{variant}.json").is_file():
            files = _read_json(index).get("weight_map", {})
            tensors: Checkpoint = {}
            for file in sorted(set(files.values())):
                if not (folder / file).is_file():
                    raise InputError(f"{folder / file}: missing, {index.name} names it")
                tensors |= _open_safetensors(folder / file)
            return tensors
    raise InputError(f"{folder}: no weights, expected {stem}.safetensors or several with an index")


def _without_quant_conv(vae: Checkpoint) -> Checkpoint:
    """quant_conv(conv_out(x)) as one convolution; what conv_out was, to the bit, where quant_conv is the identity."""
    weight, bias, last_weight, last_bias = (
        vae[f"{name}.{kind}"].read() for name in ("quant_conv", "encoder.conv_out") for kind in ("weight", "bias")
    )
    square = weight.flatten(1).double()  # (o i)
    if torch.equal(square, torch.eye(len(square), dtype=square.dtype)) and not bias.double().any():
        return vae
    merged_weight = torch.einsum("oi,i...->o...", square, last_weight.double())
    merged_bias = square @ last_bias.double() + bias.double()
    return vae | {
        "encoder.conv_out.weight": held(merged_weight.to(last_weight.dtype)),
        "encoder.conv_out.bias": held(merged_bias.to(last_bias.dtype)),
    }


# ---------------------------------------------------------------------------------------------------------------------
# Files


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `path` if all goes well and vanishes otherwise."""
    part = path.with_name(path.name + ".partial")
    with _all_or_nothing(path, part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.replace(path)


@contextmanager
def _new_file(path: Path) -> Iterator[Path]:
    """The same for a file."""
    part = path.with_name(path.name + ".partial")
    with _all_or_nothing(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)


@contextmanager
def _all_or_nothing(path: Path, part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror or e})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # nothing there, as it should be, or out of reach
            part.unlink()


def _read_json(path: Path) -> Config:
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def _write_json(content: Config, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")
