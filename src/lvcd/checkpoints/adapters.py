"""Files of low-rank adapters (LoRA): written for peft, diffusers and ComfyUI, and read from all of these.

A folder has, for the U-Net, peft's adapter_config.json and adapter_model.safetensors, the same for the ControlNet in
the folder `controlnet`, and two files with both of what others read:

pytorch_lora_weights.safetensors  `unet.LAYER.lora_A.weight`, what diffusers' `load_lora_weights` looks for
comfyui.safetensors               `lora_unet_LAYER.lora_down.weight`, LAYER by the original's names with underscores, as
                                  kohya's trainers write: ComfyUI derives these from its own names of SVD's layers, even
                                  of those in time, for which it has no diffusers names. Of the U-Net alone

letters: r rank, in and out channels of a layer, and k k the kernel of a convolution
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvcd.errors import InputError
from lvcd.io.disk import atomic_folder, sha256
from lvcd.nn.lora import ADAPTER, adapted_layers

from .component import Component
from .config_files import Config, read_json, refuse_code, write_json
from .digest import check_digests, finish_model_folder
from .files import LazyStateDict, apply_lazily, in_memory, open_safetensors, safetensors_metadata, write_safetensors

CONFIG_FILE, WEIGHTS_FILE = "adapter_config.json", "adapter_model.safetensors"
"""peft's files."""
DIFFUSERS_FILE, COMFYUI_FILE = "pytorch_lora_weights.safetensors", "comfyui.safetensors"
FOLDERS = {"unet": ".", "controlnet": "controlnet"}
"""Network -> where peft's files of its adapter are in an adapter's folder."""
BASE_METADATA = "lvcd_base"
"""Key of a file's metadata: fingerprints of the networks that the adapter was trained for, as JSON."""
ORIGINAL = "original"
"""Stands for the U-Net in files with the original's names of layers."""


@dataclass(frozen=True)
class LowRank:
    """The adapter of one layer: its weight W becomes W + scale B A."""

    down: Tensor
    """The matrix A (r in); of a convolution (r in k k)."""
    up: Tensor
    """The matrix B (out r); of a convolution (out r 1 1)."""
    scale: float = 1.0
    """What B A is multiplied by: alpha / r."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of W, (out in) or (out in k k)."""
        return (self.up.shape[0], *self.down.shape[1:])

    def change(self) -> Tensor:
        """Return scale B A in float32, in the shape of W."""
        return self.scale * (self.up.flatten(1).float() @ self.down.flatten(1).float()).reshape(self.shape)


Layers = dict[str, LowRank]
"""Name of a layer -> its adapter."""


@dataclass(frozen=True)
class Adapter:
    """The adapter of a model, as it was read from files."""

    path: Path
    layers: dict[str, Layers]
    """Network, or ORIGINAL -> its layers."""
    base: dict[str, str]
    """Network -> fingerprint of the one it was trained for; empty where a file does not say."""
    digest: str
    """SHA-256 of the files that were read."""

    def check_base(self, fingerprints: Mapping[str, str]) -> None:
        """InputError: the adapter was trained for networks with other fingerprints."""
        for name, value in fingerprints.items():
            if self.base.get(name, value) != value:
                raise InputError(f"{self.path} is an adapter of another model, whose {name} differs: give the model "
                                 "that it was trained from")  # fmt: skip

    def of_network(self, name: str, component: Component) -> Layers:
        """Return the layers of one network by our names. InputError: the network has no such layer."""
        found = dict(self.layers.get(name, {}))
        if name == "unet" and ORIGINAL in self.layers:
            known = {}
            for ours, place in component.names.items():
                if ours.endswith(".weight"):
                    original = place.name.removeprefix("model.diffusion_model.").removesuffix(".weight")
                    for written in (original, ours.removesuffix(".weight")):
                        known[written] = known[written.replace(".", "_")] = ours.removesuffix(".weight")
            for written, low_rank in self.layers[ORIGINAL].items():
                if written not in known:
                    raise InputError(f"{self.path} adapts {written}, which the U-Net of this model does not have")
                found[known[written]] = low_rank
        for layer, low_rank in found.items():
            weight = component.expected.get(f"{layer}.weight")
            if weight is None or weight.shape != low_rank.shape:
                there = "it does not have" if weight is None else f"has the shape {weight.shape} here"
                raise InputError(f"{self.path} is an adapter of another model: it adapts {layer} {low_rank.shape} of "
                                 f"the {name}, which {there}")  # fmt: skip
        return found


def trained_layers(network: nn.Module) -> Layers:
    """Return the adapter of a network that has one, see lvcd.nn.lora."""
    return {
        name: LowRank(
            layer.lora_A[ADAPTER].weight.detach(), layer.lora_B[ADAPTER].weight.detach(), layer.scaling[ADAPTER]
        )
        for name, layer in adapted_layers(network)
    }


