"""`lvcd compare`."""

from __future__ import annotations

import argparse
from pathlib import Path

from .leaderboard import FILE

HELP = "tell which of two rows of a leaderboard is better, clip by clip"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("a", metavar="A", help="id of a row, or name of a method")
    c.add_argument("b", metavar="B", help="another one of the same protocol")
    c.add_argument("--protocol", help="its name or its key (default: the only one in which there are both)")
    c.add_argument("--file", type=Path, default=FILE, help=f"the leaderboard (default: {FILE})")


def run(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import read
    from lvcd.leaderboard.compare import compare, text
    from lvcd.leaderboard.find import find_two

    one, two = find_two(read(a.file), a.a, a.b, a.protocol)
    print(text(one, two, compare(one, two)))
