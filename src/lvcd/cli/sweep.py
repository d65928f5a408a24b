"""Sweeps, `python train.py -m NAME=A,B`: every job has a folder and a command line of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig

IN_RUN_DIR = ("experiment", "stage", "ablation")
"""Groups that `run_dir` names already."""


def is_sweep(words: Sequence[str]) -> bool:
    return "-m" in words or "--multirun" in words


def overrides_of(words: Sequence[str]) -> list[Override]:
    """HydraException: a word that Hydra cannot read."""
    return OverridesParser.create().parse_overrides([w for w in words if not w.startswith("-") and "=" in w])


def jobs(words: Sequence[str]) -> list[list[str]]:
    """Words of single runs in which every value of a sweep is there once: not all jobs, but all that can be wrong with
    one of its words. Ranges without steps, which Optuna draws from, are left out."""
    fixed, swept = [], []
    for override in overrides_of(words):
        if override.is_interval_sweep():
            continue
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
            continue
        key = str(override.input_line).partition("=")[0]
        swept.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    most = max((len(values) for values in swept), default=1)
    return [[*fixed, *(values[min(i, len(values) - 1)] for values in swept)] for i in range(most)]


def with_folders(words: Sequence[str]) -> list[str]:
    """A sweep's words, and one that makes a job's folder tell what is swept and not what all jobs have in common:
    RUN_DIR/module.optimization.lr=0.001."""
    common = [o.key_or_group for o in overrides_of(words) if not o.is_sweep_override()]
    word = f"hydra.job.config.override_dirname.exclude_keys=[{','.join(dict.fromkeys([*IN_RUN_DIR, *common]))}]"
    first = next((i for i, w in enumerate(words) if not w.startswith("-") and "=" in w), len(words))
    return [*words[:first], word, *words[first:]]  # Hydra wants overrides side by side


@contextmanager
def as_job(config: DictConfig) -> Iterator[None]:
    """In a sweep: `run_dir` is the job's own folder, and the stage before is looked for in the same place of its run.
    The words are the job's too, for Lightning starts other ranks with them, and leaves variables that the next job of
    this process must not find."""
    told = HydraConfig.get()
    if told.mode != RunMode.MULTIRUN:
        yield
        return
    folder = os.path.relpath(told.runtime.output_dir)
    inside = os.path.relpath(folder, config.run_dir)
    own = {"run_dir": folder}
    if config.stage.after:
        own["stage.after"] = os.path.normpath(Path(config.stage.after, inside))
    config.run_dir, config.stage.after = own["run_dir"], own.get("stage.after")
    words, environment = sys.argv[1:], dict(os.environ)
    sys.argv[1:] = [*told.overrides.task, *(f"{name}='{value}'" for name, value in own.items())]
    try:
        yield
    finally:
        sys.argv[1:] = words
        os.environ.clear()
        os.environ.update(environment)
