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
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.errors import InputError

from .checkpoint import (
    DTYPES,
    MAX_SHARD,
    Checkpoint,
    Config,
    Lazy,
    combine,
    held,
    new_file,
    new_folder,
    open_checkpoint,
    open_safetensors,
    read_json,
    some,
    write_json,
    write_safetensors,
    write_sharded,
    write_torch,
)
from .condition import LatentEncoder
from .controlnet import SketchControlNet
from .names import PACK, TABLES, UNPACK, Table, Theirs, prefixes
from .unet import ColorUNet
from .vae import ColorVAE

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
        kind = ColorVAE if config.get("_class_name") == ColorVAE.__name__ else CLASSES[name][1]
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
            prefix = next((p for p in prefixes(ours) if p in table), None)
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
                yield f"{file}: ignored {some(group)}: {reason}"


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
            problems.append(f"{problem}: {some(names)}")
    if problems:
        raise InputError(f"{source}: {'; '.join(problems)}")
    return dict(sorted(ignored.items()))


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
    with new_folder(out) as folder:
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
        write_json(index, folder / "model_index.json")
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
    with new_file(svd_out) as part:
        write_safetensors(svd, part)
        with new_file(lvcd_out) as part:
            write_safetensors(lvcd, part) if lvcd_out.suffix == ".safetensors" else write_torch(lvcd, part)
    for path, tensors in ((svd_out, svd), (lvcd_out, lvcd)):
        report(f"{path}: {len(tensors)} tensors, {sum(t.meta.nbytes for t in tensors.values()) / 1e6:,.1f} MB")
    for line in done.ignored_lines():
        report(line)
    return done


def verify(folder: Path) -> None:
    """InputError, in one line, unless `folder` is a model with every tensor of every network in its shape."""
    folder = Path(folder)
    index = read_json(folder / "model_index.json")
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
    empty = read_json(folder / "model_index.json").get("condition_encoder") in (None, [None, None])
    return _open_folder(folder, [name for name in CLASSES if not (empty and name == "condition_encoder")]), empty


def _open_folder(folder: Path, names: Iterable[str]) -> _Opened:
    """Components of a folder that diffusers or to_diffusers wrote."""
    opened = _Opened({}, {})
    for name in names:
        config = read_json(folder / name / "config.json")
        component = Component.of(name, config, folder / name)
        tensors = _open_weights(folder / name, "model" if name == "image_encoder" else "diffusion_pytorch_model")
        opened.ignored |= check(tensors, component.expected, folder / name, IGNORED_DIFFUSERS)
        opened.parts[name] = component, {key: tensors[key] for key in component.expected}
    return opened


def _open_weights(folder: Path, stem: str) -> Checkpoint:
    """One file or several, in full precision or the fp16 variant, in this order of preference."""
    for variant in ("", ".fp16"):
        if (whole := folder / f"{stem}{variant}.safetensors").is_file():
            return open_safetensors(whole)
        if (index := folder / f"{stem}.safetensors.index{variant}.json").is_file():
            files = read_json(index).get("weight_map", {})
            tensors: Checkpoint = {}
            for file in sorted(set(files.values())):
                if not (folder / file).is_file():
                    raise InputError(f"{folder / file}: missing, {index.name} names it")
                tensors |= open_safetensors(folder / file)
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
