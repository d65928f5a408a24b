"""The stream of batches against reading the same bytes: clips/s in this process, on one thread; and memory.

    python -m benchmarks.stream [--toy]    --toy: small shards, to try the script

Reading alone is stock webdataset over the same shards, everything of them, undecoded. The cache of the disk is warm.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from PIL import Image

from lvcd.data.clip import WindowSampling
from lvcd.data.stream.clip_stream import ClipStream
from lvcd.data.stream.epoch_plan import EpochPlan
from lvcd.data.stream.source import RetryPolicy, ShardSource
from lvcd.shards.format import ENCODED, PIXELS, ShardWriter

TOY = "--toy" in sys.argv
HEIGHT, WIDTH, FRAMES = (64, 96, 16) if TOY else (320, 576, 24)
SHARDS, CLIPS = (2, 4) if TOY else (4, 12)
REPEATS = 1 if TOY else 3


def report() -> dict[str, Any]:
    """For latents and for pixels: clips/s of reading alone, of the loader (batches of bytes, as workers hand them over)
    and of batches made ready on the CPU, where a GPU would do that; the ratios of both to reading; and this process's
    memory over an epoch."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = {}
        for name, files in {"latents": _encoded(), "pixels": _pixels()}.items():
            source = ShardSource(folder, "" if name == "pixels" else name)
            _write(Path(folder) / source.stage, ENCODED if source.stage else PIXELS, files)
            found[name] = _measure(source)
    return found


def _measure(source: ShardSource) -> dict[str, float]:
    kind = ENCODED if source.stage else PIXELS
    manifest = source.manifest(RetryPolicy(), kind)
    plan = EpochPlan(tuple(shard.clips for shard in manifest.shards), batch_size=2, buffer=8)
    stream = ClipStream(source, manifest, plan, HEIGHT, WIDTH, WindowSampling(), encoded=bool(source.stage))
    urls = [source.address(shard.name) for shard in manifest.shards]
    runs = {
        "reading": lambda: wds.WebDataset(urls, shardshuffle=False),
        "loader": lambda: stream.consumer(0),
        "ready": lambda: (batch.to("cpu") for batch in stream.consumer(0)),
    }
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, run in runs.items():
            start = time.perf_counter()
            for _ in run():
                pass
            times[name].append(time.perf_counter() - start)
    rates = {name: SHARDS * CLIPS / min(seconds) for name, seconds in times.items()}
    many = replace(stream, plan=replace(plan, windows=4), sampling=WindowSampling(windows=4))
    memory = []
    for _ in many.consumer(0):
        memory.append(_resident())
    start = len(memory) // 4  # the buffer is full, the first shard read
    return {
        **{f"{name}_per_s": rate for name, rate in rates.items()},
        "ratio": rates["loader"] / rates["reading"],
        "ready_ratio": rates["ready"] / rates["reading"],
        "start_mb": memory[start],
        "end_mb": memory[-1],
        "most_mb": max(memory),
        "samples": 2 * len(memory),
    }


def _encoded() -> dict[str, bytes]:
    random = np.random.default_rng(0)
    arrays = {
        "latents": random.standard_normal((FRAMES, 4, HEIGHT // 8, WIDTH // 8)).astype(np.float16),
        "tokens": random.standard_normal((FRAMES, 1024)).astype(np.float16),
        "sketches": np.stack([_drawing(index) for index in range(FRAMES)]),
    }
    return {f"{name}.npy": _npy(array) for name, array in arrays.items()}


def _pixels() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for index in range(FRAMES):
        drawing = _drawing(index)
        frame = np.repeat(np.minimum(drawing, 200)[..., None], 3, 2)
        frame[..., 2] = 90
        files |= {f"frame{index:03d}.png": _png(frame), f"sketch{index:03d}.png": _png(drawing)}
    return files


def _drawing(index: int) -> np.ndarray[Any, Any]:
    """Circles, as grey as anti-aliased lines are."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot(y - 160, x - 200 - 4 * index)
    return (255 * np.clip(np.abs(radius % 50 - 25) / 2, 0, 1)).astype(np.uint8)


def _write(folder: Path, kind: str, files: dict[str, bytes]) -> None:
    folder.mkdir(exist_ok=True)
    shards = []
    for number in range(SHARDS):
        path = folder / f"shard-{number:05d}.tar"
        with path.open("wb") as file, ShardWriter(file) as shard:
            for clip in range(CLIPS):
                shard.add_files(f"clip-{number}-{clip}", {"json": json.dumps({"frames": FRAMES}).encode(), **files})
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        shards.append({"name": path.name, "sha256": digest, "bytes": path.stat().st_size, "clips": CLIPS})
    (folder / "manifest.json").write_text(json.dumps({"format": kind, "shards": shards}))


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _png(pixels: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=3)
    return file.getvalue()


def _resident() -> float:
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small shards, to try the script")
    parser.parse_args()
    print(json.dumps(report(), indent=1))
