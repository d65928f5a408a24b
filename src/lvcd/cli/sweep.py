"""Sweeps, `lvcd train -m NAME=A,B`: every job has a folder and a command line of its own."""

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
    """Return whether the words ask for several runs."""
    return "-m" in words or "--multirun" in words


def parse_overrides(words: Sequence[str]) -> list[Override]:
    """Read NAME=VALUE words as Hydra does. HydraException: a word that it cannot read."""
    return OverridesParser.create().parse_overrides(list(words))


def override_lists(words: Sequence[str]) -> list[list[str]]:
    """Return the words of single runs in which every value of a sweep occurs at least once.

    These are not all runs, but all that can be wrong with a single word. Ranges without steps, which Optuna draws from,
    are left out.
    """
    fixed: list[str] = []
    swept: list[list[str]] = []
    for override in parse_overrides(words):
        if override.is_interval_sweep():
            continue
        if not override.is_sweep_override():
            fixed.append(str(override.input_line))
            continue
        key = str(override.input_line).partition("=")[0]
        swept.append([f"{key}={value}" for value in override.sweep_string_iterator()])
    most = max((len(values) for values in swept), default=1)
    return [[*fixed, *(values[min(i, len(values) - 1)] for values in swept)] for i in range(most)]


@contextmanager
def restartable(config: DictConfig, argv: Sequence[str], words: Sequence[str] | None = None) -> Iterator[None]:
    """Let `sys.argv` have what starts this run, and it alone: Lightning starts the other ranks with it.

    A job of a sweep becomes a run of its own. `run_dir` is then the job's folder, and the stage before is looked for in
    the same place of its run. What Lightning leaves in this process, variables and the group of ranks, is taken back:
    the next job must not find it.

    argv    what `sys.argv[1:]` begins with, before the settings
    words   that a single run was started with; None = the settings that Hydra found
    """
    hydra_config = HydraConfig.get()
    task_words = [*_searchpath_words(hydra_config.overrides.hydra), *hydra_config.overrides.task]
    own = {}
    if in_sweep():
        words = None
        folder = os.path.relpath(hydra_config.runtime.output_dir)
        own["run_dir"] = folder
        if config.stage.after:
            own["stage.after"] = os.path.normpath(Path(config.stage.after, os.path.relpath(folder, config.run_dir)))
        config.run_dir, config.stage.after = own["run_dir"], own.get("stage.after")
    before, environment = sys.argv[1:], dict(os.environ)
    sys.argv[1:] = [*argv, *(task_words if words is None else words), *(f"{k}='{v}'" for k, v in own.items())]
    try:
        yield
    finally:
        sys.argv[1:] = before
        if in_sweep():
            os.environ.clear()
            os.environ.update(environment)
            distributed = sys.modules.get("torch.distributed")
            if distributed is not None and distributed.is_available() and distributed.is_initialized():
                distributed.destroy_process_group()


def in_sweep() -> bool:
    """Return whether the running job is one of a sweep."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def _searchpath_words(overrides: Sequence[str]) -> list[str]:
    return [word for word in overrides if word.startswith("hydra.searchpath=")]
