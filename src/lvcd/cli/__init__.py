"""`lvcd`: what a studio types. One line and exit code 2 for input that cannot be used; 130 when interrupted.

A command is a module here: HELP, `arguments(parser)` and `run(arguments)`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from lvcd.errors import InputError
from lvcd.system import keep_freed_memory

from . import cartoons, colorize, compare, convert, encode, export, inspect, leaderboard, plan, prepare

# torch, diffusers and transformers take seconds to import: commands import them when they run.
COMMANDS = {
    "colorize": colorize,
    "compare": compare,
    "convert": convert,
    "encode": encode,
    "inspect": inspect,
    "export": export,
    "leaderboard": leaderboard,
    "plan": plan,
    "prepare": prepare,
    "prepare-cartoons": cartoons,
}


def main(argv: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:2] == ["prepare", "cartoons"]:
        words[:2] = ["prepare-cartoons"]
    arguments = _parser().parse_args(words)
    keep_freed_memory()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is ever fetched
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
    except InputError as error:
        print(f"lvcd {arguments.command.replace('-', ' ')}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who reads, `head` say, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line; how it is typed, --help tells."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells more)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lvcd", description="Reference-based lineart video colorization.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        command.arguments(commands.add_parser(name, help=command.HELP, prog=f"lvcd {name.replace('-', ' ')}"))
    return parser
