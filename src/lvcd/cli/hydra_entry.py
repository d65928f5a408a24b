"""From words like `experiment=mini_cpu` to a configuration and a Hydra run, for `lvcd train`, `eval` and others.

The configuration is the installed package `lvcd.conf`, wherever the program is started. A wrong word ends in one line
with the nearest valid name and exit code 2, before torch is imported and before a folder is made.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import hydra
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import lvcd.conf
from lvcd.errors import InputError

from .hydra_words import HydraWords, quoted, suggest, suggest_setting
from .interrupts import interruptible
from .job_errors import one_line, user_message
from .sweep import override_lists, parse_overrides

Tree = Literal["train", "eval"]
"""A folder of lvcd.conf, and the name of the configuration in it that all others are merged into."""

HYDRA_VERSION = "1.3"
"""Whose defaults Hydra keeps to."""
SET_BY_HYDRA = ("sweep", "launcher")
"""Groups that set how Hydra itself runs: all jobs of a sweep have the same."""


@dataclass(frozen=True)
class Program:
    """A program that takes Hydra's words, and how it was started."""

    tree: Tree
    script: str | None = None
    """train.py or eval.py; None: it is a command of `lvcd`."""

    @property
    def name(self) -> str:
        """What its messages begin with."""
        return self.script or f"lvcd {self.tree}"

    def command(self, words: Sequence[str]) -> str:
        """Return what a person types to start it with these words."""
        return shlex.join([*(["python", self.script] if self.script else ["lvcd", self.tree]), *words])

    def argv(self, words: Sequence[str]) -> list[str]:
        """Return the words after `sys.argv[0]` that start it, as Lightning starts the other ranks."""
        return [*([] if self.script else [self.tree]), *words]


def conf_folder(tree: Tree) -> Path:
    """Return the folder of a tree of the installed configuration."""
    assert lvcd.conf.__file__ is not None
    return Path(lvcd.conf.__file__).parent / tree


def register_resolvers() -> None:
    """Let configurations name what the package ships: `${toy_shards:train}` is a folder of `lvcd.toy_shards`."""
    from lvcd.toy_shards import folder

    OmegaConf.register_new_resolver("toy_shards", lambda part: str(folder(part)), replace=True)


def compose_config(tree: Tree, words: Sequence[str] = (), hydra_too: bool = False) -> DictConfig:
    """Return the configuration of a tree with these words, which may include `--config-dir DIR`.

    hydra_too   with Hydra's own settings under `hydra`
    InputError: a word is wrong; the message has the nearest valid one.
    """
    register_resolvers()
    given = HydraWords.parse(words)
    return _compose(tree, given.config_name or tree, given.overrides, given.searchpath, hydra_too)


def start(
    program: Program,
    job: Callable[[DictConfig], Any],
    words: Sequence[str],
    usage: str,
    alone: Callable[[DictConfig], AbstractContextManager[None]] | None = None,
) -> int:
    """Check the words, then have Hydra call `job` with their configuration, or in a sweep with every job's.

    `sys.argv` may be anything; during the job it is what starts the same program again.
    usage   what --help prints, before the groups of the configuration
    alone   takes a single run's folder for this process, before Hydra writes into it. InputError: it cannot be had
    => exit code; 2: a word is wrong, and a line on stderr says so
    """
    held: AbstractContextManager[None] = nullcontext()
    try:
        given = HydraWords.parse(words)
        if "--help" in given.flags:
            print(usage.replace(f"lvcd {program.tree} ", program.command([]) + " ") + _groups(program.tree))
            return 0
        if not {"--hydra-help", "--version", "--shell-completion"} & set(given.flags):
            composed = check_words(program.tree, given)
            if alone is not None and composed is not None and not {"--cfg", "--info"} & set(given.flags):
                held = alone(composed)
                held.__enter__()
    except Exception as error:
        if (message := user_message(error)) is None:
            raise
        print(f"{program.name}: {message}", file=sys.stderr)
        return 2
    register_resolvers()
    global _started
    _started, argv = (program, list(words)), sys.argv
    sys.argv = [argv[0], *given.for_hydra()]
    try:
        name = given.config_name or program.tree
        return interruptible(lambda: _run_hydra(program, name, job))
    finally:
        held.__exit__(None, None, None)
        sys.argv, _started = argv, None


