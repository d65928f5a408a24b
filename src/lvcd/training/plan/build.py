"""The module that train.py would train, from its configuration alone: no weight is read or made."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

import lvcd.training
from lvcd.checkpoints.files import read_json
from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet
from lvcd.nn.vae import ColorVAE
from lvcd.weights import model_folder

from ..color import FineTuneModule
from ..networks import Networks
from ..optimizer import Optimization

Config = Mapping[str, Any]

SVD: dict[str, Config] = {
    "unet": {"num_attention_heads": (5, 10, 20, 20)},  # the rest is the class's default
    "vae": {
        "block_out_channels": (128, 256, 512, 512),
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
"""The config.json files of stabilityai/stable-video-diffusion-img2vid, where no folder is given."""


def build(module: Config) -> FineTuneModule:
    """The module of conf/module, on whatever device or mode is the current one.

    InputError: not a module that paints, or a setting it has not.
    """
    settings = {k: v for k, v in module.items() if k not in ("_target_", "networks", "optimization")}
    kind = getattr(lvcd.training, str(module.get("_target_")).rpartition(".")[2], None)
    if not (inspect.isclass(kind) and issubclass(kind, FineTuneModule)):
        raise InputError(f"{module.get('_target_')} paints nothing: plan an experiment that trains U-Net or ControlNet")
    optimization = {k: v for k, v in (module.get("optimization") or {}).items() if k != "_target_"}
    try:
        return kind(networks(module["networks"]), optimization=Optimization(**optimization), **settings)
    except TypeError as error:
        raise InputError(f"module: {error}: give settings that {kind.__name__} has") from error


def networks(config: Config) -> Networks:
    """conf/module's `networks`: those of lvcd.training.load or lvcd.training.fresh."""
    given = config.get("controlnet") or {}
    if str(config.get("_target_")).endswith(".fresh"):
        parts, own = dict(config) | {"vae": _of_folder(model_folder(config["vae"]))}, None
    else:
        folder = str(config.get("folder", "???"))
        parts = SVD if folder == "???" else _of_model(model_folder(folder))
        own = parts.get("controlnet")
    unet = ColorUNet(**_known(ColorUNet, parts["unet"]))
    told = parts.get("condition_encoder")
    return Networks(
        unet,
        SketchControlNet(**_known(SketchControlNet, own) | given) if own else SketchControlNet.from_unet(unet, **given),
        # SVD's autoencoder is ColorVAE with norms in 32 groups: the same layers and shapes.
        ColorVAE(**_known(ColorVAE, {"norm_groups": 32, **parts["vae"]})),
        CLIPVisionModelWithProjection(CLIPVisionConfig(**parts["image_encoder"])),
        LatentEncoder(**_known(LatentEncoder, told)) if told else None,
        recipe={},
    )


def _of_model(folder: Path) -> dict[str, Config]:
    optional = [n for n in ("controlnet", "condition_encoder") if (folder / n / "config.json").is_file()]
    return {name: _of_folder(folder / name) for name in ("unet", "vae", "image_encoder", *optional)}


def _of_folder(folder: Path) -> Config:
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} has no config.json: give the folder of a model, or none for SVD's size")
    return read_json(folder / "config.json")


def _known(cls: type, config: Config) -> dict[str, Any]:
    """What of a config.json is the class's."""
    names = inspect.signature(cls).parameters
    return {k: v for k, v in config.items() if k in names}
