"""`lvcd compare`: which of two rows is better, by the differences on each clip."""

from __future__ import annotations

import argparse
from pathlib import Path

from .leaderboard import FILE

HELP = "compare two rows of a leaderboard clip by clip, and say which is better"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("a", metavar="A", help="id of a row, or name of a method")
    c.add_argument("b", metavar="B", help="another one of the same protocol")
    c.add_argument("--protocol", help="its name or its key (default: the only one in which there are both)")
    c.add_argument("--file", type=Path, default=FILE, help=f"the leaderboard (default: {FILE})")


def run(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import read, read_summaries
    from lvcd.leaderboard.compare import compare, describe_differences
    from lvcd.leaderboard.find import find_two

    ids = [row.id for row in find_two(read_summaries(a.file), a.a, a.b, a.protocol)]
    rows = {row.id: row for row in read(a.file, set(ids))}
    one, two = (rows[row_id] for row_id in ids)
    print(describe_differences(one, two, compare(one, two)))
