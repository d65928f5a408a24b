"""Conversion of the released checkpoints (sgm names: svd.safetensors and lvcd.ckpt) to a model folder, and back.

A state dict holds lazy tensors: shape and dtype are known, the values are read when they are written. So one tensor at
a time is in memory, and everything is checked before the first byte is written.

component  a network by our names and the original's       configs  its configuration, from shapes
loading    the components in a file or folder, checked     names    the tables of names
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import diffusers
import torch

from lvcd.errors import InputError
from lvcd.io.disk import atomic, atomic_folder, writing
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import sketch_stem

from .component import CLASSES, Component, config_of
from .config_files import Config, write_json
from .configs import controlnet_config
from .digest import check_digests, finish_model_folder
from .files import (
    MAX_SHARD_BYTES,
    LazyStateDict,
    abbreviate,
    apply_lazily,
    in_memory,
    open_checkpoint,
    write_safetensors,
    write_torch,
)
from .loading import IGNORED_LVCD, ON_REQUEST, TRAINING_ONLY, component_names, load_model, load_svd_parts, match_keys

REQUIRED_OF_SVD = ("unet", "vae", "image_encoder")
"""Components that SVD has in every form."""
Parts = dict[str, tuple[Component, LazyStateDict]]
"""Component's name -> the component, and its tensors by our names."""


@dataclass
class ConversionReport:
    """A report says what a conversion wrote and ignored."""

    tensors: dict[str, int] = field(default_factory=dict)
    """Component, or path of a file -> number of tensors written."""
    ignored: dict[str, dict[str, str]] = field(default_factory=dict)
    """Path -> name in that file or folder -> why it was not used."""

    def ignored_lines(self) -> Iterator[str]:
        """Yield a line for each file and reason, with the names that were ignored."""
        for file, names in self.ignored.items():
            reasons = defaultdict(list)
            for name, reason in names.items():
                reasons[reason].append(name)
            for reason, group in reasons.items():
                yield f"{file}: ignored {abbreviate(group)}: {reason}"


def to_diffusers(
    svd: Path,  # svd.safetensors, or a folder of SVD in diffusers' form (then condition_encoder stays empty)
    lvcd: Path | None,  # lvcd.ckpt, or the same as .safetensors; None = begin with SVD alone, as training does
    out: Path,  # made; must not exist, or be empty
    head_channels: int = 64,  # of an attention head of the U-Net, which no shape shows; a folder has it in config.json
    dtype: torch.dtype | None = None,  # None = as stored
    report: Callable[[str], object] = print,  # takes lines of text
    max_shard_bytes: int = MAX_SHARD_BYTES,  # of one weight file
    ignore: Sequence[str] = (),  # unknown tensors that are left out: names, or a prefix that ends in "."
) -> ConversionReport:
    """Convert the released checkpoints to a folder for LineartVideoPipeline.from_pretrained.

    lvcd holds the ControlNet and the U-Net's self-attentions, which replace SVD's. Without it the ControlNet is the
    U-Net's encoder, with a new stem and outputs of zero (paper, section 4.2): a model to train, which does not color.
    InputError, and no folder: a file cannot be read or lacks a tensor, or `out` is taken or cannot be written.
    """
    svd, out = Path(svd), Path(out)
    with writing(out):  # a name that is too long
        taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if taken:
        raise InputError(f"{out}: exists and is not an empty folder; choose another name or remove it")
    tuned = None if lvcd is None else open_checkpoint(Path(lvcd))
    names = [name for name in component_names(svd) if name != "controlnet"] if svd.exists() else []
    base = load_svd_parts(svd, [*dict.fromkeys([*REQUIRED_OF_SVD, *names])], head_channels, ignore)
    done = ConversionReport(ignored={str(svd): base.ignored})
    if lvcd is None or tuned is None:
        parts = base.parts | {"controlnet": _cloned_controlnet(*base.parts["unet"], svd)}
    else:
        parts = _with_lvcd(base.parts, *tuned, svd, Path(lvcd), done, ignore)
    index: Config = {"_class_name": "LineartVideoPipeline", "_diffusers_version": diffusers.__version__}
    with atomic_folder(out) as folder:
        for name, (library, kind) in CLASSES.items():
            index[name] = [library, kind.__name__] if name in parts else [None, None]
            if name not in parts:
                continue
            component, tensors = parts[name]
            if dtype is not None:
                tensors = {k: apply_lazily(lambda t: t.to(dtype), v) for k, v in tensors.items()}
            files = component.write(tensors, folder / name, max_shard_bytes)
            done.tensors[name] = len(tensors)
            size = sum(t.meta.nbytes for t in tensors.values())
            report(f"{name}: {len(tensors)} tensors, {size / 1e6:,.1f} MB in {files} file{'s'[: files > 1]}")
        write_json(index, folder / "model_index.json")
        finish_model_folder(folder)
    for line in done.ignored_lines():
        report(line)
    return done


