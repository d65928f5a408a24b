"""A network as files name its parts: which of our names is which of the original's, in one table for both directions.

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
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import ColorVAE

from .files import Checkpoint, Config, Lazy, combine, held, write_sharded
from .names import PACK, TABLES, UNPACK, Table, Theirs, prefixes

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
            table = TABLES[name](settings(model))
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


def settings(model: Any) -> Config:
    return model.config.to_dict() if hasattr(model.config, "to_dict") else dict(model.config)
