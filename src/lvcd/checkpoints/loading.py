"""Components loaded from a file or folder, and checked: every tensor is there in its shape, and all else that is there
is known and not needed. The tensors are lazy: their values have not been read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lvcd.errors import InputError

from .component import CLASSES, PREFIXES, Component
from .config_files import read_json, read_model_index, refuse_code
from .configs import clip_config, latent_encoder_config, unet_config, vae_config
from .digest import check_digests
from .files import (
    SAFETENSORS_DTYPES,
    LazyStateDict,
    abbreviate,
    in_memory,
    open_checkpoint,
    open_safetensors,
)

SVD_HEAD_CHANNELS = 64
"""Channels of an attention head of SVD's U-Net."""
TEXT_TOWER = "CLIP's text tower, of which only the image half is used"
TRAINING_ONLY = "used in training only"
ON_REQUEST = "as --ignore says"
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
    "conditioner.embedders.3.encoder.loss.": TRAINING_ONLY,
    "first_stage_model.loss.": TRAINING_ONLY,
    "loss_fn.": TRAINING_ONLY,
    "denoiser.": "noise schedule, which is computed",
    "filter.": "NSFW filter, never called",
    "nsfw_filter.": "NSFW filter, never called",
}
"""What else SVD's file may hold, and why it is ignored: a prefix that ends in ".", or a whole name -> the reason."""
IGNORED_LVCD = {
    **IGNORED_SVD,
    "conditioner.": "taken from SVD's file",
    "first_stage_model.": "taken from SVD's file",
    "control_model_ema.": "moving average of the weights",
}
"""The same for LVCD's file."""
IGNORED_DIFFUSERS = {"vision_model.embeddings.position_ids": "a count from 0, which is computed"}
"""The same for a component's folder."""


def match_keys(
    found: LazyStateDict, expected: LazyStateDict, source: Path, ignorable: Mapping[str, str]
) -> dict[str, str]:
    """Check names, shapes and types of a state dict against the expected ones => ignored name -> reason.

    ignorable  see IGNORED_SVD
    InputError, which names `source`: a tensor is missing, unexpected, misshaped or not floating point.
    """
    problems = []
    ignored, unexpected = {}, []
    for name in found.keys() - expected.keys():
        reason = next((r for p, r in ignorable.items() if name == p or (p.endswith(".") and name.startswith(p))), None)
        if reason is None:
            unexpected.append(name)
        else:
            ignored[name] = reason
    misshaped = [
        f"{name} has shape {found[name].shape}, expected {want.shape}"
        for name, want in expected.items()
        if name in found and found[name].shape != want.shape
    ]
    no_floats = [name for name in expected if name in found and found[name].meta.dtype not in SAFETENSORS_DTYPES]
    for problem, names in (
        ("missing", [name for name in expected if name not in found]),
        ("unexpected", unexpected),
        ("misshaped", misshaped),
        ("not floating point", no_floats),
    ):
        if names:
            problems.append(f"{problem}: {abbreviate(names)}")
    if [p.partition(":")[0] for p in problems] == ["unexpected"] and source.is_file():
        problems[0] += "; lvcd convert --ignore NAME leaves one out"
    if problems:
        raise InputError(f"{source}: {'; '.join(problems)}")
    return dict(sorted(ignored.items()))


@dataclass
class LoadedParts:
    """The components that a file or folder holds."""

    parts: dict[str, tuple[Component, LazyStateDict]]
    """Component's name -> the component, and its tensors by our names."""
    ignored: dict[str, str]
    """Name in the file -> why it is not in `parts`."""

    def network(self, name: str, dtype: torch.dtype) -> Any:
        """Read a component's weights into its network, on the CPU and in evaluation mode. It can be called once.

        Weights lie in the file until they are used, where the file has them in this dtype.
        """
        component, tensors = self.parts[name]
        network = component.model
        weights = {key: lazy.read().to(dtype) for key, lazy in tensors.items()}
        network.load_state_dict(weights, assign=True)
        if name == "image_encoder":  # a count from 0, which is no weight
            embeddings = network.vision_model.embeddings
            embeddings.position_ids = torch.arange(embeddings.num_positions).expand(1, -1)
            network.config.dtype = dtype
        assert not any(b.is_meta for b in network.buffers()), name
        return network.eval()


