"""Checkpoints of any size: read tensor by tensor, written shard by shard, all or nothing."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from lvcd.errors import InputError

DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
MAX_SHARD = 2 * 10**9  # bytes

Config = dict[str, Any]


@dataclass(frozen=True)
class Lazy:
    meta: Tensor
    """On the meta device: shape and dtype."""
    read: Callable[[], Tensor]

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.meta.shape)


Checkpoint = dict[str, Lazy]


def held(tensor: Tensor) -> Lazy:
    return Lazy(tensor.to("meta"), lambda: tensor)


def combine(function: Callable[..., Tensor], *parts: Lazy) -> Lazy:
    """function(*parts), computed when read."""
    return Lazy(function(*(p.meta for p in parts)), lambda: function(*(p.read() for p in parts)))


def open_checkpoint(path: Path) -> tuple[Checkpoint, list[str]]:
    """=> its tensors, and the names of what else the file holds (a Lightning checkpoint's optimizer and so on).

    `.safetensors`, or anything torch.save writes: {"state_dict": ...} or the dict itself. Code in it is never run.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix == ".safetensors":
        return open_safetensors(path), []
    try:
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except pickle.UnpicklingError:
        raise InputError(f"{path}: refused, it holds pickled code or is no checkpoint; only tensors are read") from None
    except Exception as e:  # torch raises nearly anything on a foreign or damaged file
        raise InputError(f"{path}: damaged, or not a checkpoint of torch 1.6 or later ({type(e).__name__})") from None
    others: list[str] = []
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        others = [str(k) for k in content if k != "state_dict"]
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise InputError(f"{path}: holds no state dict")
    strange = [str(k) for k, v in content.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if strange:
        raise InputError(f"{path}: not only tensors by name, but also {some(strange)}")
    return {name: held(tensor) for name, tensor in content.items()}, others


def open_safetensors(path: Path) -> Checkpoint:
    dtypes = {name: dtype for dtype, name in DTYPES.items()}
    try:
        file = safe_open(path, framework="pt")
    except Exception as e:  # a SafetensorError, or what the file system says
        raise InputError(f"{path}: damaged, or not a safetensors file ({e})") from None

    def lazy(name: str) -> Lazy:
        part = file.get_slice(name)
        dtype = dtypes.get(part.get_dtype(), torch.int64)  # not a float: `check` refuses it where one is wanted
        return Lazy(torch.empty(part.get_shape(), dtype=dtype, device="meta"), lambda: file.get_tensor(name))

    return {name: lazy(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def write_safetensors(tensors: Checkpoint, path: Path) -> None:
    """The same bytes as safetensors' own writer, tensor by tensor (which holds all of them at once)."""
    order = sorted(tensors, key=lambda name: (-tensors[name].meta.element_size(), name))  # keeps all aligned
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in order:
        meta = tensors[name].meta
        start, end = end, end + meta.nbytes
        header[name] = {"dtype": DTYPES[meta.dtype], "shape": list(meta.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            file.write(tensors[name].read().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def write_torch(tensors: Checkpoint, path: Path) -> None:
    """{"state_dict": ...} as torch.save does it. Tensors that lie in files as they are stay there until written."""
    try:
        torch.save({"state_dict": {name: lazy.read().contiguous() for name, lazy in tensors.items()}}, path)
    except RuntimeError as e:  # what torch makes of a full disk
        raise OSError(str(e).splitlines()[0]) from None


def write_sharded(tensors: Checkpoint, folder: Path, stem: str, max_shard: int) -> int:
    """One file, or several of at most `max_shard` bytes (or one tensor) and an index. => the number of files."""
    shards: list[Checkpoint] = [{}]
    size = 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.meta.nbytes > max_shard:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.meta.nbytes
    if len(shards) == 1:
        write_safetensors(tensors, folder / f"{stem}.safetensors")
        return 1
    where: dict[str, str] = {}
    for i, shard in enumerate(shards, 1):
        file = f"{stem}-{i:05d}-of-{len(shards):05d}.safetensors"
        write_safetensors(shard, folder / file)
        where |= dict.fromkeys(shard, file)
    total = sum(t.meta.nbytes for t in tensors.values())
    write_json({"metadata": {"total_size": total}, "weight_map": where}, folder / f"{stem}.safetensors.index.json")
    return len(shards)


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which gets the name `path` if all goes well and vanishes otherwise."""
    part = path.with_name(path.name + ".partial")
    with _all_or_nothing(path, part):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.replace(path)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The same for a file."""
    part = path.with_name(path.name + ".partial")
    with _all_or_nothing(path, part):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        part.replace(path)


@contextmanager
def _all_or_nothing(path: Path, part: Path) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror or e})") from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
        with suppress(OSError):  # nothing there, as it should be, or out of reach
            part.unlink()


def read_json(path: Path) -> Config:
    try:
        content = json.loads(path.read_text())
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror})") from None
    except ValueError as e:
        raise InputError(f"{path}: not JSON ({e})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: not a JSON object")
    return content


def write_json(content: Config, path: Path) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n")


def some(names: Iterable[str], most: int = 3) -> str:
    names = sorted(names)
    tail = f" ... ({len(names)} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + tail
