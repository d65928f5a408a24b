"""`lvcd review`: what a person should look at in flat frames, as a page, a table, and an exit code for pipelines."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.review import KINDS

HELP = "look through flat frames for regions in doubt, open ones, specks, and colors that change or are off the palette"
FOUND = 3
"""The exit code where more was found than is allowed."""


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("frames", type=Path, metavar="OUT", help="folder that lvcd colorize --flat wrote")
    c.add_argument("--out", type=Path, metavar="DIR",
                   help="where to write index.html and findings.csv (default: OUT/flats/review)")  # fmt: skip
    c.add_argument("--doubt", type=float, default=0.9, metavar="SHARE",
                   help="a color is in doubt where the second match has so much of the best one's score, 0 to 1 "
                        "(default: 0.9)")  # fmt: skip
    c.add_argument("--speck", type=int, default=12, metavar="PX", help="area of the largest speck (default: 12)")
    c.add_argument("--allow", type=_limit, action="append", default=[], metavar="KIND=N",
                   help=f"exit code {FOUND} only above N findings of a kind: {', '.join(KINDS)} "
                        "(default: 0 of each)")  # fmt: skip


def _limit(text: str) -> tuple[str, int]:
    """Read KIND=N."""
    kind, _, number = text.partition("=")
    if kind not in KINDS or not number.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=N, like doubt=10; kinds are {', '.join(KINDS)}")
    return kind, int(number)


def run(a: argparse.Namespace) -> int:
    from lvcd.io.frame_folder import BESIDE
    from lvcd.review.findings import ReviewSettings, review_frames
    from lvcd.review.review_page import write_review

    limits = {**dict.fromkeys(KINDS, 0), **dict(a.allow)}
    out = a.out or a.frames / BESIDE / "review"
    report = review_frames(a.frames, ReviewSettings(a.doubt, a.speck))
    write_review(out, report, limits)
    counts = report.counts()
    for kind, words in KINDS.items():
        print(f"{kind:>6} {counts[kind]:5d}  {words}" + (f" (allowed: {limits[kind]})" if counts[kind] else ""))
    print(out / "index.html")
    return FOUND if any(counts[kind] > limits[kind] for kind in KINDS) else 0