def load_svd(path: Path, head_channels: int, ignore: Iterable[str] = ()) -> LoadedParts:
    """Load Stable Video Diffusion's single file (sgm names): all components but the ControlNet.

    head_channels  channels of an attention head of the U-Net
    ignore         names of unknown tensors that are left out
    InputError: the file cannot be read, or is not SVD's.
    """
    tensors, others = open_checkpoint(path)
    configs = {
        "unet": unet_config(tensors, path, head_channels),
        "vae": vae_config(tensors, path),
        "image_encoder": clip_config(tensors, path),
        "condition_encoder": latent_encoder_config(tensors, path, PREFIXES["condition_encoder"]),
    }
    components = [Component.from_config(name, config, path) for name, config in configs.items()]
    expected: LazyStateDict = {}
    for component in components:
        expected |= component.expected_original
    ignored = dict.fromkeys(others, TRAINING_ONLY) | match_keys(
        tensors, expected, path, IGNORED_SVD | dict.fromkeys(ignore, ON_REQUEST)
    )
    parts = {c.name: (c, c.to_ours(tensors)) for c in components}
    vae = parts["vae"][1]
    last = vae["encoder.conv_out.bias"].meta
    eye = torch.eye(len(last))[:, :, None, None].to(last.dtype)
    vae |= {"quant_conv.weight": in_memory(eye), "quant_conv.bias": in_memory(torch.zeros(len(last)).to(last.dtype))}
    return LoadedParts(parts, ignored)


def load_model(folder: Path) -> tuple[LoadedParts, bool]:
    """Load a model folder => its components, and whether the VAE's encoder serves as the condition encoder, because the
    folder has no other. InputError: a component is missing or does not match its configuration."""
    empty = read_model_index(folder).get("condition_encoder") in (None, [None, None])
    return load_components(folder, [name for name in CLASSES if not (empty and name == "condition_encoder")]), empty


def load_components(folder: Path, names: Iterable[str]) -> LoadedParts:
    """Load components of a folder that diffusers or `to_diffusers` wrote. InputError: see `load_model`."""
    loaded = LoadedParts({}, {})
    for name in names:
        component, tensors, ignored = load_component(name, folder / name)
        loaded.parts[name] = component, tensors
        loaded.ignored |= ignored
    return loaded


def load_component(name: str, folder: Path) -> tuple[Component, LazyStateDict, dict[str, str]]:
    """Load one component from its own folder => the network, its tensors by our names, and what was ignored."""
    component = Component.from_config(name, read_json(folder / "config.json"), folder)
    tensors = _open_weights(folder, "model" if name == "image_encoder" else "diffusion_pytorch_model")
    ignored = match_keys(tensors, component.expected, folder, IGNORED_DIFFUSERS)
    return component, {key: tensors[key] for key in component.expected}, ignored


def load_svd_parts(
    model: Path, names: Iterable[str], head_channels: int = SVD_HEAD_CHANNELS, ignore: Iterable[str] = ()
) -> LoadedParts:
    """Load components of SVD, or of a model of ours, in any of the forms that people have.

    model          SVD's single file; or a folder in diffusers' form, whole or in shards, in full precision or fp16
    head_channels  see `load_svd`; a folder has it in config.json
    ignore         see `load_svd`
    InputError: the file or folder is not one of these, or lacks a component.
    """
    if not model.exists():
        raise InputError(f"{model}: no such file or folder")
    if model.is_file():
        loaded = load_svd(model, head_channels, ignore)
        if absent := [name for name in names if name not in loaded.parts]:
            raise InputError(f"{model} has no {absent[0]}: give a model folder")
        return LoadedParts({name: loaded.parts[name] for name in names}, loaded.ignored)
    if (model / "model_index.json").is_file():
        read_model_index(model, svd=True)
    refuse_code(model)
    names = list(names)
    loaded = load_components(model, names)
    check_digests(model, names)
    return loaded


def component_names(model: Path) -> list[str]:
    """Return the components that a file of SVD or a folder has, by the look of it."""
    if model.is_file():
        return [name for name in CLASSES if name != "controlnet"]
    return [name for name in CLASSES if (model / name / "config.json").is_file()]


def _open_weights(folder: Path, stem: str) -> LazyStateDict:
    """One file or several, in full precision or the fp16 variant, in this order of preference."""
    for variant in ("", ".fp16"):
        if (single := folder / f"{stem}{variant}.safetensors").is_file():
            return open_safetensors(single)
        if (index := folder / f"{stem}.safetensors.index{variant}.json").is_file():
            files = read_json(index).get("weight_map")
            names = files.values() if isinstance(files, dict) else [None]
            if not all(isinstance(name, str) and name == Path(name).name for name in names):
                raise InputError(f"{index}: weight_map does not name files of this folder: get the file anew")
            tensors: LazyStateDict = {}
            for file in sorted(set(names)):
                if not (folder / file).is_file():
                    raise InputError(f"{folder / file}: missing, {index.name} names it")
                tensors |= open_safetensors(folder / file)
            return tensors
    raise InputError(f"{folder}: no weights, expected {stem}.safetensors or several with an index")
