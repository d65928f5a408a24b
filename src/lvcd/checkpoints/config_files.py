"""The JSON files of a model folder, config.json and model_index.json, read without importing torch."""

from __future__ import annotations

import json
import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.disk import parse_json

Config = dict[str, Any]
"""The content of a config.json or model_index.json."""

COMPONENT_CLASSES: dict[str, tuple[list[str | None], ...]] = {
    "unet": (["lvcd.nn.unet", "ColorUNet"], ["diffusers", "UNetSpatioTemporalConditionModel"]),
    "controlnet": (["lvcd.nn.controlnet", "SketchControlNet"],),
    "vae": (["diffusers", "AutoencoderKLTemporalDecoder"], ["lvcd.nn.vae", "ColorVAE"]),
    "image_encoder": (["transformers", "CLIPVisionModelWithProjection"],),
    "condition_encoder": (["lvcd.nn.condition", "LatentEncoder"], [None, None]),
}
"""Component -> what a model_index.json may say of it: library and class. Nothing else is ever built."""
PIPELINE_SETTINGS = (
    "window", "schedule", "solver", "steps", "sigma_min", "sigma_max", "reference_attention", "isolation",
)  # fmt: skip
"""Arguments of LineartVideoPipeline besides its networks."""
MAX_WINDOW, MAX_STEPS, MAX_SIGMA = 1024, 1000, 1e6
"""Largest values that a model_index.json may ask for."""


def read_json(path: Path) -> Config:
    """Read a JSON object. InputError: the file cannot be read, or holds something else."""
    try:
        content = parse_json(path.read_bytes())
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def write_json(content: Config, path: Path) -> None:
    """Write a JSON object, indented."""
    path.write_text(json.dumps(content, indent=2) + "\n")


def read_model_index(folder: Path, svd: bool = False, given: Collection[str] = ()) -> Config:
    """Read and check the model_index.json of a model folder: the class of each network, and the pipeline's settings.

    svd   also take the folder of Stable Video Diffusion; what it says of other components than ours is not used
    given components that the caller brings: what the folder says of their classes is not used
    InputError: the folder is no such model, holds code, or names a class or setting that is not ours.
    """
    if not (folder / "model_index.json").is_file():
        in_run = folder / "model"
        is_run = (in_run / "model_index.json").is_file()
        give = in_run if is_run else "a folder of lvcd convert or lvcd export, or RUN/model of lvcd train"
        raise InputError(f"{folder} is not a model folder: give {give}")
    refuse_code(folder)
    file = folder / "model_index.json"
    index = read_json(file)
    kind = index.get("_class_name")
    if svd and kind == "StableVideoDiffusionPipeline":
        index = {name: value for name, value in index.items() if name in COMPONENT_CLASSES or name == "_class_name"}
    elif kind != "LineartVideoPipeline":
        raise InputError(f"{folder} is a {_short(kind)}, not an lvcd model: make one with lvcd convert")
    for name, value in index.items():
        if name in COMPONENT_CLASSES:
            if name not in given and value not in COMPONENT_CLASSES[name]:
                raise InputError(f"{file}: {name} is {_short(value)}, which lvcd does not load: get the model anew")
        elif name in PIPELINE_SETTINGS:
            if not _is_setting(name, value):
                raise InputError(f"{file}: {name} is {_short(value)}, which cannot be: get the model anew")
        elif name not in ("_class_name", "_diffusers_version", "_name_or_path"):
            raise InputError(f"{file}: {_short(name)} is nothing that lvcd knows: get the model anew, or update lvcd")
    if not index.get("sigma_min", 0.002) < index.get("sigma_max", 700.0):
        raise InputError(f"{file}: sigma_min is not below sigma_max: get the model anew")
    return index


def refuse_code(folder: Path) -> None:
    """InputError: a folder of weights holds code. lvcd would not run it, but nobody should have it unawares."""
    for file in sorted([*folder.glob("*.py"), *folder.glob("*/*.py")]):
        raise InputError(
            f"{folder} holds code ({_short(str(file.relative_to(folder)))}), and a model is data: remove it"
        )


def _is_setting(name: str, value: Any) -> bool:
    if name in ("window", "steps"):
        return type(value) is int and 1 <= value <= (MAX_WINDOW if name == "window" else MAX_STEPS)
    if name in ("sigma_min", "sigma_max"):
        return type(value) in (int, float) and math.isfinite(value) and 0 < value <= MAX_SIGMA
    if name in ("schedule", "solver"):
        return isinstance(value, str)  # SamplingConfig knows the names
    return isinstance(value, bool)


def _short(value: Any) -> str:
    """Return a value of a file as a message shows it."""
    text = value if isinstance(value, str) and value.isprintable() else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
