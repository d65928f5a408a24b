"""What lies in a file or a folder of networks, opened and checked: every tensor is there in its shape, and nothing else
but what is known and not needed. The numbers are not read yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from lvcd.errors import InputError

from .component import CLASSES, PREFIXES, Component
from .configs import clip_config, latent_encoder_config, unet_config, vae_config
from .files import DTYPES, Checkpoint, held, open_checkpoint, open_safetensors, read_json, some

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


@dataclass
class Opened:
    parts: dict[str, tuple[Component, Checkpoint]]
    """Component's name -> it, and its tensors by our names."""
    ignored: dict[str, str]
    """Name in the file -> why it is not in `parts`."""


def open_svd(path: Path, head_channels: int) -> Opened:
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
    return Opened(parts, ignored)


def open_model(folder: Path) -> tuple[Opened, bool]:
    """=> its components, and whether it lacks a condition encoder (the VAE's serves)."""
    empty = read_json(folder / "model_index.json").get("condition_encoder") in (None, [None, None])
    return open_folder(folder, [name for name in CLASSES if not (empty and name == "condition_encoder")]), empty


def open_folder(folder: Path, names: Iterable[str]) -> Opened:
    """Components of a folder that diffusers or to_diffusers wrote."""
    opened = Opened({}, {})
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
