"""What more than one reference brings and costs: scores of first and last frame given, and time against their number.

python -m benchmarks.keys          the eight cartoons of data/cartoons, by the bundled model
python -m benchmarks.keys --toy    two of them, in one step: whether this script works

Frames that are given are not scored. "mixed": the clip is painted from the first frame and from the last, and the two
paintings are mixed by distance.
"""

from __future__ import annotations

import argparse
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "2")

import torch
from torch import Tensor

from lvcd.evaluation.testset import Protocol, TestSet, clip_seed
from lvcd.metrics import PSNR, TC
from lvcd.pipeline import LineartVideoPipeline, load_pipeline
from lvcd.system import peak_memory_gib, reset_peak_memory

SHARDS = ("data/cartoons/test_style", "data/cartoons/test_seen")
WAYS = ("first", "mixed", "both")


def paint(
    pipe: LineartVideoPipeline, frames: Tensor, sketches: Tensor, keys: tuple[int, ...], seed: int, steps: int | None
) -> Tensor:
    """Paint a clip (t 1 H W) with some of its frames (t 3 H W) given => (t 3 H W) in [0, 1]."""
    noise = torch.Generator().manual_seed(seed)
    given = {key: frames[key] for key in keys}
    return pipe(sketches=sketches, keys=given, num_inference_steps=steps, generator=noise, output_type="pt").frames[0]


def scores(painted: Tensor, original: Tensor) -> list[float]:
    """Return PSNR, PSNR[moving] and TC of the frames between the first and the last."""
    found = []
    for metric in (PSNR(), PSNR(moving=True), TC()):
        metric.update(painted[None, 1:-1], original[None, 1:-1])
        found.append(float(metric.compute()))
    return found


def compare(pipe: LineartVideoPipeline, clips: int, steps: int | None) -> None:
    """Print the mean scores of each way of giving the first and the last frame."""
    found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
    for shards in SHARDS:
        for clip in TestSet(Protocol("keys", shards, clips=clips)):
            frames = torch.cat([clip.reference[None], clip.original])
            sketches = torch.cat([clip.reference_sketch[None], clip.sketches])
            last, seed = len(frames) - 1, clip_seed(0, clip.key)
            one, other, both = (paint(pipe, frames, sketches, keys, seed, steps) for keys in ((0,), (last,), (0, last)))
            share = torch.linspace(0, 1, len(frames))[:, None, None, None]
            for way, painted in zip(WAYS, (one, (1 - share) * one + share * other, both)):
                found[way].append(scores(painted, frames))
    print("| given | PSNR | PSNR[moving] | TC | clips with less PSNR[moving] than by the first |")
    print("|---|---|---|---|---|")
    for way in WAYS:
        psnr, moving, tc = torch.tensor(found[way]).mean(0).tolist()
        lower = sum(a[1] < b[1] for a, b in zip(found[way], found["first"]))
        print(f"| {way} | {psnr:.1f} | {moving:.1f} | {tc:.2f} | {lower} of {len(found[way])} |")


def cost(pipe: LineartVideoPipeline, numbers: tuple[int, ...], size: tuple[int, int], steps: int | None) -> None:
    """Print the time and the memory of a clip of 15 frames against the number of references."""
    print("\n| references | s | peak, GiB |\n|---|---|---|")
    frames, sketches = torch.rand(15, 3, *size), (torch.rand(15, 1, *size) > 0.9).float()
    for number in numbers:
        reset_peak_memory("cpu")
        started = time.perf_counter()
        paint(pipe, frames, sketches, tuple(range(number)), 0, steps)
        print(f"| {number} | {time.perf_counter() - started:.2f} | {peak_memory_gib('cpu'):.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true")
    toy = parser.parse_args().toy
    pipe = load_pipeline("mini", "cpu")
    compare(pipe, 1 if toy else 4, 1 if toy else None)
    cost(pipe, (1, 2) if toy else (1, 2, 3, 4), (32, 48) if toy else (144, 256), 1 if toy else None)


if __name__ == "__main__":
    main()
