"""What train.py and eval.py share: bad input is one line and exit code 2, and leaves no folder behind."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lvcd.errors import InputError

from .sweep import is_sweep, jobs

VALUED = [
    "--cfg", "-c", "--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd", "--info",
]  # fmt: skip
"""Flags of Hydra's that a word may follow."""


@contextmanager
def one_line(program: str) -> Iterator[None]:
    """InputError => one line, exit code 2; the run's folder goes if nothing but Hydra's notes is in it."""
    try:
        yield
    except Exception as error:
        if (told := _told(error)) is None:
            raise
        print(f"{program}: {told}", file=sys.stderr)
        folder = Path(HydraConfig.get().runtime.output_dir) if HydraConfig.initialized() else None
        notes = {".hydra", f"{Path(program).stem}.log"}
        if folder and folder.is_dir() and {p.name for p in folder.iterdir()} <= notes:
            shutil.rmtree(folder)
        sys.exit(2)


def _told(error: Exception) -> str | None:
    """What a person is to read of it; None: it is a fault of ours. Hydra wraps what a constructor raises."""
    told = error if isinstance(error, InputError) else error.__cause__
    if isinstance(told, InputError):
        return str(told)
    if isinstance(error, InstantiationException) and isinstance(told, (TypeError, ValueError)):
        key = re.search(r"^full_key: (\S+)", str(error), re.MULTILINE)
        reason = str(told).splitlines()[0]
        return f"{key[1] if key else 'a setting'} has a value of the wrong kind ({reason}): correct it"
    return None


def check_overrides(program: str, config: str, folder: Path, words: Sequence[str]) -> None:
    """Compose once before Hydra does: a wrong override ends in one line with the nearest valid name, exit code 2."""
    if any(w in words for w in ("--help", "-h", "--hydra-help")):
        return
    if is_sweep(words) and "launcher=slurm" in words and not shutil.which("srun"):
        print(f"{program}: launcher=slurm: no srun is here: go where sbatch works, or launcher=local", file=sys.stderr)
        sys.exit(2)
    stray = [word for before, word in zip(["", *words], words) if not _said(word) and before not in VALUED]
    if stray:
        print(f"{program}: {stray[0]} sets nothing: write NAME=VALUE, like seed=1", file=sys.stderr)
        sys.exit(2)
    overrides = [w for w in words if not w.startswith("-") and "=" in w]
    with initialize_config_dir(str(folder.resolve()), version_base="1.3"):
        try:
            for job in jobs(overrides) if is_sweep(words) else [overrides]:
                overrides = job
                if wrong := _no_folder(compose(config, job, return_hydra_config=True).hydra, is_sweep(words)):
                    print(f"{program}: {wrong}", file=sys.stderr)
                    sys.exit(2)
        except (HydraException, OmegaConfBaseException) as error:
            reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
            print(f"{program}: {reason}{_nearest(str(error), overrides, config, folder)}", file=sys.stderr)
            sys.exit(2)


def _said(word: str) -> bool:
    """Whether it is a flag, a setting, or the taking away of one."""
    return word.startswith(("-", "~")) or "=" in word


def _no_folder(hydra: DictConfig, sweep: bool) -> str | None:
    """Why what comes of it cannot be written where it is to go."""
    folder = Path(str((hydra.sweep if sweep else hydra.run).dir))
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        return f"{there} is a file, and {'' if there == folder else f'{folder} '}was to be a folder: name another"
    return None if os.access(there, os.W_OK) else f"{there} cannot be written: name another folder"


def _nearest(text: str, overrides: Sequence[str], config: str, folder: Path) -> str:
    """=> what was probably meant or is missing, or nothing"""
    if plugin := re.search(r"'hydra/(launcher|sweeper)/(\w+)'", text):
        return f": pip install hydra-{plugin[2].split('_')[0]}-{plugin[1]}"
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if (folder / key).is_dir():
            if not (folder / key / f"{value}.yaml").exists():
                return _ask(value, [f.stem for f in (folder / key).glob("*.yaml")], f"{key}=")
            continue
        if key.split(".")[-1] in text:
            names = [d.name for d in folder.iterdir() if d.is_dir()]
            groups = [o for o in overrides if (folder / o.partition("=")[0]).is_dir()]
            with suppress(HydraException, OmegaConfBaseException):
                names += _keys(compose(config, groups))
            if key not in names:
                return _ask(key, names, "")
    return ""


def _ask(word: str, names: Sequence[str], before: str) -> str:
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    return f"; did you mean {before}{close[0]}?" if close else f"; there are {', '.join(sorted(names)[:12])}"


def _keys(config: DictConfig, before: str = "") -> list[str]:
    keys = []
    for key in map(str, config):
        keys.append(f"{before}{key}")
        known = not OmegaConf.is_missing(config, key) and not OmegaConf.is_interpolation(config, key)
        if known and isinstance(config[key], DictConfig):
            keys += _keys(config[key], f"{before}{key}.")
    return keys
