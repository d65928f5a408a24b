"""`lvcd prepare`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lvcd.errors import InputError

HELP = "cut films into clips with line art, and write them as shards to train on"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("films", nargs="+", type=Path, metavar="FILM_OR_FOLDER",
                   help="a movie, a folder of images, or a folder of these")  # fmt: skip
    c.add_argument("--out", required=True, type=Path, help="folder of the shards")
    c.add_argument("--extractor", choices=("xdog", "given"), default="xdog", help="of the line art (default: xdog)")
    c.add_argument("--sketches", type=Path, help="given: a folder with each film's line art, of the film's name")
    c.add_argument("--shortest", type=int, default=15, help="frames; shorter clips are dropped (default: 15)")
    c.add_argument("--longest", type=int, default=200, help="frames; longer shots are split (default: 200)")
    c.add_argument("--cut", type=float, default=30.0, help="histogram difference that makes a new shot (default: 30)")
    c.add_argument("--cut-resolution", type=int, default=64,
                   help="at so many pixels squared (default: 64); more finds more cuts")  # fmt: skip
    c.add_argument("--short-side", type=int, help="shrink frames to this shorter side (default: as they are)")
    c.add_argument("--shard-mb", type=float, default=256, help="size of a shard in MiB (default: 256)")


def run(a: argparse.Namespace) -> None:
    if (a.extractor == "given") != bool(a.sketches):
        raise InputError("--sketches and --extractor given belong together: give both or neither")
    if not 0 < a.shard_mb < 2**20:
        raise InputError(f"--shard-mb {a.shard_mb:g}: choose more than 0 and less than a million")

    from lvcd.data.shots import ShotRule
    from lvcd.prepare import Settings
    from lvcd.prepare import prepare

    rule = ShotRule(cut=a.cut, resolution=a.cut_resolution, shortest=a.shortest, longest=a.longest)
    try:
        manifest = prepare(a.films, a.out, Settings(rule, a.short_side, int(a.shard_mb * 2**20)), a.sketches)
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    counts = manifest["counts"]
    dropped = ", ".join(f"{n['clips']} {why}" for why, n in counts["dropped"].items()) or "none"
    kept = f"{counts['kept']['clips']} clips, {counts['kept']['frames']} frames"
    left_out = f"{counts['left_out']} of {counts['films']} films left out"
    print(f"{a.out}: {kept}, {len(manifest['shards'])} shards; clips dropped: {dropped}; {left_out}")
