"""Where a row comes from: code, packages, device, and what it cost."""

from __future__ import annotations

import resource
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("lvcd", "torch", "diffusers", "transformers", "torchmetrics", "numpy", "opencv-python-headless", "av")


def provenance(seed: int) -> dict[str, Any]:
    return {"seed": seed, "git": commit(), "versions": {p: v for p in PACKAGES if (v := _version(p))}}


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


def forget_peak(device: str) -> None:
    """What other evaluations of this process took is no part of the next one's memory."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    with suppress(OSError):  # there is no such file but on Linux
        Path("/proc/self/clear_refs").write_text("5")


def memory_gib(device: str) -> float:
    """Peak since `forget_peak`: of a GPU what torch has allocated on it, else what this process has held in memory."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
