"""Components: the networks of a model, with the names that their tensors have in our files and in the original's.

sgm name                                         component          class
model.diffusion_model.                           unet               ColorUNet
control_model.                                   controlnet         SketchControlNet
first_stage_model.                               vae                AutoencoderKLTemporalDecoder
conditioner.embedders.3.encoder.                 condition_encoder  LatentEncoder
conditioner.embedders.0.open_clip.model.visual.  image_encoder      CLIPVisionModelWithProjection
"""

from __future__ import annotations

import inspect
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import VideoVAE, vae_class

from .config_files import Config
from .files import LazyStateDict, LazyTensor, apply_lazily, in_memory, write_sharded
from .names import FROM_ORIGINAL, TABLES, TO_ORIGINAL, NameTable, OriginalName, prefixes

CLASSES: dict[str, tuple[str, type]] = {
    "unet": ("lvcd.nn.unet", ColorUNet),
    "controlnet": ("lvcd.nn.controlnet", SketchControlNet),
    "vae": ("diffusers", VideoVAE),
    "image_encoder": ("transformers", CLIPVisionModelWithProjection),
    "condition_encoder": ("lvcd.nn.condition", LatentEncoder),
}
"""Component -> the library that model_index.json names, and the class."""
PREFIXES = {
    "unet": "model.diffusion_model.",
    "controlnet": "control_model.",
    "vae": "first_stage_model.",
    "image_encoder": "conditioner.embedders.0.open_clip.model.visual.",
    "condition_encoder": "conditioner.embedders.3.encoder.",
}
"""Component -> the prefix of its tensors' names in the original's checkpoints."""

MAX_LAYERS, MAX_WIDTH, MAX_LEVELS = 256, 2**17, 64
"""Largest numbers that a config.json may ask for, so that one that is damaged does not build for hours."""
CLIP_SETTINGS = (
    "hidden_size", "intermediate_size", "projection_dim", "num_hidden_layers", "num_attention_heads", "num_channels",
    "image_size", "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout", "initializer_range",
    "initializer_factor",
)  # fmt: skip
"""Settings of CLIPVisionConfig that are read. Others choose types, outputs or code, and not a network."""


@dataclass
class Component:
    """A network of the pipeline without weights, and the names of its tensors."""

    name: str
    model: Any
    """An nn.Module of the class in CLASSES, on the meta device."""
    names: NameTable
    """Our name of every tensor that the original has too -> its place there. A bijection."""

    @classmethod
    def from_config(cls, name: str, config: Config, source: Path) -> Component:
        """Build a component on the meta device.

        source  the file or folder that messages name
        InputError: no network can be built of `config`, or it has a tensor for which the original has no name.
        """
        with torch.device("meta"):
            model = build_network(name, config, source)
        try:
            table = TABLES[name](config_of(model))
        except Exception as e:  # an architecture that the original has no names for raises whatever is missing
            raise InputError(f"{source}: no {name} of such sizes can be built ({_reason(e)})") from None
        names = {}
        for ours in model.state_dict():
            prefix = next((p for p in prefixes(ours) if p in table), None)
            if prefix is not None:
                original, transform = table[prefix]
                names[ours] = OriginalName(PREFIXES[name] + original + ours[len(prefix) :], transform)
            elif not (name == "vae" and ours.startswith("quant_conv.")):
                raise InputError(f"{source}: {name} has {ours}, for which the original has no name")
        assert len(set(names.values())) == len(names)
        return cls(name, model, names)

    @cached_property
    def expected(self) -> LazyStateDict:
        """The network's tensors by our names, on the meta device: shapes without values."""
        return {name: in_memory(tensor) for name, tensor in self.model.state_dict().items()}

    @cached_property
    def expected_original(self) -> LazyStateDict:
        """The same tensors by the original's names and in its shapes."""
        return self.to_original(self.expected)

    def to_ours(self, original: LazyStateDict) -> LazyStateDict:
        """Convert tensors by the original's names to tensors by our names."""
        return {
            ours: apply_lazily(FROM_ORIGINAL[place.transform], original[place.name])
            for ours, place in self.names.items()
        }

    def to_original(self, tensors: LazyStateDict) -> LazyStateDict:
        """Convert tensors by our names to tensors by the original's names."""
        pieces: dict[str, dict[str, LazyTensor]] = defaultdict(dict)
        for ours, (name, transform) in self.names.items():
            pieces[name][transform] = tensors[ours]
        result = {}
        for name, parts in pieces.items():
            if "q" in parts:
                result[name] = apply_lazily(lambda *p: torch.cat(p), parts["q"], parts["k"], parts["v"])
            else:
                ((transform, part),) = parts.items()
                result[name] = apply_lazily(TO_ORIGINAL[transform], part)
        return result

    def write(self, tensors: LazyStateDict, folder: Path, max_shard_bytes: int) -> int:
        """Write config.json and weights as from_pretrained reads them, and return the number of weight files."""
        folder.mkdir()
        if self.name == "image_encoder":
            self.model.config.dtype = next(iter(tensors.values())).meta.dtype
            self.model.config.save_pretrained(folder)
            return write_sharded(tensors, folder, "model", max_shard_bytes)
        self.model.save_config(folder)
        return write_sharded(tensors, folder, "diffusion_pytorch_model", max_shard_bytes)


def config_of(model: Any) -> Config:
    """Return the configuration of a network of diffusers or of transformers."""
    return model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)


def network_class(name: str, config: Config) -> type:
    """Return the class of a component: of a VAE there are two, and its config.json names one."""
    return vae_class(config) if name == "vae" else CLASSES[name][1]


def build_network(name: str, config: Config, source: Path) -> Any:
    """Build a component with new weights on the current device. Settings that its class does not have are left out.

    source  the file or folder that messages name
    InputError: no network can be built of `config`.
    """
    kind = network_class(name, config)
    known = CLIP_SETTINGS if kind is CLIPVisionModelWithProjection else inspect.signature(kind).parameters
    settings = {k: v for k, v in config.items() if k in known}
    for key, value in settings.items():
        _check_size(key, value, source)
    try:
        if kind is CLIPVisionModelWithProjection:
            return kind(CLIPVisionConfig(**settings, architectures=[kind.__name__]))
        return kind(**settings)
    except Exception as e:  # sizes that do not fit raise whatever the layer in question raises
        raise InputError(f"{source}: no {name} of such sizes can be built ({_reason(e)})") from None


def _check_size(key: str, value: Any, source: Path) -> None:
    """InputError: a number of a config.json is beyond any network's, so that building it would not end."""
    if isinstance(value, (list, tuple)) and len(value) <= MAX_LEVELS:
        for part in value:
            _check_size(key, part, source)
    elif isinstance(value, (int, float)) and abs(value) <= (MAX_LAYERS if "layers" in key else MAX_WIDTH):
        return
    elif isinstance(value, (list, tuple, int, float, dict)):
        raise InputError(f"{source}: {key} is {str(value)[:40]}, which no network has: get the file anew")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:197]}..."