def to_original(
    folder: Path,  # as to_diffusers, or save_pretrained of the pipeline, writes it
    svd_out: Path,  # .safetensors
    lvcd_out: Path,  # .safetensors, or else a torch checkpoint {"state_dict": ...}
    report: Callable[[str], object] = print,
) -> ConversionReport:
    """Convert a model folder back to the original's two files.

    The self-attentions that LVCD retrained are LVCD's in both files: SVD's own values are not in the folder. What
    to_diffusers ignored is not there either. A folder made from a diffusers-style SVD has no condition_encoder: the
    VAE's encoder is written in its place, and the VAE's quant_conv, which the original's first stage lacks, is merged
    into the convolution before it (equal up to rounding).
    InputError, and no file: the folder lacks a tensor, or a file is taken or cannot be written.
    """
    folder, svd_out, lvcd_out = Path(folder), Path(svd_out), Path(lvcd_out)
    for path in (svd_out, lvcd_out):
        if path.exists():
            raise InputError(f"{path}: exists; choose another name or remove it")
    if svd_out.suffix != ".safetensors":
        raise InputError(f"{svd_out}: SVD's file must be named .safetensors")
    if svd_out.resolve() == lvcd_out.resolve():
        raise InputError(f"{svd_out}: cannot be both SVD's file and LVCD's")
    loaded, vae_conditions = load_model(folder)
    check_digests(folder)
    parts = loaded.parts
    vae, vae_tensors = parts["vae"]
    if vae_conditions:
        keys = inspect.signature(LatentEncoder).parameters
        config = {k: v for k, v in config_of(vae.model).items() if k in keys}
        encoder = Component.from_config("condition_encoder", config, folder / "vae")
        parts["condition_encoder"] = encoder, {name: vae_tensors[name] for name in encoder.names}
    parts["vae"] = vae, _without_quant_conv(vae_tensors)

    svd: LazyStateDict = {}
    for name, (component, tensors) in parts.items():
        if name != "controlnet":
            svd |= component.to_original(tensors)
    controlnet, tensors = parts["controlnet"]
    retrained = [original.name for ours, original in parts["unet"][0].names.items() if ".attn1." in ours]
    lvcd = controlnet.to_original(tensors) | {name: svd[name] for name in retrained}

    done = ConversionReport({str(svd_out): len(svd), str(lvcd_out): len(lvcd)}, {str(folder): loaded.ignored})
    for path in (svd_out, lvcd_out):
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(svd_out) as svd_temp:
        write_safetensors(svd, svd_temp)
        with atomic(lvcd_out) as lvcd_temp:
            write_safetensors(lvcd, lvcd_temp) if lvcd_out.suffix == ".safetensors" else write_torch(lvcd, lvcd_temp)
    for path, tensors in ((svd_out, svd), (lvcd_out, lvcd)):
        report(f"{path}: {len(tensors)} tensors, {sum(t.meta.nbytes for t in tensors.values()) / 1e6:,.1f} MB")
    for line in done.ignored_lines():
        report(line)
    return done


def _with_lvcd(
    base: Parts,
    tuned: LazyStateDict,
    others: list[str],
    svd: Path,
    lvcd: Path,
    done: ConversionReport,
    ignore: Sequence[str],
) -> Parts:
    """Return SVD's components with LVCD's self-attentions and ControlNet, and note what was ignored."""
    unet, unet_tensors = base["unet"]
    controlnet = Component.from_config("controlnet", controlnet_config(tuned, lvcd, config_of(unet.model)), lvcd)
    retrained = {ours: original.name for ours, original in unet.names.items() if ".attn1." in ours}
    expected = controlnet.expected_original | {name: unet.expected_original[name] for name in retrained.values()}
    done.ignored[str(lvcd)] = dict.fromkeys(others, TRAINING_ONLY) | match_keys(
        tuned, expected, lvcd, IGNORED_LVCD | dict.fromkeys(ignore, ON_REQUEST)
    )
    done.ignored[str(svd)] |= {ours if svd.is_dir() else name: "replaced by LVCD's" for ours, name in retrained.items()}
    return base | {
        "unet": (unet, unet_tensors | {ours: tuned[original] for ours, original in retrained.items()}),
        "controlnet": (controlnet, controlnet.to_ours(tuned)),
    }


def _cloned_controlnet(unet: Component, tensors: LazyStateDict, source: Path) -> tuple[Component, LazyStateDict]:
    """Return the ControlNet that training starts from: the U-Net's encoder, a new stem (always the same), outputs 0."""
    config = {k: v for k, v in config_of(unet.model).items() if not k.startswith("_")}
    controlnet = Component.from_config("controlnet", config, source)
    dtype = next(iter(tensors.values())).meta.dtype
    stem = sketch_stem(tuple(controlnet.model.config.stem_widths), controlnet.model.config.block_out_channels[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for layer in stem:
            if isinstance(layer, torch.nn.Conv2d):
                layer.reset_parameters()
    new = {f"stem.{name}": weight.to(dtype) for name, weight in stem.state_dict().items()}
    cloned = {}
    for name, expected in controlnet.expected.items():
        if name in tensors:
            cloned[name] = tensors[name]
        elif name in new:
            cloned[name] = in_memory(new[name])
        else:
            assert name.startswith(("zero_convs.", "zero_mid.")), name
            cloned[name] = in_memory(torch.zeros(expected.shape, dtype=dtype))
    return controlnet, cloned


def _without_quant_conv(vae: LazyStateDict) -> LazyStateDict:
    """Merge quant_conv into conv_out; where quant_conv is the identity, conv_out stays as it was, to the bit."""
    weight, bias, last_weight, last_bias = (
        vae[f"{name}.{kind}"].read() for name in ("quant_conv", "encoder.conv_out") for kind in ("weight", "bias")
    )
    square = weight.flatten(1).double()  # (o i)
    if torch.equal(square, torch.eye(len(square), dtype=square.dtype)) and not bias.double().any():
        return vae
    merged_weight = torch.einsum("oi,i...->o...", square, last_weight.double())
    merged_bias = square @ last_bias.double() + bias.double()
    return vae | {
        "encoder.conv_out.weight": in_memory(merged_weight.to(last_weight.dtype)),
        "encoder.conv_out.bias": in_memory(merged_bias.to(last_bias.dtype)),
    }
