"""From words like `experiment=mini_cpu` to a configuration and a Hydra run, for `lvcd train`, `eval` and others.

The configuration is the installed package `lvcd.conf`, wherever the program is started. A wrong word ends in one line
with the nearest valid name and exit code 2, before torch is imported and before a folder is made.
"""

from __future__ import annotations

import difflib
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
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import lvcd.conf
from lvcd.errors import InputError, system_refusal

from .interrupts import interruptible
from .sweep import IN_RUN_DIR, is_sweep, override_lists, parse_overrides

Tree = Literal["train", "eval"]
"""A folder of lvcd.conf, and the name of the configuration in it that all others are merged into."""

HYDRA_VERSION = "1.3"
"""Whose defaults Hydra keeps to."""
FLAGS_WITH_VALUE = {"-c": "--cfg", "-p": "--package", "-cn": "--config-name", "-cd": "--config-dir", "-i": "--info",
                    "-cp": "--config-path"}  # fmt: skip
"""Hydra's flags that a word follows, by their short forms."""
FLAGS = {"-h": "--help", "-r": "--run", "-m": "--multirun", "-sc": "--shell-completion"}
OTHER_FLAGS = ("--hydra-help", "--version", "--resolve")
LOCK_FILE = ".lock"
"""File in the folder of a run that a process has for itself."""
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
        return interruptible(lambda: _run_hydra(program.tree, name, job))
    finally:
        held.__exit__(None, None, None)
        sys.argv, _started = argv, None


def _run_hydra(tree: Tree, name: str, job: Callable[[DictConfig], Any]) -> int:
    try:
        hydra.main(str(conf_folder(tree)), name, HYDRA_VERSION)(job)()
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
        path = [f"hydra.searchpath=[{','.join(map(_quoted, self.searchpath))}]"] if self.searchpath else []
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


def _quoted(path: str) -> str:
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _job_folder_words(overrides: Sequence[str]) -> str:
    """Return the word that makes a job's folder show what is swept, and not what all jobs have in common:
    RUN_DIR/module.optimization.lr=0.001."""
    common = [o.key_or_group for o in parse_overrides(overrides) if not o.is_sweep_override()]
    return f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys([*IN_RUN_DIR, *common]))}]"


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
    path = [f"hydra.searchpath=[{','.join(map(_quoted, searchpath))}]"] if searchpath else []
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


# --- errors of a job --------------------------------------------------------------------------------------------------


def job_folder() -> Path:
    """Return the output folder of the Hydra job that runs."""
    return Path(HydraConfig.get().runtime.output_dir)


@contextmanager
def one_line(name: str, folder: Path | None = None) -> Iterator[None]:
    """InputError, and what Hydra makes of one => one line, exit code 2; anything else is a bug and passes.

    name     of the program, which the line begins with
    folder   of Hydra's job: it is removed if nothing but Hydra's notes is in it
    """
    from . import drop_unprintable

    try:
        yield
        sys.stdout.flush()
    except Exception as error:
        if (message := user_message(error)) is None:
            raise
        drop_unprintable()
        print(f"{name}: {message}", file=sys.stderr)
        if (
            folder
            and folder.is_dir()
            and all(p.name in (".hydra", LOCK_FILE) or p.suffix == ".log" for p in folder.iterdir())
        ):
            shutil.rmtree(folder)
        sys.exit(2)


def user_message(error: Exception) -> str | None:
    """Return the line that a person is to read of an error, or None where it is a bug.

    Hydra wraps what a constructor raises, and OmegaConf what is wrong with a value.
    """
    cause = error if isinstance(error, InputError) else error.__cause__
    if isinstance(cause, InputError):
        return str(cause)
    if refusal := system_refusal(error) or (isinstance(error, InstantiationException) and system_refusal(cause)):
        return refusal
    if isinstance(error, MissingMandatoryValue) or isinstance(cause, MissingMandatoryValue):
        key = re.search(r"(?:full_key: |Missing mandatory value: )(\S+)", f"{error}\n{cause}")
        name = key[1] if key else "a setting"
        return f"{name} is missing: give it, as {name}=VALUE"
    if isinstance(error, InstantiationException):
        key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
        name = key[1] if key else "a setting"
        if target := re.search(r"Error locating target '([^']+)'", str(error)):
            reason = str(cause).splitlines()[0] if cause else "there is none"
            return f"{name} names {target[1]}, which cannot be imported ({reason}): correct its _target_"
        if isinstance(cause, (TypeError, ValueError)):
            return f"{name} has a value of the wrong kind ({str(cause).splitlines()[0]}): correct it"
    if isinstance(error, OmegaConfBaseException):
        return f"{str(error).splitlines()[0]}: correct the configuration"
    return None
