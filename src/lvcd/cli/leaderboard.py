"""`lvcd leaderboard`."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

HELP = "show evaluations, each under its protocol: as a table, or as a page with the clips"
FILE = Path("outputs/eval/leaderboard.jsonl")
"""Where eval.py writes it."""


def arguments(c: argparse.ArgumentParser) -> None:
    actions = c.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print a table for each protocol, in Markdown")
    html = actions.add_parser("html", help="write one page with tables, scores of clips, and clips side by side")
    html.add_argument("--out", type=Path, required=True, help="the page to write, like board.html")
    wandb = actions.add_parser("wandb", help="the same as tables of Weights & Biases; offline where there is no key")
    wandb.add_argument("--project", default="lvcd", help="of W&B (default: lvcd)")
    for action in (html, wandb):
        action.add_argument("--megabytes", type=float, default=50,
                            help="clips of so many MB are shown: the worst ten of each row, and a few more "
                            "(default: 50)")  # fmt: skip
    for action in (show, html, wandb):
        action.add_argument("--file", type=Path, default=FILE, help=f"the leaderboard (default: {FILE})")


def run(a: argparse.Namespace) -> None:
    {"show": _show, "html": _html, "wandb": _wandb}[a.action](a)


def _show(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited, read
    from lvcd.leaderboard.table import boards, text

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(text(boards([*read(a.file), *cited()]), width))


def _html(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited, read
    from lvcd.leaderboard.page import write

    print(write(a.out, [*read(a.file), *cited()], a.file.parent, a.megabytes))


def _wandb(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited, read
    from lvcd.leaderboard.wandb_tables import send

    send([*read(a.file), *cited()], a.file.parent, a.megabytes, a.project)
