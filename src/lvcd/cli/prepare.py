"""`lvcd prepare`."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "cut films into clips with line art, and write them as shards to train on"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = "Of films. `lvcd prepare cartoons` draws a corpus with exact line art instead: see its own --help."
    c.add_argument("films", nargs="+", type=Path, metavar="FILM_OR_FOLDER",
                   help="a movie, a folder of images, or a folder of these")  # fmt: skip
    c.add_argument("--out", required=True, type=Path, help="folder of the shards")
    c.add_argument("--extractor", choices=("xdog", "informative-drawings", "anime2sketch", "given"), default="xdog",
                   help="of the line art (default: xdog)")  # fmt: skip
    c.add_argument("--sketches", type=Path, help="given: a folder with each film's line art, of the film's name")
    c.add_argument("--weights", type=Path, help="file with those of informative-drawings or anime2sketch")
    c.add_argument("--device", default="cpu", help="of the extractor: cpu or cuda (default: cpu)")
    c.add_argument("--detector", choices=("paper", "content"), default="paper",
                   help="of cuts: the paper's color histograms, or PySceneDetect's (default: paper)")  # fmt: skip
    c.add_argument("--shortest", type=int, default=15, help="frames; shorter clips are dropped (default: 15)")
    c.add_argument("--longest", type=int, default=200, help="frames; longer shots are split (default: 200)")
    c.add_argument("--cut", type=float,
                   help="difference that makes a new shot (default: 30 for paper, 27 for content)")  # fmt: skip
    c.add_argument("--cut-resolution", type=int, default=96,
                   help="at so many pixels squared (default: 96); more finds more cuts; of paper")  # fmt: skip
    c.add_argument("--short-side", type=int, help="shrink frames to this shorter side (default: as they are)")
    c.add_argument("--shard-mb", type=float, default=256, help="size of a shard in MiB (default: 256)")
    c.add_argument("--workers", type=int, help="processes, each with a film (default: one for each core)")
    c.add_argument("--executor", choices=("local", "ray"), default="local",
                   help="ray: the cluster of RAY_ADDRESS, or one on this machine (default: local)")  # fmt: skip


def run(a: argparse.Namespace) -> None:
    from .prepare_options import Options
    from .prepare_options import run as prepare

    prepare(Options(**{name: value for name, value in vars(a).items() if name != "command"}))
