"""Where a run's numbers and pictures go: a CSV file, Weights & Biases, TensorBoard; and nothing secret with them."""

from __future__ import annotations

import netrc
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from PIL import Image

from lvcd.errors import InputError

ID = "wandb_id.txt"
"""In a run's folder: which W&B run it is."""


class Wandb(WandbLogger):
    """A W&B run, kept in `run_dir`/wandb and sent as it goes where there is a key; checkpoints are its artifacts.

    Without a key, or with WANDB_MODE=offline, nothing leaves the machine: `wandb sync` sends it later. W&B is told the
    configuration and what is logged, and neither the command line nor the host's files, packages or environment.

    InputError: W&B refuses or cannot be reached.
    """

    def __init__(self, run_dir: str, project: str = "lvcd", resume: bool | str | None = None, log_model: bool = True):
        """resume: go on with the W&B run that `run_dir` knows, if it knows one; what train.py was given."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is first imported
        import wandb

        self.folder = Path(run_dir)
        self.mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        file = self.folder / ID
        known = file.read_text().strip() if resume and file.is_file() else ""
        self._new, self._begun, self._logged = not known, False, False
        # the file of a checkpoint is named, not copied: a copy of each would go to the home folder
        super().__init__(
            save_dir=run_dir, project=project, version=known or secrets.token_hex(4), log_model=log_model,
            add_file_policy="immutable", mode=self.mode,
            settings=wandb.Settings(silent=True, console="off", x_disable_meta=True, x_save_requirements=False,
                                    save_code=False, disable_git=True),
        )  # fmt: skip
        self._wandb_init.pop("anonymous", None)  # Lightning's None makes wandb warn of it

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        if not self._begun:
            self._begin()
        return super().experiment

    def _begin(self) -> None:
        import wandb

        self._begun = True
        self.folder.mkdir(parents=True, exist_ok=True)
        if wandb.run is not None:
            wandb.finish()  # of another run of this process: this one is its own
        try:
            run = super().experiment
        except (wandb.Error, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"W&B does not start ({reason}): set WANDB_MODE=offline, or use logger=csv") from error
        (self.folder / ID).write_text(f"{self.version}\n")
        where = run.url if self.mode == "online" else f"stays in {self.folder / 'wandb'}"
        why = "" if self.mode == "online" or os.environ.get("WANDB_MODE") else ", no key was found; wandb sync sends it"
        print(f"W&B: {'a new run' if self._new else 'going on with run'} {self.version}, {where}{why}", flush=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._logged = True
        super().log_metrics(metrics, step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Ends the run; one that failed before it logged anything leaves nothing behind."""
        if not self._begun:
            return
        super().finalize(status)
        run = self.experiment
        folder = self.folder / Path(run.dir).parent
        run.finish(exit_code=0 if status == "success" else 1)
        self._experiment, self._begun, self._new = None, False, False
        if status != "success" and not self._logged and folder.parent == self.folder / "wandb":
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                for link in [p for p in folder.parent.iterdir() if p.is_symlink()]:
                    link.unlink()
                folder.parent.rmdir()
                (self.folder / ID).unlink()  # of no other run: there was no other folder


class Csv(CSVLogger):
    """`run_dir`/csv/version_0/metrics.csv, version_1 where the run went on, and so forth; each with hparams.yaml."""

    def __init__(self, run_dir: str, every: int = 10):
        """every: steps between rows, after which the file is up to date"""
        super().__init__(run_dir, name="csv", flush_logs_every_n_steps=every)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """A run that failed before it logged anything leaves nothing behind."""
        super().finalize(status)
        folder = Path(self.log_dir)
        if status != "success" and not (folder / "metrics.csv").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()


def tensorboard(run_dir: str) -> TensorBoardLogger:
    """`run_dir`/tensorboard. InputError: neither tensorboard nor tensorboardX is installed."""
    try:
        return TensorBoardLogger(run_dir, name="tensorboard", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise InputError("TensorBoard is not installed: pip install tensorboard, or leave out its logger") from error


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """A resolved configuration, for every logger; see `public`."""
    for logger in loggers:
        logger.log_hyperparams(public(config))


def log_media(trainer: Any, name: str, sheets: list[Path], movies: list[Path], captions: list[str]) -> None:
    """Pictures and movies, for the loggers that show them."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            step = trainer.global_step
            logger.log_image(f"{name}/sheet", [str(p) for p in sheets], step, caption=captions)
            logger.log_video(f"{name}/video", [str(p) for p in movies], step, caption=captions)
        elif isinstance(logger, TensorBoardLogger):
            for i, sheet in enumerate(sheets):
                pixels = np.asarray(Image.open(sheet).convert("RGB"))
                logger.experiment.add_image(f"{name}/{i}", pixels, trainer.global_step, dataformats="HWC")


# --- secrets ----------------------------------------------------------------------------------------------------------

HIDDEN = "***"
_NAMES = re.compile(r"(^|_)(key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)


def public(value: Any, name: str = "") -> Any:
    """A configuration without what nobody else may read: text under a name like `api_key` or `token`, who logs in and
    the query in an address, and all but the program's name of a `pipe:` command."""
    if isinstance(value, Mapping):
        return {key: public(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(item, name) for item in value]
    if not isinstance(value, str):
        return value
    if _NAMES.search(name):
        return HIDDEN
    if value.startswith("pipe:"):
        return f"pipe:{(value[5:].split() or [''])[0]} {HIDDEN}"
    value = re.sub(r"(?<=://)[^/\s@]+@", f"{HIDDEN}@", value)
    return re.sub(r"(://[^\s?]+\?)\S+", rf"\1{HIDDEN}", value)


def has_key() -> bool:
    """Whether W&B has a key: in the environment, or in netrc under its host."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    files = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        with suppress(OSError, netrc.NetrcParseError):
            if host in netrc.netrc(file.expanduser()).hosts:
                return True
    return False
