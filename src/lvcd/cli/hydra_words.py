"""The words after `lvcd train` and `lvcd eval`: flags of Hydra, settings, and the nearest name to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hydra.errors import HydraException

from lvcd.errors import InputError

from .sweep import IN_RUN_DIR, is_sweep, parse_overrides

FLAGS_WITH_VALUE = {"-c": "--cfg", "-p": "--package", "-cn": "--config-name", "-cd": "--config-dir", "-i": "--info",
                    "-cp": "--config-path"}  # fmt: skip
"""Hydra's flags that a word follows, by their short forms."""
FLAGS = {"-h": "--help", "-r": "--run", "-m": "--multirun", "-sc": "--shell-completion"}
OTHER_FLAGS = ("--hydra-help", "--version", "--resolve")


@dataclass(frozen=True)
class HydraWords:
    """The words after a program's name, apart: Hydra wants its overrides side by side, people do not write them so."""

    flags: list[str]
    """As they were written, long forms, but `--config-dir` and `--config-name`."""
    overrides: list[str]
    """NAME=VALUE, +NAME=VALUE, ~NAME, but `hydra.searchpath`."""
    searchpath: list[str]
    """Where more configuration is looked for, like file:///home/me/conf: `--config-dir` and `hydra.searchpath`."""
    config_name: str | None = None

    @property
    def is_sweep(self) -> bool:
        return is_sweep(self.flags)

    @classmethod
    def parse(cls, words: Sequence[str]) -> HydraWords:
        """InputError: a word is neither a flag of Hydra's nor a setting."""
        flags: list[str] = []
        overrides: list[str] = []
        valued: dict[str, str] = {}
        rest = list(words)
        while rest:
            word = rest.pop(0)
            if not word.startswith("-"):
                if not is_override(word):
                    raise InputError(f"{word} sets nothing: write NAME=VALUE, like seed=1")
                overrides.append(word)
                continue
            flag, equals, value = word.partition("=")
            flag = FLAGS_WITH_VALUE.get(flag, FLAGS.get(flag, flag))
            if flag in FLAGS_WITH_VALUE.values():
                follows = bool(rest) and not rest[0].startswith("-") and (flag != "--info" or "=" not in rest[0])
                value = value if equals else rest.pop(0) if follows else ""
                if not value and flag != "--info":
                    raise InputError(f"{word} needs a value, like {flag} {'job' if flag == '--cfg' else 'NAME'}")
                valued[flag] = value
                if flag not in ("--config-dir", "--config-name", "--config-path"):
                    flags += [flag, *([value] if value else [])]
            elif flag in (*FLAGS.values(), *OTHER_FLAGS) and not equals:
                flags.append(flag)
            else:
                known = [*FLAGS.values(), *FLAGS_WITH_VALUE.values(), *OTHER_FLAGS]
                raise InputError(f"there is no option {flag}{suggest(flag, known)}")
        if "--config-path" in valued:
            raise InputError("--config-path would hide the configuration of lvcd: give your own folder by --config-dir")
        searchpath, overrides = _searchpath(valued.get("--config-dir"), overrides)
        return cls(flags, overrides, searchpath, valued.get("--config-name"))

    def for_hydra(self) -> list[str]:
        """Return the words as Hydra is given them, with a folder for every job of a sweep."""
        path = [f"hydra.searchpath=[{','.join(map(quoted, self.searchpath))}]"] if self.searchpath else []
        folders = [_job_folder_words(self.overrides)] if self.is_sweep else []
        return [*self.flags, *folders, *path, *self.overrides]


def is_override(word: str) -> bool:
    """Return whether a word sets something, or takes it away."""
    return word.startswith("~") or "=" in word


def _searchpath(config_dir: str | None, overrides: list[str]) -> tuple[list[str], list[str]]:
    """=> (all folders of configuration, the other overrides). InputError: one is not there."""
    paths, others = [], []
    if config_dir is not None:
        paths.append(f"file://{Path(config_dir).absolute()}")
    for word in overrides:
        name, _, value = word.lstrip("+").partition("=")
        if name != "hydra.searchpath":
            others.append(word)
            continue
        with suppress(HydraException):
            found = parse_overrides([word])[0].value()
            if isinstance(found, list) and all(isinstance(path, str) for path in found):
                paths += map(str, found)
                continue
        raise InputError(
            f"hydra.searchpath={value} is no list of folders: write hydra.searchpath=[file:///home/me/conf]"
        )
    absolute = []
    for path in paths:
        scheme, _, rest = path.rpartition("://")
        folder = Path(rest).absolute()
        if scheme in ("", "file") and not folder.is_dir():
            raise InputError(f"{rest} is no folder, and configuration was to be looked for in it: correct the path")
        absolute.append(f"file://{folder}" if scheme in ("", "file") else path)
    return absolute, others


def quoted(path: str) -> str:
    """Return a path as a value in Hydra's words."""
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _job_folder_words(overrides: Sequence[str]) -> str:
    """Return the word that makes a job's folder show what is swept, and not what all jobs have in common:
    RUN_DIR/module.optimization.lr=0.001."""
    common = [o.key_or_group for o in parse_overrides(overrides) if not o.is_sweep_override()]
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys([*IN_RUN_DIR, *common]))}]"


def suggest(word: str, names: Sequence[str], before: str = "", cutoff: float = 0.5) -> str:
    """Return "; did you mean ...?" with the nearest of the names, or nothing where none is near."""
    close = difflib.get_close_matches(word, names, n=1, cutoff=cutoff)
    return f"; did you mean {before}{close[0]}?" if close else ""


def suggest_setting(name: str, names: Sequence[str]) -> str:
    """Return "; did you mean ...?" for a setting: one of the same group that is spelled alike, else of another group.

    Within a group only the last word counts: what comes before makes all its names alike.
    """
    group, _, last = name.rpartition(".")
    beside = {known.rpartition(".")[2]: known for known in names if known.rpartition(".")[0] == group}
    if close := difflib.get_close_matches(last, list(beside), n=1, cutoff=0.75):
        return f"; did you mean {beside[close[0]]}?"
    return suggest(name, [known for known in names if known not in beside.values()], cutoff=0.8)
