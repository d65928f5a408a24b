"""All metrics on drawn clips: frames a second, each one's share, and how much faster than the plain references that
the tests hold against them: scipy's distance maps and warps, numpy's sums, a Python loop over frames.

    python -m benchmarks.metrics [THREADS]    default: as many as torch takes
    python -m benchmarks.metrics --toy        short clips, to try the script

The plain references run on one thread, but for OpenCV's flow.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import time
import warnings
from collections.abc import Callable

os.environ["OPENBLAS_NUM_THREADS"] = "1"  # numpy's threads wait by spinning, for a while beside what is timed next

import cv2
import numpy as np
import torch

from lvcd.data.cartoons import draw
from lvcd.lineart.xdog import xdog
from lvcd.metrics import EDMD, PSNR, SSIM, TC, Suite, paper
from lvcd.metrics.edmd import edmd_from_lines
from lvcd.metrics.tc import PAIRS_PER_CHUNK
from lvcd.system import keep_freed_memory
from tests.helpers.plain_metrics import flows_of, plain_changes, plain_edmd, psnr_of, ssim_of

CLIPS, T, SIDE, REPEATS = (1, 10, 256, 1) if "--toy" in sys.argv else (2, 14, 256, 5)


def clip(seed: int) -> tuple[torch.Tensor, ...]:
    """preds, target (1 t 3 H W), sketches (1 t 1 H W) of a drawn clip; preds is noisy and paler."""
    drawn = draw(seed, T, SIDE, SIDE)
    target = torch.from_numpy(drawn.frames).movedim(-1, 1)[None].float() / 255
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(seed))
    sketches = torch.from_numpy(drawn.lines)[None, :, None].float() / 255
    return (0.9 * target + 0.02 * noise).clamp(0, 1), target, sketches


def edmd_in_a_loop(preds: torch.Tensor, sketches: torch.Tensor) -> float:
    """Each frame drawn by the formula itself, in torch, and the masks compared as in tests/helpers/plain_metrics.py."""
    frames = (preds[0] * 255).round() / 127.5 - 1
    masks = [(xdog(frame[None])[0, 0] > 0.5, own[0] > 0.5) for frame, own in zip(frames, sketches[0])]
    return float(np.mean([plain_edmd(*pair) for pair in masks]))


def tc_in_a_loop(preds: torch.Tensor, target: torch.Tensor, flows: list[np.ndarray] | None = None) -> float:
    return float(np.mean([ours / own for ours, own in plain_changes(preds[0], target[0], flows) if own > 0]))


def seconds(clock: Callable[[], float], *work: Callable[[], object]) -> list[float]:
    """The least that each has taken, in turns, so that all see the same machine."""
    best = [float("inf")] * len(work)
    for _ in range(REPEATS):
        for i, one in enumerate(work):
            started = clock()
            one()
            best[i] = min(best[i], clock() - started)
    return best


def main(threads: int) -> None:
    keep_freed_memory()  # as lvcd eval does
    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    warnings.simplefilter("ignore")
    clock = time.process_time if threads == 1 else time.perf_counter  # of one thread: whatever else runs on the machine
    print(f"metrics, {CLIPS} clips of {T} frames, {SIDE} x {SIDE}, {threads} thread{'s' * (threads > 1)}")
    suite = Suite(paper())
    suite.update(*clip(0), torch.tensor([0]))
    suite.reset_generated()
    for number in range(CLIPS):
        suite.update(*clip(1 + number), torch.tensor([number]))
    total, n = sum(suite.seconds.values()), CLIPS * T
    for column, spent in suite.seconds.items():
        print(f"  {column:36} {n / spent:9.1f} frames/s {spent / total:6.1%}")
    print(f"  {'all together':36} {n / total:9.1f} frames/s")

    preds, target, sketches = clip(1)
    pred_lines, lines = sketches.roll(3, -1) > 0.5, sketches > 0.5
    flows = flows_of(target[0])
    known = torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2)
    found = itertools.cycle(known.split(PAIRS_PER_CHUNK))
    pairs: list[tuple[str, Callable[[], float], Callable[[], float]]] = [
        ("EDMD", lambda: EDMD()(preds, sketches).item(), lambda: edmd_in_a_loop(preds, sketches)),
        (
            "  of it edmd_from_lines",
            lambda: edmd_from_lines(pred_lines, lines).mean().item(),
            lambda: float(np.mean([plain_edmd(*pair) for pair in zip(pred_lines[0, :, 0], lines[0, :, 0])])),
        ),
        ("TC", lambda: TC()(preds, target).item(), lambda: tc_in_a_loop(preds, target)),
        (
            "  of it without the flow",
            lambda: TC(lambda first, second: next(found))(preds, target).item(),
            lambda: tc_in_a_loop(preds, target, flows),
        ),
        ("PSNR", lambda: PSNR()(preds, target).item(), lambda: float(np.mean(psnr_of(preds, target)))),
        ("SSIM", lambda: SSIM()(preds, target).item(), lambda: float(np.mean(ssim_of(preds, target)))),
    ]
    print(f"against plain references, best of {REPEATS}")
    for name, ours, plain in pairs:
        apart = abs(ours() / plain() - 1)
        fast, slow = seconds(clock, ours, plain)
        target_ = "  (target 5)" if name in ("EDMD", "TC") else ""
        print(
            f"  {name:36} {T / fast:9.1f} frames/s, plain {T / slow:7.1f}: x {slow / fast:.1f}{target_}, "
            f"values apart {apart:.0e}"
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("threads", nargs="?", type=int, default=torch.get_num_threads())
    parser.add_argument("--toy", action="store_true", help="short clips, to try the script")
    main(parser.parse_args().threads)
