"""Where a row comes from: seed, commit, versions of packages, and device."""

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
    """Return what a row states of its origin."""
    return {"seed": seed, "git": commit(), "versions": versions()}


def versions() -> dict[str, str]:
    """Return the versions of those packages that are installed."""
    return {p: v for p in PACKAGES if (v := _version(p))}


@functools.cache
def code() -> str:
    """Return the SHA-256 of all Python files of lvcd: what other code has painted or computed is not used."""
    files = sorted(Path(lvcd.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def commit() -> str | None:
    """Return the commit of the checkout that this code runs from, with "+changes" if edited; None outside one."""
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
    """Return the name of a GPU, or the device itself."""
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
