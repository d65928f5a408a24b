"""`lvcd inspect`."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "count and look at the clips of shards, and flag sketches that are empty, wrong or reveal the color"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("shards", type=Path, metavar="SHARDS", help="folder that lvcd prepare or lvcd encode made")
    c.add_argument("--out", type=Path, help="write index.html, to open in a browser, and clips.json to this folder")
    c.add_argument("--clips", type=int, default=200,
                   help="measure so many, spread over all; the others are only counted (default: 200)")  # fmt: skip


def run(a: argparse.Namespace) -> None:
    if a.clips < 1:
        raise InputError(f"--clips {a.clips}: choose at least 1")

    from lvcd.inspection import inspect
    from lvcd.inspection.summary import text

    print(text(inspect(a.shards, a.out, a.clips)))
    if a.out is not None:
        print(f"\n{a.out / 'index.html'}")