def merge_layers(tensors: LazyStateDict, layers: Layers, weight: float) -> LazyStateDict:
    """Return a network's tensors with an adapter added to them, times `weight`; 0 leaves them as they are."""
    merged = dict(tensors)
    for layer, low_rank in layers.items() if weight else ():
        change = in_memory(weight * low_rank.change())
        merged[f"{layer}.weight"] = apply_lazily(lambda w, d: w.float() + d, tensors[f"{layer}.weight"], change)
    return merged


# --- writing ----------------------------------------------------------------------------------------------------------


def write_adapter(
    folder: Path,  # made; must not exist, or be an empty folder
    layers: Mapping[str, Layers],  # network -> its adapter
    base: Mapping[str, str],  # network -> fingerprint
    unet_config: Config,
    training: Config | None = None,  # the content of a file training.json; None = no such file
) -> None:
    """Write a folder with the files of an adapter, whole or not at all. InputError: it cannot be written."""
    metadata = {BASE_METADATA: json.dumps(dict(base), sort_keys=True)}
    with atomic_folder(folder) as partial:
        plain: dict[str, Tensor] = {}
        for name, own in layers.items():
            place = partial / FOLDERS[name]
            place.mkdir(exist_ok=True)
            _write_peft_config(own, place)
            tensors = {}
            for layer, low_rank in own.items():
                tensors[f"base_model.model.{layer}.lora_A.weight"] = low_rank.down
                tensors[f"base_model.model.{layer}.lora_B.weight"] = low_rank.up
                plain[f"{name}.{layer}.lora_A.weight"] = low_rank.down
                plain[f"{name}.{layer}.lora_B.weight"] = low_rank.up * low_rank.scale
            _write(tensors, place / WEIGHTS_FILE, metadata)
        _write(plain, partial / DIFFUSERS_FILE, metadata)
        if "unet" in layers:
            _write(_original_names(layers["unet"], unet_config, folder), partial / COMFYUI_FILE, metadata)
        if training is not None:
            write_json(training, partial / "training.json")
        finish_model_folder(partial)


