"""`lvcd adapt`: an adapter of a model, learned from a few colored drawings of a shot."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lvcd.errors import InputError
from lvcd.system import DEVICES
from lvcd.weights import MINI, model_folder

from .colorize import picture_key, picture_size

if TYPE_CHECKING:
    from lvcd.training.adapt import AdaptProgress

HELP = "learn a shot from a few of its drawings in color, as an adapter for lvcd colorize"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = (
        "Learn a shot, or a show, from two or more of its drawings in color. With three or more the middle one is held "
        "out, and nothing is written if learning does not help it. This is for large models: with the bundled one the "
        "same drawings given as keys (lvcd colorize --key) are what helps, see docs/adapters.md."
    )
    c.add_argument("shot", type=Path, metavar="SHOT", help="folder of images, or a movie, with the line art")
    c.add_argument("--key", type=picture_key, action="append", required=True, metavar="N=FILE",
                   help="the drawing of number N (as its file has it) in color; at least two")  # fmt: skip
    c.add_argument("--out", required=True, type=Path, metavar="ADAPTER", help="folder to write the adapter to")
    c.add_argument("--minutes", type=float, default=2.0, help="time for learning (default: 2)")
    c.add_argument("--model", type=model_folder, default=MINI, help="model folder (default: mini, the bundled model)")
    c.add_argument("--size", type=picture_size, help="learn at this size, as WIDTHxHEIGHT (default: the drawings')")
    c.add_argument("--rank", type=int, default=8, help="of the adapters (default: 8)")
    c.add_argument("--lr", type=float, default=5e-4, help="learning rate (default: 5e-4)")
    c.add_argument("--seed", type=int, default=0, help="of noise and augmentation (default: 0)")
    c.add_argument("--device", default="auto", help=DEVICES)


def run(a: argparse.Namespace) -> int:
    if len({number for number, _ in a.key}) < len(a.key):
        raise InputError("there are several keys for one drawing: give one of each")

    from lvcd.pipeline import silence_libraries
    from lvcd.training.adapt import AdaptSettings, adapt

    silence_libraries()
    settings = AdaptSettings(a.minutes, a.size, a.rank, a.lr, a.seed)
    result = adapt(a.shot, dict(a.key), a.out, a.model, settings, a.device, on_progress=_show)
    print(file=sys.stderr)
    change = "" if result.best is None or not result.first else f", held-out loss {result.best / result.first - 1:+.1%}"
    if not result.best_step:
        print(f"nothing is written: in {result.steps} steps the held-out key did not get better; give the keys to lvcd "
              "colorize instead")  # fmt: skip
        return 1
    print(f"{a.out}: learned in {result.best_step} of {result.steps} steps{change}")
    return 130 if result.interrupted else 0


def _show(progress: AdaptProgress) -> None:
    left = f"{progress.seconds_left // 60:.0f}:{progress.seconds_left % 60:02.0f} left"
    held_out = ""
    if progress.held_out is not None and progress.first:
        held_out = f", held-out loss {progress.held_out / progress.first - 1:+.1%}"
    print(
        f"\rstep {progress.steps}, {left}, loss {progress.loss:.4f}{held_out}   ", end="", file=sys.stderr, flush=True
    )
