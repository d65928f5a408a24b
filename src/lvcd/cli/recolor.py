"""`lvcd recolor`: frames of `lvcd colorize --flat --palette` in the colors of another palette, without a model."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HELP = "paint flat frames anew from another palette, exactly and without a model: a night version, say"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("frames", type=Path, metavar="OUT", help="folder that lvcd colorize --flat --palette wrote")
    c.add_argument("--palette", type=Path, required=True, metavar="FILE",
                   help="the new colors, in the order of the old ones (.gpl, .aco, .ase, .act or .json)")  # fmt: skip
    c.add_argument("--out", type=Path, help="folder to write (default: OUT_NAME, by the name of the palette)")
    c.add_argument("--overwrite", action="store_true", help="replace an existing folder")


def run(a: argparse.Namespace) -> None:
    from lvcd.palettes.recolor import recolor

    out = a.frames.with_name(f"{a.frames.resolve().name}_{a.palette.stem}") if a.out is None else a.out
    frames = recolor(a.frames, a.palette, out, a.overwrite, on_warning=lambda line: print(line, file=sys.stderr))
    print(f"{out}: {frames} frames")
