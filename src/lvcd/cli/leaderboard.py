"""`lvcd leaderboard`: show rows of evaluations, and add rows of frames that another program painted."""

from __future__ import annotations

import argparse
import gc
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

from lvcd.errors import InputError

HELP = "show evaluations under each protocol, as tables or as a page with the clips; add frames of another program"
FILE = Path("outputs/eval/leaderboard.jsonl")
"""Where lvcd eval writes it."""
OF_SCORING = ("protocol.", "metrics.", "weights.", "device=", "wandb=")
"""Settings of conf/eval that concern frames which are painted already."""


def arguments(c: argparse.ArgumentParser) -> None:
    actions = c.add_subparsers(dest="action", required=True, metavar="ACTION")
    show = actions.add_parser("show", help="print a table for each protocol, in Markdown")
    show.add_argument("--protocol", help="its name or its key (default: all, and what papers report)")
    html = actions.add_parser("html", help="write a page with tables, scores of clips, and clips side by side")
    html.add_argument("--out", type=Path, required=True, help="the page to write, like board.html")
    html.add_argument("--page", type=int, default=1, metavar="N",
                      help="1 has the best 200 rows of each protocol, 2 the next, and so on (default: 1)")  # fmt: skip
    sheet = actions.add_parser("sheet", help="draw the best, the median and the worst clip of a row")
    sheet.add_argument("row", metavar="ROW", help="id of a row, or name of a method")
    sheet.add_argument("--out", type=Path, required=True, help="the picture to write, like sheet.png")
    sheet.add_argument("--by", metavar="METRIC", help="column that ranks the clips (default: the first that can)")
    sheet.add_argument("--protocol", help="its name or its key (default: the only one in which there is ROW)")
    wandb = actions.add_parser("wandb", help="send the tables to Weights & Biases; without a key they stay offline")
    wandb.add_argument("--project", default="lvcd", help="project of W&B (default: lvcd)")
    add = actions.add_parser("add", help="score frames that another program painted, and add the row")
    add.add_argument("--name", required=True, help="name of the program, as the board shows it")
    add.add_argument("--protocol", required=True, help="a protocol of lvcd eval, like cartoons_style")
    add.add_argument("--frames", required=True, type=Path, metavar="DIR",
                     help="KEY/000.png ... or KEY.mp4 for each clip, without the reference")  # fmt: skip
    add.add_argument("settings", nargs="*", metavar="NAME=VALUE",
                     help="as for lvcd eval: protocol.shards=DIR, metrics, weights, device, wandb")  # fmt: skip
    add.add_argument("--config-dir", metavar="DIR", help="folder with a protocol of your own, as for lvcd eval")
    for action in (html, wandb):
        action.add_argument("--megabytes", type=float, default=50,
                            help="size of the clips that are shown, the worst first (default: 50)")  # fmt: skip
    for action in (show, html, sheet, wandb, add):
        action.add_argument("--file", type=Path, default=FILE, help=f"the leaderboard (default: {FILE})")


def run(a: argparse.Namespace) -> None:
    {"show": _show, "html": _html, "sheet": _sheet, "wandb": _wandb, "add": _add}[a.action](a)


@contextmanager
def _gc_paused() -> Iterator[None]:
    """Collect no garbage within the block: nothing of a board of 100,000 rows is garbage, and looking takes a third."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _show(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited, read_summaries
    from lvcd.leaderboard.find import of_protocol
    from lvcd.leaderboard.table import boards, markdown

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    with _gc_paused():
        rows = of_protocol(chain(read_summaries(a.file), cited()), a.protocol)
        print(markdown(boards(rows), width))


def _html(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited
    from lvcd.leaderboard.board_page import write_page

    with _gc_paused():
        print(write_page(a.out, a.file, cited(), a.megabytes, a.page))


def _sheet(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import read, read_summaries
    from lvcd.leaderboard.find import find
    from lvcd.leaderboard.sheet import write_sheet

    found = find(read_summaries(a.file), a.row, a.protocol)
    print(write_sheet(a.out, read(a.file, {found.id})[-1], a.file.parent, a.by))


def _wandb(a: argparse.Namespace) -> None:
    from lvcd.leaderboard import cited, read
    from lvcd.leaderboard.wandb_tables import send

    send([*read(a.file), *cited()], a.file.parent, a.megabytes, a.project)


def _add(a: argparse.Namespace) -> None:
    from .hydra_entry import compose_config
    from .job_errors import one_line

    if wrong := next((word for word in a.settings if not word.lstrip("+~").startswith(OF_SCORING)), None):
        names = ", ".join(OF_SCORING)
        raise InputError(f"{wrong} changes nothing once frames are painted: give settings that begin with {names}")
    config_dir = ["--config-dir", a.config_dir] if a.config_dir is not None else []
    config = compose_config("eval", [*config_dir, f"protocol={a.protocol}", *a.settings])

    from hydra.utils import instantiate

    from lvcd.evaluation import ExternalFrames, TestSet, evaluate
    from lvcd.leaderboard.wandb_tables import send_if_requested
    from lvcd.metrics import Suite
    from lvcd.system import choose_device

    with one_line("lvcd leaderboard"):
        tests = TestSet(instantiate(config.protocol))
        given = ExternalFrames(a.name, a.frames, tests)
        suite = Suite(instantiate(config.metrics, _convert_="all").values(), frames=min(tests.scored))
        row = evaluate(given, tests, suite, a.file.parent, device=choose_device(config.device), board=a.file.name)
        print(f"{a.file}: row {row.id} of {a.name}, {row.n} clips of {a.protocol}")
        send_if_requested(config.wandb, a.file)