def _run_hydra(program: Program, name: str, job: Callable[[DictConfig], Any]) -> int:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors of Hydra's own, as a full disk, come here and are one line too
    try:
        with one_line(program.name):
            hydra.main(str(conf_folder(program.tree)), name, HYDRA_VERSION)(job)()
    except SystemExit as end:
        if isinstance(end.code, str):  # argparse's and Hydra's own
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else 1 if end.code else 0
    return 0


def _groups(tree: Tree) -> str:
    """What there is to choose from, for --help."""
    groups = {folder.name: sorted(f.stem for f in folder.glob("*.yaml"))
              for folder in sorted(conf_folder(tree).iterdir()) if folder.is_dir()}  # fmt: skip
    choices = "\n".join(
        textwrap.fill(", ".join(names), 100, initial_indent=f"  {group:<11}", subsequent_indent=" " * 13)
        for group, names in groups.items()
    )
    return (f"\nGroups, as GROUP=NAME; files of your own in DIR/GROUP/NAME.yaml, with --config-dir DIR:\n{choices}\n\n"
            "All settings and their values: --cfg job. Values are checked before anything starts.")  # fmt: skip


_started: tuple[Program, list[str]] | None = None
"""The program that `start` runs, and its words. None: this is a process of a launcher, which was handed a job."""


def prepare_job(tree: Tree) -> tuple[Program, list[str] | None]:
    """Make ready for a job, also in a process of a launcher: Python files of the current folder can be imported, and
    the configuration's paths be resolved.

    => the program that was started, and its words; None where a launcher hides them
    """
    import_from_current_folder()
    register_resolvers()
    return _started or (Program(tree), None)


# --- words ------------------------------------------------------------------------------------------------------------


def import_from_current_folder() -> None:
    """Let Python files of the current folder be imported, as by a script in it, but after all that is installed."""
    if os.getcwd() not in sys.path and "" not in sys.path:
        sys.path.append(os.getcwd())


# --- checks -----------------------------------------------------------------------------------------------------------


def check_words(tree: Tree, given: HydraWords) -> DictConfig | None:
    """Compose once before Hydra does, in a sweep once for every value that occurs.

    => a single run's configuration; None in a sweep
    InputError: a word is wrong, or the run's folder cannot be written.
    """
    if not given.is_sweep:
        composed = _compose(tree, given.config_name or tree, given.overrides, given.searchpath, hydra_too=True)
        with _one_line_of_hydra(given.overrides, [], lambda: []):
            _check_folder(str(composed.hydra.run.dir))
        return composed
    if "launcher=slurm" in given.overrides and not shutil.which("srun"):
        raise InputError("launcher=slurm needs srun, which is not here: go where sbatch works, or give launcher=local")
    with _one_line_of_hydra(given.overrides, [], lambda: []):
        parsed = parse_overrides(given.overrides)
        swept = [o for o in parsed if o.is_sweep_override()]
        if word := next((o.input_line for o in swept if o.key_or_group in SET_BY_HYDRA), None):
            raise InputError(f"{word} cannot be swept: give one, and what varies by NAME=A,B")
        name, runs = given.config_name or tree, override_lists(given.overrides)
        composed = [_compose(tree, name, run, given.searchpath, hydra_too=True) for run in runs][-1]
        _check_folder(str(composed.hydra.sweep.dir))
        typed = {o.key_or_group for o in parsed}
        params = composed.hydra.sweeper.get("params") or {}  # what sweep=NAME varies
        more = [f"{param}={values}" for param, values in params.items() if param not in typed]
        for run in override_lists([*runs[-1], *more]) if more else []:
            _compose(tree, name, run, given.searchpath, hydra_too=True)
    return None


