"""Files of weights, of any size: opened without reading a tensor, written tensor by tensor."""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import re
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import split_state_dict_into_shards_factory
from safetensors import safe_open
from torch import Tensor

from lvcd.errors import InputError

from .config_files import write_json

SAFETENSORS_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
"""Floating-point types that a checkpoint may have -> their names in a safetensors file."""
STATE_DICT_KEYS = ("state_dict", "module")
"""Where a checkpoint has its tensors: Lightning's key, and DeepSpeed's."""
PLAIN_CONTAINERS: list[Any] = [argparse.Namespace, pathlib.PosixPath]
"""Classes besides torch's own that are read from a checkpoint: they hold values and run nothing."""
MAX_SHARD_BYTES = 2 * 10**9
"""Size from which the weights of one network are spread over several files."""


@dataclass(frozen=True)
class LazyTensor:
    """A tensor whose shape and dtype are known and whose values are read, or computed, when they are asked for."""

    meta: Tensor
    """The tensor on the meta device: shape and dtype."""
    read: Callable[[], Tensor]
    """Return the values, on the CPU."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The tensor's shape."""
        return tuple(self.meta.shape)


LazyStateDict = dict[str, LazyTensor]
"""Names -> tensors of a network, or of all that a file holds."""


def in_memory(tensor: Tensor) -> LazyTensor:
    """Wrap a tensor that is in memory already, or on the meta device."""
    return LazyTensor(tensor.to("meta"), lambda: tensor)


def apply_lazily(function: Callable[..., Tensor], *tensors: LazyTensor) -> LazyTensor:
    """Return function(*tensors), which is computed when it is read."""
    return LazyTensor(function(*(t.meta for t in tensors)), lambda: function(*(t.read() for t in tensors)))


def open_checkpoint(path: Path) -> tuple[LazyStateDict, list[str]]:
    """Open a checkpoint file => its tensors, and the names of what else it holds, such as a Lightning optimizer.

    path  `.safetensors`, or anything that torch.save writes: {"state_dict": ...}, DeepSpeed's {"module": ...}, or the
          dict itself. Code in it is never run.
    InputError: the file is missing or damaged, holds pickled code, or holds more than tensors by name.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return open_safetensors(path), []
    try:
        with torch.serialization.safe_globals(PLAIN_CONTAINERS):
            content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError as e:
        named = re.search(r"GLOBAL ([\w.]+)", str(e))
        what = f"pickled code ({named[1]})" if named else "pickled code, or is no checkpoint"
        raise InputError(
            f"{path}: refused, it holds {what}; only tensors are read. If you trust it: torch.load(FILE, "
            "weights_only=False)['state_dict'] where that is installed, and safetensors.torch.save_file"
        ) from None
    except Exception as e:  # torch raises nearly anything on a foreign or damaged file
        raise InputError(f"{path}: damaged, or not a checkpoint of torch 1.6 or later ({type(e).__name__})") from None
    others: list[str] = []
    for key in STATE_DICT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            others = [str(k) for k in content if k != key]
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no state dict")
    strange = [str(k) for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise InputError(f"{path}: not only tensors by name, but also {abbreviate(strange)}")
    return {name: in_memory(tensor) for name, tensor in content.items()}, others


def open_safetensors(path: Path) -> LazyStateDict:
    """Open a .safetensors file. InputError: it is damaged, or no such file."""
    dtypes = {name: dtype for dtype, name in SAFETENSORS_DTYPES.items()}
    try:
        file = safe_open(path, framework="pt")
    except Exception as e:  # a SafetensorError, or an error of the file system
        raise InputError(f"{path}: damaged, or not a safetensors file ({e})") from None

    def lazy(name: str) -> LazyTensor:
        part = file.get_slice(name)
        dtype = dtypes.get(part.get_dtype(), torch.int64)  # no float: `match_keys` refuses it where one is expected
        return LazyTensor(torch.empty(part.get_shape(), dtype=dtype, device="meta"), lambda: file.get_tensor(name))

    return {name: lazy(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return what a .safetensors file says of itself. InputError: it is damaged, or no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except Exception as e:  # a SafetensorError, or an error of the file system
        raise InputError(f"{path}: damaged, or not a safetensors file ({e})") from None


def write_safetensors(tensors: LazyStateDict, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the bytes that safetensors' own writer makes, but hold one tensor at a time.

    metadata: more that the file says of itself, by key

    Peak of anonymous memory, 1.5 GiB of random float32 weights to float16 in shards of 0.6 GB: 0.11 GiB here, 0.55 GiB
    with safetensors.torch.save_file shard by shard, 0.79 GiB with huggingface_hub.save_torch_state_dict.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].meta.element_size(), name))  # keeps all aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt", **(metadata or {})}}
    end = 0
    for name in order:
        meta = tensors[name].meta
        start, end = end, end + meta.nbytes
        header[name] = {
            "dtype": SAFETENSORS_DTYPES[meta.dtype],
            "shape": list(meta.shape),
            "data_offsets": [start, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].read().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def write_torch(tensors: LazyStateDict, path: Path) -> None:
    """Write {"state_dict": ...} with torch.save. Tensors that lie unchanged in a file stay there until written."""
    try:
        torch.save({"state_dict": {name: lazy.read().contiguous() for name, lazy in tensors.items()}}, path)
    except RuntimeError as e:  # what torch makes of a full disk
        raise OSError(str(e).splitlines()[0]) from None


def write_sharded(tensors: LazyStateDict, folder: Path, stem: str, max_shard_bytes: int) -> int:
    """Write one network's weights as from_pretrained reads them, and return the number of files.

    Files are `stem`.safetensors alone, or several and an index, of at most max_shard_bytes each unless a single tensor
    is larger. huggingface_hub decides what goes where.
    """
    split = split_state_dict_into_shards_factory(
        tensors,
        get_storage_size=lambda tensor: tensor.meta.nbytes,
        filename_pattern=stem + "{suffix}.safetensors",
        max_shard_size=max_shard_bytes,
    )
    for file, names in split.filename_to_tensors.items():
        write_safetensors({name: tensors[name] for name in names}, folder / file)
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        write_json(index, folder / f"{stem}.safetensors.index.json")
    return len(split.filename_to_tensors)


def abbreviate(names: Iterable[str], most: int = 3) -> str:
    """Return the first `most` names in order, and the number of all where there are more: "a, b, c ... (7 in all)"."""
    names = sorted(names)
    tail = f" ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + tail
