"""The networks that training starts from: those of a model folder, or new ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import CLIPVisionModelWithProjection

from lvcd.checkpoints.component import build_network, config_of
from lvcd.checkpoints.config_files import PIPELINE_SETTINGS, read_json, read_model_index, refuse_code
from lvcd.checkpoints.digest import check_digests
from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.checkpoints.hub import find_model
from lvcd.checkpoints.loading import LoadedParts, component_names, load_component, load_svd_parts
from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.encoder import zero_residual_branches
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import VideoVAE
from lvcd.pipeline import LineartVideoPipeline
from lvcd.weights import model_folder

SVD_CONFIGS: dict[str, dict[str, Any]] = {
    "unet": {"num_attention_heads": (5, 10, 20, 20)},  # the rest is the class's default
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "scaling_factor": 0.18215,
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 14,
        "projection_dim": 1024,
    },
}
"""The config.json files of stabilityai/stable-video-diffusion-img2vid, for a plan without its folder."""


@dataclass
class Networks:
    """All networks of a model, in float32: U-Net and ControlNet, and the encoders, which are frozen."""

    unet: ColorUNet
    controlnet: SketchControlNet
    vae: VideoVAE
    image_encoder: CLIPVisionModelWithProjection
    condition_encoder: LatentEncoder | None = None
    """Encodes the reference latent; None = the VAE does."""
    settings: dict[str, Any] = field(default_factory=dict)
    """PIPELINE_SETTINGS of the exported pipeline."""
    recipe: dict[str, Any] | None = None
    """Configurations of networks that were built anew; None = U-Net and ControlNet came with weights."""
    new_controlnet: bool = False
    """The ControlNet is a new one, whose outputs are zero: the folder had none."""

    def __post_init__(self) -> None:
        for encoder in self.encoders:
            encoder.requires_grad_(False).eval()

    @property
    def encoders(self) -> list[nn.Module]:
        """The networks that are never trained."""
        return [m for m in (self.vae, self.image_encoder, self.condition_encoder) if m is not None]

    @cached_property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of each network as training starts, or of the configuration of new ones.

        It takes seconds at full size, so it is computed once, before the first step.
        """
        return {**self.encoder_fingerprints, **self._base_fingerprints}

    @cached_property
    def encoder_fingerprints(self) -> dict[str, str]:
        """SHA-256 of the encoders of latents and tokens: `vae` and `image_encoder`."""
        return {"vae": fingerprint(self.vae), "image_encoder": fingerprint(self.image_encoder)}

    @cached_property
    def _base_fingerprints(self) -> dict[str, str]:
        if self.recipe is not None:
            return {"recipe": hashlib.sha256(json.dumps(self.recipe, sort_keys=True).encode()).hexdigest()}
        return {"unet": fingerprint(self.unet), "controlnet": fingerprint(self.controlnet)}

    def pipeline(self) -> LineartVideoPipeline:
        """Return a pipeline of these very networks, not of copies."""
        parts = (self.unet, self.controlnet, self.vae, self.image_encoder, self.condition_encoder)
        return LineartVideoPipeline(*parts, **self.settings)


def networks_from_folder(
    folder: str | Path | None,  # or a bundled model's name, or a hub id; None = SVD's size, without weights
    controlnet: dict[str, Any] | None = None,  # changed settings of the ControlNet; None = no change
    weights: bool = True,  # False = read the config.json files alone, as `lvcd plan` does
) -> Networks:
    """Load the networks of a model folder, or of Stable Video Diffusion: its folder, fp16 or not, or its single file.

    Where the folder has no ControlNet, one is cloned from the U-Net with outputs of zero, as the paper starts
    (section 4.2). A changed ControlNet keeps its trained weights in all layers whose shapes stay; the others are new,
    and their outputs are not zero. So an ablation of a trained model begins with what that model has learned.

    InputError: no such folder, a network is missing or damaged, or a setting that ControlNets do not have.
    """
    root = None if folder is None else find_model(folder, weights)
    names = list(SVD_CONFIGS) if root is None else component_names(root)
    for name in ("unet", "vae", "image_encoder"):
        if name not in names:
            raise InputError(f"{root} has no {name}: give a folder made by lvcd convert or lvcd train, or SVD's")
    if root is None or (not weights and root.is_dir()):
        configs = SVD_CONFIGS if root is None else {name: read_json(root / name / "config.json") for name in names}
        networks = {name: build_network(name, configs[name], root or Path("SVD")) for name in names}
    else:
        loaded = load_svd_parts(root, names)
        if weights:
            networks = {name: loaded.network(name, torch.float32) for name in names}
        else:
            networks = {name: build_network(name, config_of(loaded.parts[name][0].model), root) for name in names}
    trained = networks.get("controlnet")
    try:
        if trained is None:
            branch = SketchControlNet.from_unet(networks["unet"], **controlnet or {})
        else:
            branch = trained.with_config(**controlnet) if controlnet else trained
    except TypeError as error:
        raise InputError(f"controlnet: {error}: give settings that SketchControlNet has") from error
    has_index = root is not None and (root / "model_index.json").is_file()
    index = read_model_index(root, svd=True) if root is not None and has_index else {}
    return Networks(
        networks["unet"],
        branch,
        networks["vae"],
        networks["image_encoder"],
        networks.get("condition_encoder"),
        {name: value for name, value in index.items() if name in PIPELINE_SETTINGS},
        new_controlnet=weights and trained is None,
    )


def networks_from_config(
    unet: dict[str, Any],  # arguments of ColorUNet
    controlnet: dict[str, Any],  # arguments of SketchControlNet that are not the U-Net's
    image_encoder: dict[str, Any],  # arguments of transformers' CLIPVisionConfig
    vae: str | Path,  # folder of a trained VAE, or the name of a bundled one: mini_vae
    settings: dict[str, Any] | None = None,  # PIPELINE_SETTINGS of the exported pipeline
    weights: bool = True,  # False = do not read the VAE's weights
) -> Networks:
    """Build new networks around a trained VAE. The image encoder is a random projection that is never trained.

    InputError: no VAE in that folder.
    """
    folder = model_folder(vae)
    refuse_code(folder)
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{vae} is not a VAE's folder: train one with experiment=mini_vae, or give module.networks.vae"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the same projection in every run
        encoder = build_network("image_encoder", image_encoder, Path("module.networks.image_encoder"))
    try:
        color_unet = ColorUNet(**unet)
        zero_residual_branches(color_unet)
        branch = SketchControlNet.from_unet(color_unet, **controlnet)
    except (TypeError, ValueError, RuntimeError, IndexError, ZeroDivisionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        widths = ": widths have to be multiples of 32" if "num_groups" in reason else ""
        raise InputError(f"module.networks has a unet or controlnet that cannot be built ({reason}){widths}") from error
    return Networks(
        color_unet,
        branch,
        _load_vae(folder) if weights else build_network("vae", read_json(folder / "config.json"), folder),
        encoder,
        settings=settings or {},
        recipe={"unet": unet, "controlnet": controlnet},
    )


def _load_vae(folder: Path) -> VideoVAE:
    component, tensors, _ = load_component("vae", folder)
    check_digests(folder)
    return LoadedParts({"vae": (component, tensors)}, {}).network("vae", torch.float32)
