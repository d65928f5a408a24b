"""The networks that training starts from: those of a model folder, or new ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.encoder import zero_branches
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import ColorVAE, VideoVAE, vae_class
from lvcd.pipeline import LineartVideoPipeline
from lvcd.weights import model_folder


@dataclass
class Networks:
    """The parts of a model, in float32."""

    unet: ColorUNet
    controlnet: SketchControlNet
    vae: VideoVAE
    image_encoder: CLIPVisionModelWithProjection
    condition_encoder: LatentEncoder | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the pipeline that is exported."""
    recipe: dict[str, Any] | None = None
    """How new networks were configured; None: U-Net and ControlNet came with weights."""

    def __post_init__(self) -> None:
        for encoder in self.encoders:
            encoder.requires_grad_(False).eval()

    @property
    def encoders(self) -> list[nn.Module]:
        """What is never trained."""
        return [m for m in (self.vae, self.image_encoder, self.condition_encoder) if m is not None]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every part as training starts; of new networks, that of their configuration. Costs seconds at full
        size, so it is asked for once, before the first step."""
        return {**self.encoder_fingerprints, **self._base}

    @cached_property
    def encoder_fingerprints(self) -> dict[str, str]:
        """SHA-256 of what makes latents and tokens: `vae` and `image_encoder`."""
        return {"vae": fingerprint(self.vae), "image_encoder": fingerprint(self.image_encoder)}

    @cached_property
    def _base(self) -> dict[str, str]:
        if self.recipe is not None:
            return {"recipe": hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()}
        return {"unet": fingerprint(self.unet), "controlnet": fingerprint(self.controlnet)}

    def pipeline(self) -> LineartVideoPipeline:
        parts = (self.unet, self.controlnet, self.vae, self.image_encoder, self.condition_encoder)
        return LineartVideoPipeline(*parts, **self.settings)


def load(folder: str | Path, controlnet: dict | None = None) -> Networks:
    """The networks of a model folder, or of Stable Video Diffusion's as diffusers keeps it.

    Where there is no ControlNet one is cloned from the U-Net, its outputs zero, as the paper starts (section 4.2).
    controlnet  settings that the ControlNet gets in place of the folder's own, or of the clone's; None = no change.
                The folder's own keeps its trained weights but for layers whose shapes change: these are new, and their
                outputs not zero. An ablation of a trained model thus begins with what that model knows.
    InputError: no such folder, or a part of it is missing or damaged; or a setting that no ControlNet has.
    """
    folder = model_folder(folder)
    for name in ("unet", "vae", "image_encoder"):
        if not (folder / name / "config.json").is_file():
            raise InputError(f"{folder} has no {name}: give a folder that lvcd convert or train.py made, or SVD's")

    def part(cls: Callable[..., Any], name: str) -> Any:
        try:
            return cls(folder / name, torch_dtype=torch.float32, local_files_only=True)
        except (OSError, ValueError, RuntimeError) as error:
            raise InputError(f"cannot load {folder / name} ({str(error).splitlines()[0]}): copy it again") from error

    def has(name: str) -> bool:
        return (folder / name / "config.json").is_file()

    unet = part(ColorUNet.from_pretrained, "unet")
    own = part(SketchControlNet.from_pretrained, "controlnet") if has("controlnet") else None
    try:
        if own is None:
            branch = SketchControlNet.from_unet(unet, **controlnet or {})
        else:
            branch = own.changed(**controlnet) if controlnet else own
    except TypeError as error:
        raise InputError(f"controlnet: {error}: give settings that SketchControlNet has") from error
    index = folder / "model_index.json"
    settings = json.loads(index.read_text()) if index.is_file() else {}
    return Networks(
        unet,
        branch,
        part(vae_class(json.loads((folder / "vae" / "config.json").read_text())).from_pretrained, "vae"),
        part(CLIPVisionModelWithProjection.from_pretrained, "image_encoder"),
        part(LatentEncoder.from_pretrained, "condition_encoder") if has("condition_encoder") else None,
        {k: v for k, v in settings.items() if not k.startswith("_") and not isinstance(v, list) and k in SETTINGS},
    )


SETTINGS = ("window", "schedule", "solver", "steps", "sigma_min", "sigma_max", "reference_attention", "isolation")
"""Of LineartVideoPipeline, besides its parts."""


def fresh(
    unet: dict,
    controlnet: dict,
    image_encoder: dict,
    vae: str,  # a folder with a trained VAE, or a bundled one's name: mini_vae
    settings: dict | None = None,  # of the exported pipeline
) -> Networks:
    """New networks around a trained VAE; configurations are keyword arguments of their classes."""
    vae_folder = model_folder(vae)
    if not (vae_folder / "config.json").is_file():
        raise InputError(
            f"{vae} is no folder of a VAE: train one with experiment=mini_vae, or give module.networks.vae"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # it never learns: a random projection, the same in every run
        encoder = CLIPVisionModelWithProjection(CLIPVisionConfig(**image_encoder))
    net = ColorUNet(**unet)
    zero_branches(net)
    return Networks(
        net,
        SketchControlNet.from_unet(net, **controlnet),
        ColorVAE.from_pretrained(vae_folder, torch_dtype=torch.float32),
        encoder,
        settings=settings or {},
        recipe={"unet": unet, "controlnet": controlnet},
    )
