"""What networks see in the originals, kept on disk: it is the same for every method on a test set."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from lvcd.io.disk import atomic, writing
from lvcd.metrics import FrechetDistance, Suite

from .cache import job_name
from .provenance import code, device_name, versions
from .testset import TestSet


def keep_originals(suite: Suite, folder: Path, tests: TestSet, device: str) -> None:
    """Have the suite's metrics read features of originals from `folder`, or compute them once and leave them there.

    They are those of the same pictures, metric, code, packages and device, or they are not read: a value is the
    same to the last bit with and without them. The folder may be deleted at any time.
    """
    about = tests.about({})
    seen = {name: about[name] for name in ("data", "frames", "width", "height")}
    by_whom = {
        "code": code(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "device": [device_name(device), torch.backends.cpu.get_cpu_capability()],
    }
    for metric in suite.metrics.values():
        if isinstance(metric, FrechetDistance) and metric.extractor.sha256:  # else nobody knows what sees
            own = folder / job_name({**seen, **by_whom, "metric": metric.name, **metric.identity()})
            metric.originals = functools.partial(_features, own, tests.keys)


def _features(folder: Path, keys: list[str], index: int, find: Callable[[], Tensor]) -> Tensor:
    """Of this clip of the test set, kept or found now: (1 s d). A file that is torn is written again."""
    file = folder / f"{keys[index]}.safetensors"
    try:
        return load_file(file)["features"]
    except (OSError, SafetensorError, KeyError):
        features = find()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic(file, "the same command goes on") as temp:
        save_file({"features": features.cpu().contiguous()}, temp)
    return features
