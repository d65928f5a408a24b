"""A finished or stopped run: its checkpoints, and the weights in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from lvcd.errors import InputError

CHECKPOINTS, MODEL = "checkpoints", "model"
"""In the folder of a run; the model is exported when all steps are done."""


def checkpoint_to_resume(run: Path, resume: bool | str | None) -> Path | None:
    """What train.py's `resume` says => the checkpoint to go on from, None = a run begins.

    True: this run's newest. "auto": the same if there is one, as where a cluster starts a command again. Else a file.
    InputError: there is none; or a run would begin in the folder of another, whose checkpoints it would overwrite.
    """
    begun = bool(checkpoints(run))
    if resume is True or (resume == "auto" and begun):
        return newest(run)
    if not resume or resume == "auto":
        if begun:
            raise InputError(f"{run} holds another run: go on with it by resume=true, or choose another run_dir")
        return None
    if not Path(resume).is_file():
        raise InputError(f"resume={resume} is not there: give a checkpoint, or true for this run's newest")
    return Path(resume)


def last_stage(run: Path) -> Path:
    """The run of the stage before. InputError: it is not there, or not at its end."""
    if not (run / MODEL).is_dir():
        state = "is not finished" if run.is_dir() else "is not there"
        raise InputError(f"this stage begins with the weights of {run}, which {state}: train that stage first, as "
                         "with -m stage=FIRST,SECOND, or give init_from=RUN, or stage.after=null")  # fmt: skip
    return run


def checkpoints(run: Path) -> list[Path]:
    """A run's own, and those that Lightning saves when SLURM is about to take the machine away."""
    return [*(run / CHECKPOINTS).glob("*.ckpt"), *run.glob("hpc_ckpt_*.ckpt")]


def newest(run: Path) -> Path:
    """The checkpoint to go on from: the newest that is whole. InputError: there is none."""
    for file in sorted(checkpoints(run), key=lambda f: f.stat().st_mtime_ns, reverse=True):
        if is_whole(file):
            return file
    raise InputError(f"{run} has no checkpoint: give the folder of a run that has saved one")


def best(run: Path) -> Path:
    """The checkpoint that validation liked best, else the newest; whole ones only. InputError: there is none."""
    file = run / CHECKPOINTS / "best.ckpt"
    return file if file.is_file() and is_whole(file) else newest(run)


def begin_from(module: Any, start: Path) -> Path:
    """Weights of a run's best checkpoint, or of one that is named, for a training that begins anew; => that file.

    InputError: no run and no checkpoint, damaged, or of another module or base.
    """
    if not start.exists():
        raise InputError(f"init_from={start} is not there: give the folder of a run, or one of its checkpoints")
    checkpoint = best(start) if start.is_dir() else start
    restore(module, checkpoint)
    return checkpoint


def is_whole(file: Path) -> bool:
    """Whether a checkpoint can be read to its end: one that was torn cannot."""
    try:
        torch.load(file, map_location="cpu", weights_only=True)
    except Exception:  # zip, pickle and runtime errors, whatever was cut
        return False
    return True


def restore(module: Any, checkpoint: Path) -> None:
    """Put the trained weights of a checkpoint into a module: their average where it has one.

    InputError: damaged, or of another module or base.
    """
    try:
        saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except Exception as error:
        why = "it is not there" if isinstance(error, FileNotFoundError) else "it is no checkpoint, or damaged"
        give = "give one of train.py, like RUN/checkpoints/best.ckpt"
        raise InputError(f"cannot read {checkpoint} ({why}): {give}") from error
    module.on_load_checkpoint(saved)
    averages = [s["average"] for s in saved.get("callbacks", {}).values() if isinstance(s, dict) and "average" in s]
    module.load_state_dict(averages[0] if averages else saved["state_dict"], strict=False)
