"""Read the weight files of others: found without importing their package, hashed, and read without running code."""

from __future__ import annotations

import hashlib
import io
import pickle
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError


def in_package(package: str, file: str, advice: str) -> Path:
    """Return the path of a file that an installed package ships, without importing it. InputError: not installed."""
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / file
        if path.is_file():
            return path
    raise InputError(f"the weights of the Python package {package} are not installed: {advice}")


def read(path: str | Path, sha256: str, what: str) -> tuple[bytes, str]:
    """Return bytes and SHA-256 of a file whose hash must be `sha256`. InputError: unreadable, or another file."""
    text = str(path) if str(path).isprintable() else repr(str(path))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {what} {text} ({error.strerror}): check the path") from error
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise InputError(
            f"{text} is not {what}: its SHA-256 starts with {found[:8]}, not {sha256[:8]}: get the published file again"
        )
    return data, found


def tensors(data: bytes, what: str) -> dict[str, Tensor]:
    """Return the state dict in the bytes of a .pth file. InputError: it holds anything but tensors."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return {key: value.detach() for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # unpicklers raise nearly everything
        raise InputError(f"{what} is not a file of tensors ({type(error).__name__}): get it again") from error


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler of numpy arrays and plain containers, nothing else: such a file cannot run code."""

    ALLOWED: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],  # its name before numpy 2
        ("numpy._core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return self.ALLOWED[module, name]


def arrays(data: bytes, what: str) -> Any:
    """Return the nested dicts of numpy arrays in the bytes of a pickle. InputError: it holds anything else."""
    try:
        return _ArrayUnpickler(io.BytesIO(data)).load()
    except Exception as error:
        reason = " ".join(str(error).split())[:80]
        raise InputError(f"{what} is not a file of arrays ({reason}): get it again") from error
