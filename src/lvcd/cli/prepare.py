"""`lvcd prepare`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lvcd.errors import InputError

HELP = "cut films into clips with line art, and write them as shards to train on"


def shard_bytes(mib: float) -> int:
    """Return the size of a shard in bytes. InputError: it makes no sense."""
    if not 0 < mib < 2**20:
        raise InputError(f"--shard-mb {mib:g}: choose more than 0 and less than a million")
    return int(mib * 2**20)


def arguments(c: argparse.ArgumentParser) -> None:
    # What is not typed is left to the defaults of lvcd.prepare, whose import takes seconds.
    c.description = "Of films. `lvcd prepare cartoons` draws a corpus with exact line art instead: see its own --help."
    c.add_argument("films", nargs="+", type=Path, metavar="FILM_OR_FOLDER",
                   help="a movie, a folder of images, or a folder of these")  # fmt: skip
    c.add_argument("--out", required=True, type=Path, help="folder of the shards")
    c.add_argument("--extractor", default="xdog", metavar="NAME",
                   help="of the line art: xdog (default), informative-drawings, anime2sketch, given, "
                        "or a class of your own as package.module:Class")  # fmt: skip
    c.add_argument("--sketches", type=Path, help="given: a folder with each film's line art, of the film's name")
    c.add_argument("--weights", type=Path, help="file with those of informative-drawings or anime2sketch")
    c.add_argument("--device", default="cpu", help="of the extractor: cpu or cuda (default: cpu)")
    c.add_argument("--detector", choices=("paper", "content"), default="paper",
                   help="of cuts: the paper's color histograms, or PySceneDetect's (default: paper)")  # fmt: skip
    c.add_argument("--shortest", type=int, help="frames; shorter clips are dropped (default: 15)")
    c.add_argument("--longest", type=int, help="frames; longer shots are split (default: 200)")
    c.add_argument("--cut", type=float,
                   help="difference that makes a new shot (default: 30 for paper, 27 for content)")  # fmt: skip
    c.add_argument("--cut-resolution", type=int,
                   help="at so many pixels squared (default: 96); more finds more cuts; of paper")  # fmt: skip
    c.add_argument("--short-side", type=int, help="shrink frames to this shorter side (default: as they are)")
    c.add_argument("--shard-mb", type=float, default=256, help="size of a shard in MiB (default: 256)")
    c.add_argument("--workers", type=int, help="processes, each with a film (default: one for each core)")
    c.add_argument("--executor", choices=("local", "ray"), default="local",
                   help="ray: the cluster of RAY_ADDRESS, or one on this machine (default: local)")  # fmt: skip


def run(a: argparse.Namespace) -> None:
    from lvcd.io.disk import printable
    from lvcd.prepare import PrepareSettings, ShotRule, SketchSource, prepare

    cut = "content_cut" if a.detector == "content" else "cut"
    rule = {"shortest": a.shortest, "longest": a.longest, "resolution": a.cut_resolution, cut: a.cut}
    size = {"short_side": a.short_side, "shard_bytes": shard_bytes(a.shard_mb)}
    settings = PrepareSettings(ShotRule(a.detector, **_typed(rule)), **_typed(size))
    sketches = SketchSource(a.extractor, a.device, a.weights, a.sketches, import_path=Path.cwd())
    try:
        manifest = prepare(a.films, a.out, settings, sketches, a.workers, a.executor)
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    counts = manifest["counts"]
    kept = f"{counts['kept']['clips']} clips, {counts['kept']['frames']} frames"
    dropped = ", ".join(f"{n['clips']} {reason}" for reason, n in counts["dropped"].items()) or "none"
    left_out = f"{counts['left_out']} of {counts['films']} films left out"
    lost = counts["lost"]
    damage = f", {lost['frames']} frames of {lost['films']} damaged" if lost["films"] else ""
    print(f"{printable(a.out)}: {kept}, {len(manifest['shards'])} shards; clips dropped: {dropped}; {left_out}{damage}")


def _typed(options: dict) -> dict:
    return {name: value for name, value in options.items() if value is not None}