def _write(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    write_safetensors({name: in_memory(t.cpu().contiguous()) for name, t in tensors.items()}, path, metadata)


def _write_peft_config(layers: Layers, folder: Path) -> None:
    """Write adapter_config.json by peft. All layers have one rank and one scale, as peft makes them of one config."""
    from peft import LoraConfig

    ((rank, scale),) = {(layer.down.shape[0], layer.scale) for layer in layers.values()}
    numbers: Any = {"r": rank, "lora_alpha": scale * rank}
    LoraConfig(**numbers, target_modules=sorted(layers), inference_mode=True).save_pretrained(str(folder))


def _original_names(layers: Layers, config: Config, source: Path) -> dict[str, Tensor]:
    component = Component.from_config("unet", config, source)
    tensors = {}
    for layer, low_rank in layers.items():
        original = component.names[f"{layer}.weight"].name.removeprefix("model.diffusion_model.")
        name = f"lora_unet_{original.removesuffix('.weight').replace('.', '_')}"
        tensors[f"{name}.lora_down.weight"] = low_rank.down
        tensors[f"{name}.lora_up.weight"] = low_rank.up * low_rank.scale
        tensors[f"{name}.alpha"] = torch.tensor(float(low_rank.down.shape[0]))
    return tensors


# --- reading ----------------------------------------------------------------------------------------------------------

_PART = re.compile(r"(.+)\.(lora_A|lora_B|lora_down|lora_up)(?:\.default)?\.weight")
_DOWN = ("lora_A", "lora_down")
_PREFIXES = {"unet.": "unet", "controlnet.": "controlnet", "diffusion_model.": ORIGINAL, "lora_unet_": ORIGINAL}
"""Beginning of a tensor's name in one file of all networks -> the network, or ORIGINAL."""


def read_adapter(path: str | Path) -> Adapter:
    """Read an adapter: a folder of `lvcd export --adapter` or of peft, or a file with the names of diffusers or kohya.

    Only safetensors are read, and of adapter_config.json only numbers: nothing in it chooses what is run.
    InputError: the file or folder is missing, damaged, no adapter, or one of a kind that is not LoRA.
    """
    path = Path(path)
    if path.is_dir():
        refuse_code(path)
        places = {name: path / at for name, at in FOLDERS.items() if (path / at / WEIGHTS_FILE).is_file()}
        if not places and (path / DIFFUSERS_FILE).is_file():
            path = path / DIFFUSERS_FILE
        elif not places:
            raise InputError(f"{path} has neither {WEIGHTS_FILE} nor {DIFFUSERS_FILE}: give a folder of lvcd export "
                             "--adapter, or of peft")  # fmt: skip
        else:
            check_digests(path)
            files = [at / file for at in places.values() for file in (CONFIG_FILE, WEIGHTS_FILE)]
            layers = {name: _read_peft(at) for name, at in places.items()}
            base = [_read_base(at / WEIGHTS_FILE) for at in places.values()]
            return Adapter(path, layers, base[0], _digest(files))
    if not path.is_file():
        raise InputError(f"{path} is no adapter: it does not exist")
    if path.suffix != ".safetensors":
        raise InputError(f"{path} is refused, because only safetensors are read: give a .safetensors file or a folder")
    return Adapter(path, _read_file(path), _read_base(path), _digest([path]))


def _digest(files: list[Path]) -> str:
    return hashlib.sha256("".join(sha256(file) for file in files).encode()).hexdigest()


def _read_base(file: Path) -> dict[str, str]:
    try:
        base = json.loads(safetensors_metadata(file).get(BASE_METADATA, "{}"))
    except ValueError:
        base = None
    if not isinstance(base, dict) or not all(isinstance(value, str) for value in base.values()):
        raise InputError(f"{file}: damaged, {BASE_METADATA} in its metadata is no list of fingerprints")
    return base


def _read_peft(folder: Path) -> Layers:
    config = read_json(folder / CONFIG_FILE)
    for key, plain in (("peft_type", ("LORA",)), ("use_dora", (False, None)), ("bias", ("none", None)),
                       ("modules_to_save", (None, [])), ("fan_in_fan_out", (False, None))):  # fmt: skip
        if config.get(key, plain[0]) not in plain:
            raise InputError(
                f"{folder / CONFIG_FILE}: {key} is {str(config[key])[:40]}, and lvcd reads plain LoRA alone"
            )
    tensors = _read_parts(folder / WEIGHTS_FILE)
    layers = {}
    for name, (down, up, _) in tensors.items():
        layer = name.removeprefix("base_model.model.")
        rank = down.shape[0]
        alpha = _pattern(config, "alpha_pattern", layer, config.get("lora_alpha", 8), folder)
        layers[layer] = LowRank(down, up, alpha / (math.sqrt(rank) if config.get("use_rslora") is True else rank))
    return layers


def _pattern(config: Config, key: str, layer: str, default: Any, folder: Path) -> float:
    """Return a layer's number: peft has one for all, and a table of exceptions by the end of a layer's name."""
    table = config.get(key) or {}
    number = default
    for name, value in table.items() if isinstance(table, dict) else ():
        literal = str(name).removeprefix("^").replace("\\.", ".")
        if not re.fullmatch(r"[\w.]+", literal):
            raise InputError(
                f"{folder / CONFIG_FILE}: {key} has {str(name)[:40]}, and lvcd reads names of layers alone"
            )
        if layer == literal or layer.endswith(f".{literal}"):
            number = value
            break
    if not isinstance(number, (int, float)) or not math.isfinite(number):
        raise InputError(f"{folder / CONFIG_FILE}: alpha is {str(number)[:40]}, which is no number: get the file anew")
    return float(number)


def _read_file(file: Path) -> dict[str, Layers]:
    found: dict[str, Layers] = defaultdict(dict)
    for name, (down, up, alpha) in _read_parts(file).items():
        prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        if prefix is None:
            raise InputError(
                f"{file}: {name[:80]} is a layer of no U-Net or ControlNet: give an adapter of lvcd or SVD"
            )
        scale = 1.0 if alpha is None else alpha / down.shape[0]
        found[_PREFIXES[prefix]][name.removeprefix(prefix)] = LowRank(down, up, scale)
    return dict(found)


def _read_parts(file: Path) -> dict[str, tuple[Tensor, Tensor, float | None]]:
    """Read the tensors of an adapter's file => name of each layer as it is written -> A, B and alpha.

    InputError: the file is missing or damaged, or holds something else.
    """
    tensors = open_safetensors(file)
    parts: dict[str, dict[str, Any]] = defaultdict(dict)
    for name, lazy in tensors.items():
        matched = _PART.fullmatch(name)
        if matched is not None and lazy.meta.is_floating_point():
            parts[matched[1]]["down" if matched[2] in _DOWN else "up"] = lazy.read()
        elif name.endswith(".alpha") and lazy.meta.numel() == 1:
            parts[name.removesuffix(".alpha")]["alpha"] = float(lazy.read())
        else:
            raise InputError(f"{file} is no adapter: it holds {name[:80]}, which is no part of a LoRA")
    layers = {}
    for name, own in parts.items():
        down, up = own.get("down"), own.get("up")
        if down is None or up is None or down.ndim not in (2, 4) or up.ndim != down.ndim or up.shape[1] != len(down):
            raise InputError(f"{file}: {name[:80]} lacks a part, or its parts do not fit together: get the file anew")
        if not all(x.float().isfinite().all() for x in (down, up)) or not math.isfinite(own.get("alpha", 0.0)):
            raise InputError(f"{file}: {name[:80]} has values that are no numbers: train it again, at a lower rate")
        layers[name] = (down, up, own.get("alpha"))
    if not layers:
        raise InputError(f"{file} holds no adapter: it is empty")
    return layers
