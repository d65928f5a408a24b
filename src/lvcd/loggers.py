"""Loggers of a training run: a CSV file, Weights & Biases, TensorBoard. Secrets are removed from what they get."""

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

WANDB_ID_FILE = "wandb_id.txt"
"""File in a run's folder with the id of its W&B run, and W&B's number of the entry that is logged next."""


class Wandb(WandbLogger):
    """A W&B run, which is kept in `run_dir`/wandb and sent meanwhile if there is a key; checkpoints are artifacts.

    Without a key, or with WANDB_MODE=offline, nothing leaves the machine, and `wandb sync` can send it later. W&B gets
    the configuration and what is logged, but not the command line, nor the host's files, packages or environment.

    A run that is stopped and goes on has a folder for each time in `run_dir`/wandb. Offline, W&B would number the
    entries of each from 0, and what is sent later would hide what was sent first. So the number goes on from one folder
    to the next, and together they are one curve.

    InputError: W&B refuses or cannot be reached.
    """

    def __init__(self, run_dir: str, project: str = "lvcd", resume: bool | str | None = None, log_model: bool = True):
        """resume: the setting of `lvcd train`; if it is set, go on with the W&B run whose id is in `run_dir`."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # read when wandb is first imported
        import wandb

        self.folder = Path(run_dir)
        self.mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        file = self.folder / WANDB_ID_FILE
        known, self._next_entry = _known_run(file) if resume and file.is_file() else ("", 0)
        self._is_new, self._has_begun, self._has_logged = not known, False, False
        # artifacts refer to checkpoints; without "immutable" a copy of each would go to the home folder
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
        if not self._has_begun:
            self._begin()
        return super().experiment

    def _begin(self) -> None:
        import wandb

        self._has_begun = True
        self.folder.mkdir(parents=True, exist_ok=True)
        if wandb.run is not None:
            wandb.finish()  # an earlier run of this process
        try:
            run = super().experiment
        except (wandb.Error, ValueError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"W&B does not start ({reason}): set WANDB_MODE=offline, or use logger=csv") from error
        self._note()
        where = run.url if self.mode == "online" else f"offline in {self.folder / 'wandb'}"
        why = "" if self.mode == "online" or os.environ.get("WANDB_MODE") else ": no key was found; wandb sync sends it"
        print(f"W&B: {'new' if self._is_new else 'resumed'} run {self.version}, {where}{why}", flush=True)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        self._has_logged = True
        if self.mode not in ("offline", "dryrun"):  # the server knows where the run was stopped
            return super().log_metrics(metrics, step)
        entry = metrics if step is None else {**metrics, "trainer/global_step": step}
        self.experiment.log(dict(entry), step=self._next_entry, commit=True)
        self._next_entry += 1
        self._note()

    def _note(self) -> None:
        """Write the run's id and the next number beside their place and rename the file: a kill leaves it whole."""
        part = self.folder / f".{WANDB_ID_FILE}.part"
        part.write_text(f"{self.version} {self._next_entry}\n")
        part.replace(self.folder / WANDB_ID_FILE)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, and remove its files if it failed before it logged anything."""
        if not self._has_begun:
            return
        super().finalize(status)
        run = self.experiment
        folder = self.folder / Path(run.dir).parent
        run.finish(exit_code=0 if status == "success" else 1)
        self._experiment, self._has_begun, self._is_new = None, False, False
        if status != "success" and not self._has_logged and folder.parent == self.folder / "wandb":
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                for link in [p for p in folder.parent.iterdir() if p.is_symlink()]:
                    link.unlink()
                folder.parent.rmdir()
                (self.folder / WANDB_ID_FILE).unlink()  # there is no folder of another run


def _known_run(file: Path) -> tuple[str, int]:
    """Return the id of a run and the number of its next entry; earlier versions did not write that, it is 0 then."""
    words = file.read_text(errors="replace").split()
    number = words[1] if len(words) > 1 and words[1].isdecimal() else "0"
    return (words[0] if words else ""), int(number)


class Csv(CSVLogger):
    """Writes `run_dir`/csv/version_0/metrics.csv, version_1 after the run was resumed, ...; each with hparams.yaml."""

    def __init__(self, run_dir: str, flush_every_n_steps: int = 10):
        super().__init__(run_dir, name="csv", flush_logs_every_n_steps=flush_every_n_steps)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write the last rows, and remove the folder if the run failed before it logged anything."""
        super().finalize(status)
        folder = Path(self.log_dir)
        if status != "success" and not (folder / "metrics.csv").exists():
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                folder.parent.rmdir()


def tensorboard(run_dir: str) -> TensorBoardLogger:
    """Make a logger that writes to `run_dir`/tensorboard.

    InputError: neither tensorboard nor tensorboardX is installed.
    """
    try:
        return TensorBoardLogger(run_dir, name="tensorboard", default_hp_metric=False)
    except ModuleNotFoundError as error:
        raise InputError("TensorBoard is not installed: pip install tensorboard, or choose logger=csv") from error


def log_config(loggers: Iterable[Logger], config: Mapping[str, Any]) -> None:
    """Log a resolved configuration to every logger, without its secrets (see `redact`)."""
    for logger in loggers:
        logger.log_hyperparams(redact(config))


def log_media(trainer: Any, name: str, sheets: list[Path], movies: list[Path], captions: list[str]) -> None:
    """Log pictures and movies to the loggers that can show them."""
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

REDACTED = "***"
_SECRET_NAMES = re.compile(r"(^|_)(key|token|secret|password|passwd|credentials?)$", re.IGNORECASE)


def redact(value: Any, name: str = "") -> Any:
    """Return a configuration with its secrets replaced by REDACTED.

    They are texts with names like `api_key` or `token`, the user and the query of a URL, and a `pipe:` command but for
    its program.
    """
    if isinstance(value, Mapping):
        return {key: redact(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact(item, name) for item in value]
    if not isinstance(value, str):
        return value
    if _SECRET_NAMES.search(name):
        return REDACTED
    if value.startswith("pipe:"):
        return f"pipe:{(value[5:].split() or [''])[0]} {REDACTED}"
    value = re.sub(r"(?<=://)[^/\s@]+@", f"{REDACTED}@", value)
    return re.sub(r"(://[^\s?]+\?)\S+", rf"\1{REDACTED}", value)


def has_key() -> bool:
    """Return whether W&B has a key, in the environment or in netrc under its host.

    W&B's own look-up has no public name that stayed (sdk.lib.apikey, then wbauth), and wandb.login asks on a terminal.
    """
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL") or "https://api.wandb.ai").hostname or ""
    files = [Path(os.environ["NETRC"])] if "NETRC" in os.environ else [Path.home() / ".netrc", Path.home() / "_netrc"]
    for file in files:
        with suppress(OSError, netrc.NetrcParseError):
            if host in netrc.netrc(file.expanduser()).hosts:
                return True
    return False