def _compose(tree: Tree, name: str, overrides: Sequence[str], searchpath: Sequence[str], hydra_too: bool) -> DictConfig:
    """InputError: a word is wrong."""
    folder = conf_folder(tree)
    path = [f"hydra.searchpath=[{','.join(map(quoted, searchpath))}]"] if searchpath else []
    folders = [folder, *(Path(p.removeprefix("file://")) for p in searchpath if p.startswith("file://"))]
    groups = [o for o in overrides if any((f / o.partition("=")[0]).is_dir() for f in folders)]

    def known_names() -> list[str]:
        with suppress(HydraException, OmegaConfBaseException, ValueError):
            return _names(compose(name, [*path, *groups]))
        return []

    with initialize_config_dir(str(folder), version_base=HYDRA_VERSION), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with _one_line_of_hydra(overrides, folders, known_names):
            return compose(name, [*path, *overrides], return_hydra_config=hydra_too)


@contextmanager
def _one_line_of_hydra(
    overrides: Sequence[str], folders: Sequence[Path], known_names: Callable[[], list[str]]
) -> Iterator[None]:
    """What Hydra says on several lines => InputError with one, and the nearest name."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(_one_line(str(error), overrides, folders, known_names)) from error


def _one_line(
    text: str, overrides: Sequence[str], folders: Sequence[Path], known_names: Callable[[], list[str]]
) -> str:
    if plugin := re.search(r"'hydra/(launcher|sweeper)/(\w+)'", text):
        package = f"hydra-{plugin[2].split('_')[0]}-{plugin[1]}"
        return f"{plugin[1]}={plugin[2]} is not installed: pip install {package}"
    if missing := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        return _no_choice(missing[1].removeprefix("./"), missing[2], folders)
    if "Config group override must be a string" in text:
        for group, _, value in (o.partition("=") for o in overrides):
            if any((f / group).is_dir() for f in folders) and not any(
                (f / group / f"{value}.yaml").exists() for f in folders
            ):
                return _no_choice(group, value, folders)
    if ambiguous := re.search(r"Ambiguous value for argument '(.+)'", text):
        name, _, values = ambiguous[1].partition("=")
        return f"{ambiguous[1]} has several values: add -m to run them all, or write {name}=[{values}] for a list"
    if unknown := re.search(r"Could not override '([^']+)'", text):
        name = unknown[1]
        value = next((o.partition("=")[2] for o in overrides if o.partition("=")[0] == name), "VALUE")
        nearest = suggest_setting(name, known_names())
        return f"there is no setting {name}{nearest or f'; +{name}={value} adds one that the configuration leaves out'}"
    reason = next((line.strip() for line in text.splitlines() if line.strip()), "it cannot be read")
    return f"{reason[:-1] if reason.endswith('.') else reason}: correct {' '.join(overrides) or 'the configuration'}"


def _no_choice(group: str, value: str, folders: Sequence[Path]) -> str:
    names = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
    hint = suggest(value, names, f"{group}=") or _other_program(group, value) or f"; there are {', '.join(names)}"
    return f"there is no {group}={value}{hint}"


def _other_program(group: str, value: str) -> str:
    """=> that the word belongs to the other program, or nothing"""
    for tree, command in (("train", "lvcd train"), ("eval", "lvcd eval")):
        if (conf_folder(tree) / group / f"{value}.yaml").is_file():  # type: ignore[arg-type]
            return f": it is one of {command}"
    return ""


def _names(config: DictConfig, before: str = "") -> list[str]:
    """Of all settings, with the groups they are in: trainer, trainer.max_steps, ..."""
    found = []
    for name in map(str, config):
        found.append(f"{before}{name}")
        plain = not OmegaConf.is_missing(config, name) and not OmegaConf.is_interpolation(config, name)
        if plain and isinstance(config[name], DictConfig):
            found += _names(config[name], f"{before}{name}.")
    return found


def _check_folder(folder: str) -> None:
    """InputError: what comes of the run cannot be written there."""
    there = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    if not there.is_dir():
        in_it = "" if there == Path(folder) else f"{folder} "
        raise InputError(f"{there} is a file, and {in_it}was to be a folder: name another")
    if not os.access(there, os.W_OK):
        raise InputError(f"{there} cannot be written: name another folder")
