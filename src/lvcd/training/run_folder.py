"""A run's folder, finished or not: its configuration, its checkpoints and the weights in them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any, Literal

import torch

from lvcd.checkpoints.digest import SKIP_DIGEST, is_skipped
from lvcd.errors import InputError

from .checkpoint import PART, saved_weights

CHECKPOINT_FOLDER, MODEL_FOLDER, ADAPTER_FOLDER = "checkpoints", "model", "adapter"
"""Folders within a run's folder; the model, and the adapters of a run that trained these, are exported after the last
step."""
BEST = f"{CHECKPOINT_FOLDER}/best.ckpt"
"""File in a run's folder with the weights that were best in validation."""
Weights = Literal["last", "best"]
"""Which weights of a run: those of its last step, or the best by validation."""

RENAMED = {
    "lookup": "reference_only_prob",
    "gaze": "correspondence_weight",
    "lvcd.training.fresh": "lvcd.training.networks_from_config",
    "lvcd.training.load": "lvcd.training.networks_from_folder",
}
"""Keys and targets of the module's configuration in runs of earlier versions -> their names today."""


def current_module_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return the `module` of a run's .hydra/config.yaml with today's names of keys and targets."""
    renamed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            value = current_module_config(value)
        elif key == "_target_":
            value = RENAMED.get(value, value)
        renamed[RENAMED.get(key, key)] = value
    return renamed


# --- checkpoints ------------------------------------------------------------------------------------------------------


def checkpoint_to_resume(run: Path, resume: bool | str | None) -> Path | None:
    """Return the checkpoint that `resume` of lvcd train asks for, or None to begin a new run.

    True: the run's newest checkpoint. "auto": the same if there is one, for clusters that start a command again. Else
    a file. InputError: there is no such checkpoint, or a new run would overwrite another run's checkpoints.
    """
    has_begun = bool(find_checkpoints(run))
    if resume is True or (resume == "auto" and has_begun):
        return newest_checkpoint(run)
    if not resume or resume == "auto":
        if has_begun:
            raise InputError(f"{run} holds another run: go on with it by resume=true, or choose another run_dir")
        return None
    if not Path(resume).is_file():
        raise InputError(f"resume={resume} is not there: give a checkpoint, or true for this run's newest")
    check_crc(Path(resume))
    return Path(resume)


def previous_stage(run: Path) -> Path:
    """Return the previous stage's run. InputError: it does not exist, or is not finished."""
    if not (run / MODEL_FOLDER).is_dir():
        state = "is not finished" if run.is_dir() else "is not there"
        raise InputError(f"this stage begins with the weights of {run}, which {state}: train that stage first, as "
                         "with -m stage=FIRST,SECOND, or give init_from=RUN, or stage.after=null")  # fmt: skip
    return run


def find_checkpoints(run: Path) -> list[Path]:
    """Return a run's checkpoints, and those that Lightning saves when SLURM is about to end the job."""
    return [*(run / CHECKPOINT_FOLDER).glob("*.ckpt"), *run.glob("hpc_ckpt_*.ckpt")]


def remove_unfinished(run: Path) -> None:
    """Remove the checkpoints that a killed process was writing. Nobody else may be writing to the run."""
    for file in (run / CHECKPOINT_FOLDER).glob(f"*{PART}"):
        file.unlink(missing_ok=True)


def newest_checkpoint(run: Path) -> Path:
    """Return the newest checkpoint that is complete. InputError: there is none."""
    for file in sorted(find_checkpoints(run), key=lambda f: f.stat().st_mtime_ns, reverse=True):
        if is_complete(file):
            return file
    raise InputError(f"{run} has no checkpoint: give the folder of a run that has saved one")


def best_checkpoint(run: Path) -> Path:
    """Return the best checkpoint by validation, or else the newest complete one. InputError: there is none."""
    file = run / BEST
    return file if file.is_file() and is_complete(file) else newest_checkpoint(run)


def is_complete(file: Path) -> bool:
    """Return whether a checkpoint can be read to its end, and has the bytes that were written."""
    try:
        check_crc(file)
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # torch raises zip, pickle and runtime errors, depending on where the file ends
        return False
    return True


def check_crc(file: Path) -> None:
    """Check a checkpoint's bytes against the CRC-32 that torch.save writes with each tensor, and never reads.

    InputError: it is damaged.
    """
    if is_skipped():
        return
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, zlib.error) as error:
        raise InputError(f"{file} is damaged, or not a checkpoint: give one of lvcd train") from error
    if bad is not None:
        raise InputError(
            f"{file} is damaged: give another checkpoint of the run ({SKIP_DIGEST}=1 leaves out this check)"
        )


# --- weights ----------------------------------------------------------------------------------------------------------


def initialize_from(module: Any, start: Path) -> str:
    """Load weights for a new training, of a checkpoint or of a run's best one, and return which, for people to read.

    InputError: no such run or checkpoint, or it is damaged, or of other networks or another starting model.
    """
    if not start.exists():
        raise InputError(f"init_from={start} is not there: give the folder of a run, or one of its checkpoints")
    checkpoint = best_checkpoint(start) if start.is_dir() else start
    if not hasattr(module, "take_weights"):
        load_trained_weights(module, checkpoint)
        return str(checkpoint)
    return f"{checkpoint}: {module.take_weights(_read_checkpoint(checkpoint))}"


def load_trained_weights(module: Any, checkpoint: Path) -> int:
    """Load a checkpoint's weights into the module that it was trained with, or their moving average if it has one.

    => the optimizer step after which it was saved
    InputError: the checkpoint is damaged, or of another module or starting model.
    """
    saved = _read_checkpoint(checkpoint)
    module.on_load_checkpoint(saved)
    module.load_state_dict(saved_weights(saved), strict=False)
    return int(saved.get("global_step", 0))


def _read_checkpoint(checkpoint: Path) -> dict[str, Any]:
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else "it is damaged, or not a checkpoint"
        give = "give one of lvcd train, like RUN/checkpoints/best.ckpt"
        raise InputError(f"cannot read {checkpoint} ({why}): {give}") from error
    check_crc(checkpoint)
    if not isinstance(saved, dict) or "state_dict" not in saved:
        raise InputError(f"{checkpoint} is not a checkpoint of lvcd train: give one like RUN/checkpoints/best.ckpt")
    return saved
