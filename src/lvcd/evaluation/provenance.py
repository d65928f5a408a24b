"""Where a row comes from: code, packages, device, and what it cost."""

from __future__ import annotations

import functools
import hashlib
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

import lvcd

PACKAGES = (
    "lvcd", "torch", "torchvision", "diffusers", "transformers", "torchmetrics", "torch-fidelity", "numpy",
    "opencv-python-headless", "av",
)  # fmt: skip


def provenance(seed: int) -> dict[str, Any]:
    return {"seed": seed, "git": commit(), "versions": versions()}


def versions() -> dict[str, str]:
    """Of those packages that are here."""
    return {p: v for p in PACKAGES if (v := _version(p))}


@functools.cache
def code() -> str:
    """SHA-256 of all that lvcd is written in: what was painted or seen by other code is not gone on with."""
    files = sorted(Path(lvcd.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def commit() -> str | None:
    """Of the checkout that this code runs from, "+changes" if it was edited since; None outside one."""
    here = Path(__file__).parent
    try:
        words = ["git", "-C", str(here), "rev-parse", "HEAD"]
        head = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
        words = ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"]
        changed = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + ("+changes" if changed else "")


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
