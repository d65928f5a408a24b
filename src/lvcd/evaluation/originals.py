"""Features of the originals, cached on disk: they are the same for every method on a test set."""

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


def cache_original_features(suite: Suite, folder: Path, tests: TestSet, device: str) -> None:
    """Let the suite's Frechet distances read features of originals from `folder`, or compute them and write them there.

    Features are read only if they are of the same pictures, metric, code, packages and device, so that a value is the
    same to the last bit with and without them. The folder may be deleted at any time.
    """
    record = tests.protocol_record({})
    pictures = {name: record[name] for name in ("data", "frames", "width", "height")}
    computed_by = {
        "code": code(),
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "device": [device_name(device), torch.backends.cpu.get_cpu_capability()],
    }
    for metric in suite.metrics.values():
        if isinstance(metric, FrechetDistance) and metric.extractor.sha256:  # without it the network is unknown
            job = job_name({**pictures, **computed_by, "metric": metric.name, **metric.identity()})
            metric.originals = functools.partial(_cached_features, folder / job, tests.keys)


def _cached_features(folder: Path, keys: list[str], index: int, compute: Callable[[], Tensor]) -> Tensor:
    """Return the features (1 s d) of a clip's original, cached or computed now. A torn file is written anew."""
    file = folder / f"{keys[index]}.safetensors"
    try:
        return load_file(file)["features"]
    except (OSError, SafetensorError, KeyError):
        features = compute()
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with atomic(file, "run the same command again to resume") as temp:
        save_file({"features": features.cpu().contiguous()}, temp)
    return features
