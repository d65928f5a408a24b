"""The command line, `lvcd`. Input that cannot be used is one line and exit code 2; an interrupt is exit code 130.

A command is a module here, with HELP, `arguments(parser)` and `run(arguments)`; where Hydra reads the words, with HELP
and `main(words)`.
"""

from __future__ import annotations

# isort: off
from .interrupts import check_interrupt, finish_imports, interruptible  # first: from here on, Ctrl-C is no traceback
# isort: on

import argparse
import difflib
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NoReturn

from lvcd.errors import InputError, system_refusal
from lvcd.system import keep_freed_memory

from . import (
    adapt,
    cartoons,
    colorize,
    compare,
    convert,
    encode,
    eval,
    export,
    inspect,
    leaderboard,
    palette,
    plan,
    plan_colorize,
    prepare,
    recolor,
    review,
    serve,
    train,
)

# torch, diffusers and transformers take seconds to import: commands import them when they run.
COMMANDS: dict[str, ModuleType] = {
    "adapt": adapt,
    "colorize": colorize,
    "compare": compare,
    "convert": convert,
    "encode": encode,
    "eval": eval,
    "export": export,
    "inspect": inspect,
    "leaderboard": leaderboard,
    "palette": palette,
    "plan": plan,
    "plan-colorize": plan_colorize,
    "prepare": prepare,
    "prepare-cartoons": cartoons,
    "recolor": recolor,
    "review": review,
    "serve": serve,
    "train": train,
}
OF_HYDRA: dict[str, ModuleType] = {"eval": eval, "train": train}
"""Commands whose words are Hydra's, and not argparse's."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; argv is None for the words that were typed."""
    words = list(sys.argv[1:] if argv is None else argv)
    return interruptible(lambda: _run(words))


def _run(words: list[str]) -> int:
    if words and words[0] in OF_HYDRA:
        return OF_HYDRA[words[0]].main(words[1:])
    if words[:2] == ["prepare", "cartoons"]:
        words[:2] = ["prepare-cartoons"]
    if words[:2] == ["plan", "colorize"]:
        words[:2] = ["plan-colorize"]
    arguments = _parser().parse_args(words)
    keep_freed_memory()
    try:
        code = COMMANDS[arguments.command].run(arguments)
        sys.stdout.flush()
    except InputError as error:
        check_interrupt(error)
        print(f"lvcd {arguments.command.replace('-', ' ')}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # who reads, `head` say, has seen enough
        drop_unprintable()
        return 1
    except Exception as error:
        check_interrupt(error)
        if (refusal := system_refusal(error)) is None:
            raise
        drop_unprintable()
        print(f"lvcd {arguments.command.replace('-', ' ')}: {refusal}", file=sys.stderr)
        return 2
    return code or 0


def drop_unprintable() -> None:
    """Send what cannot be printed nowhere, where stdout is full or closed: Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _Parser(argparse.ArgumentParser):
    """Says in one line what is wrong, and which command or option is nearest to a mistyped one."""

    commands: Any = None
    """Of `add_subparsers`."""

    def add_subparsers(self, **settings: Any) -> Any:
        self.commands = super().add_subparsers(**settings)
        return self.commands

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        words = [str(word) for word in (sys.argv[1:] if args is None else args)]
        if self.commands is not None:
            command = next((word for word in words if not word.startswith("-")), None)
            if command is not None and command not in self.commands.choices:
                self.error(f"there is no command {command}{_nearest(command, self.commands.choices)}")
        else:
            options = list(self._option_string_actions)
            for word in words[: words.index("--")] if "--" in words else words:
                option = word.partition("=")[0]
                if option.startswith("--") and not any(known.startswith(option) for known in options):
                    self.error(f"there is no option {option}{_nearest(option, options)}")
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} ({self.prog} --help tells more)\n")


def _nearest(word: str, names: Any) -> str:
    close = difflib.get_close_matches(word, list(names), n=1)
    return f"; did you mean {close[0]}?" if close else ""


class _Version(argparse.Action):
    """Prints the version: what looks it up is imported only then."""

    def __init__(self, option_strings: Sequence[str], dest: str):
        super().__init__(
            option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help="print the version"
        )

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"lvcd {version('lvcd')}")
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="lvcd", description="Reference-based lineart video colorization.")
    parser.add_argument("--version", action=_Version)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.HELP, prog=f"lvcd {name.replace('-', ' ')}")
        if name not in OF_HYDRA:
            command.arguments(added)
    return parser


finish_imports()
