"""The released checkpoints (sgm names: svd.safetensors and lvcd.ckpt) to a folder of our classes, and back.

A checkpoint is a dict of name -> Lazy: shape and dtype are known, the numbers are read when they are written. So
nothing is held but the tensor on its way, and everything is checked before the first byte is written.

component  a network by our names and the original's       sizes   its configuration from shapes
opened     what lies in a file or folder, checked          names   the tables of names
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch

from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder

from .component import CLASSES, Component, settings
from .configs import controlnet_config
from .files import (
    MAX_SHARD,
    Checkpoint,
    Config,
    combine,
    held,
    new_file,
    new_folder,
    open_checkpoint,
    read_json,
    some,
    write_json,
    write_safetensors,
    write_torch,
)
from .loading import IGNORED_LVCD, TRAINING, check, open_folder, open_model, open_svd


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
    base = open_folder(svd, ("unet", "vae", "image_encoder")) if svd.is_dir() else open_svd(svd, head_channels)
    unet, unet_tensors = base.parts["unet"]
    controlnet = Component.of("controlnet", controlnet_config(tuned, lvcd, settings(unet.model)), lvcd)
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
    opened, empty = open_model(folder)
    parts = opened.parts
    vae, vae_tensors = parts["vae"]
    if empty:
        keys = inspect.signature(LatentEncoder).parameters
        config = {k: v for k, v in settings(vae.model).items() if k in keys}
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
    if not (folder / "model_index.json").is_file():
        of_run = folder / "model"
        known = (of_run / "model_index.json").is_file()
        give = of_run if known else "a folder of lvcd convert or lvcd export, or RUN/model of train.py"
        raise InputError(f"{folder} is no model: give {give}")
    index = read_json(folder / "model_index.json")
    if index.get("_class_name") != "LineartVideoPipeline":
        raise InputError(f"{folder}: a {index.get('_class_name')}, not a model of lvcd; lvcd convert makes one")
    open_model(folder)


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
