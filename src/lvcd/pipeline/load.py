"""Loading: a model folder becomes a pipeline on a device."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from lvcd.checkpoints.adapters import merge_layers, read_adapter
from lvcd.checkpoints.config_files import COMPONENT_CLASSES, PIPELINE_SETTINGS, read_model_index
from lvcd.checkpoints.digest import check_digests
from lvcd.checkpoints.fingerprint import fingerprint_of_weights
from lvcd.checkpoints.hub import find_model
from lvcd.checkpoints.loading import LoadedParts, load_components
from lvcd.errors import InputError
from lvcd.sampling.config import SamplingConfig
from lvcd.system import choose_device

from .lineart_video import LineartVideoPipeline

DTYPES = ("auto", "float32", "float16", "bfloat16")
OFFLOAD = ("model", "sequential", "group")
"""How weights wait in main memory: whole networks, single layers, or layers that are fetched ahead."""
STORAGE = ("fp8",)
"""What weights may be stored in between uses, in place of the dtype that is computed in."""


def silence_libraries() -> None:
    """Hide the messages and progress bars of diffusers and transformers, for programs that have their own."""
    warnings.filterwarnings("ignore", category=FutureWarning, module="diffusers")
    diffusers.logging.set_verbosity_error()
    diffusers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def choose_dtype(name: str, device: str) -> torch.dtype:
    """Return the dtype of this name; `auto` is float16 on a GPU and float32 on a CPU. InputError: an unknown name."""
    if name not in DTYPES:
        raise InputError(f"dtype={name}: choose {', '.join(DTYPES)}")
    if name == "auto":
        name = "float32" if device == "cpu" else "float16"
    return getattr(torch, name)


def load_pipeline(
    folder: str | Path,  # or the name of a bundled model, as "mini"
    device: str = "auto",
    dtype: str = "auto",
    offload: str | None = None,  # keep weights in main memory until they are used: model, sequential or group
    storage: str | None = None,  # "fp8" keeps the weights of U-Net and ControlNet in 8 bits; results change
    adapters: Sequence[tuple[str | Path, float]] = (),  # folders or files of adapters, each with its weight
    **components: Any,  # networks in place of the folder's; None = without
) -> LineartVideoPipeline:
    """Load a model folder of `lvcd convert`, `lvcd export` or `RUN/model`, without progress bars.

    Only lvcd's own classes are built, whatever the folder's files name. Adapters are added to the weights.
    Raises InputError if the folder is no model, an adapter is of another one, or the device, dtype, offload or storage
    cannot be used.
    """
    silence_libraries()
    folder = find_model(folder)
    index = read_model_index(folder, given=components)
    settings = {name: index[name] for name in PIPELINE_SETTINGS if name in index}
    try:
        SamplingConfig(**{name: settings[name] for name in ("schedule", "solver") if name in settings})
    except InputError as error:
        raise InputError(f"{folder / 'model_index.json'}: {error}") from None
    device = choose_device(device)
    torch_dtype = choose_dtype(dtype, device)
    check_memory_settings(offload, storage)
    if offload is not None and device == "cpu":
        raise InputError(f"offload {offload} keeps weights off a GPU, and there is none: leave it out")
    absent = {name for name in COMPONENT_CLASSES if index.get(name) in (None, [None, None])} & {"condition_encoder"}
    names = [name for name in COMPONENT_CLASSES if name not in components and name not in absent]
    loaded = load_components(folder, names)
    check_digests(folder, names)
    add_adapters(loaded, adapters)
    networks = {name: loaded.network(name, torch_dtype) for name in names}
    pipeline = LineartVideoPipeline(**networks, **components, **settings)
    pipeline.set_progress_bar_config(disable=True)
    if storage == "fp8":
        for network in (pipeline.unet, pipeline.controlnet):
            network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch_dtype)
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=device)
    elif offload == "group":
        pipeline.enable_group_offload(onload_device=torch.device(device), offload_type="leaf_level", use_stream=True)
    return pipeline if device == "cpu" or offload else pipeline.to(device)


def add_adapters(loaded: LoadedParts, adapters: Sequence[tuple[str | Path, float]]) -> None:
    """Add adapters, each times its weight, to the weights of U-Net and ControlNet, which are computed when they are
    read. InputError: one cannot be read, or is of another model, or no such network is loaded from a folder."""
    base: dict[str, str] = {}
    merged = dict(loaded.parts)
    for path, weight in adapters:
        adapter = read_adapter(path)
        if not math.isfinite(weight):
            raise InputError(f"an adapter's weight of {weight}: give a number, such as 0.8")
        for name in ("unet", "controlnet"):
            if name not in loaded.parts:
                raise InputError(f"{path}: adapters are for the networks of a model folder: leave out the {name} given")
            component, tensors = loaded.parts[name]
            if name in adapter.base and name not in base:
                base[name] = fingerprint_of_weights((key, lazy.read()) for key, lazy in sorted(tensors.items()))
            layers = adapter.of_network(name, component)
            merged[name] = component, merge_layers(merged[name][1], layers, weight)
        adapter.check_base(base)
    loaded.parts |= merged


def check_memory_settings(offload: str | None, storage: str | None) -> None:
    """InputError: an offload or storage of this name is not known, or the two cannot be combined."""
    if offload not in (None, *OFFLOAD):
        raise InputError(f"offload {offload}: choose {', '.join(OFFLOAD)}")
    if storage not in (None, *STORAGE):
        raise InputError(f"storage {storage}: choose {', '.join(STORAGE)}")
    if storage and offload == "sequential":
        raise InputError(f"storage {storage} does not go with offload sequential: choose model or group")
