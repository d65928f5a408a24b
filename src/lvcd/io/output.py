"""The output of a colored clip, which a run that was stopped can resume.

While a run is working everything is in `<path>.partial/`: a PNG for each finished frame, `job.json` (what makes the
result: the inputs' hashes and the settings) and `state.safetensors` (what the next segment needs). The name `path`
appears when the result is complete, and an old result stays until then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvcd.errors import InputError

from .disk import LITTER, Lock, atomic, printable, writing
from .frame_folder import BESIDE
from .images import image_size, read_image, write_png
from .movies import MOVIE_SUFFIXES, write_movie
from .reader import open_frames

_JOB, _STATE = "job.json", "state.safetensors"
_FORMAT = "lvcd output 1"
_NUM_FRAMES = "lvcd.frames"  # in the metadata of the state: how many leading frames were there when it was saved
_ADVICE = "run again with --resume"


class ResumableOutput:
    """An output that takes frames 0 .. total-1 in any order, also repeatedly, and becomes the folder or movie `path`.

    path       folder (no ending), .mp4, .webm or .gif; parents are made
    job        what the frames depend on, as JSON values: a run is only resumed by the same job
    fps        of a movie
    resume     continue from `<path>.partial` if it is there
    overwrite  an existing result may be replaced, at the very end

    InputError, always one line: the path is taken, of unknown kind, locked by another run or cannot be written; an
    interrupted run is there and `resume` is not set, or it was another job's; the disk is full.
    Close it, or use it in a `with`.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        job: dict[str, Any],
        total: int,
        fps: float,
        resume: bool = False,
        overwrite: bool = False,
    ):
        self.path = _target(path)
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.total, self.fps, self.overwrite = total, fps, overwrite
        self.done = False
        """True if the complete result was there already (or after `finish`): nothing is left to do."""
        self._job = json.loads(json.dumps({**job, "total": total}))
        self._old = self.path.with_name(f".{self.path.name}.old")  # what is about to be removed, or put back if we die
        self._lock: Lock | None = None
        self._size: tuple[int, ...] | None = None
        self._num_leading = 0
        if total < 1:
            raise InputError(f"no frames to write to {printable(self.path)}: give at least one")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            busy = f"another run is writing {printable(self.path)} right now: wait for it or choose another name"
            self._lock = Lock(self.path.with_name(f".{self.path.name}.lock"), busy)
            try:
                self._start(resume)
            except BaseException:
                self.close()
                raise

    def __enter__(self) -> ResumableOutput:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the output for other runs; what was written stays for `resume`."""
        if self._lock is None:
            return
        if not self.done and self.partial.is_dir() and os.listdir(self.partial) == [_JOB]:
            self._remove_partial()  # nothing to resume
        self._lock.release()
        self._lock = None

    # --- while working --------------------------------------------------------------------------------------------

    def write(self, index: int, frame: np.ndarray) -> None:
        """Write frame `index`, uint8 (H W 3); it is whole on disk when this returns. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        if not 0 <= index < self.total:
            raise IndexError(f"frame {index} of {self.total}")
        if frame.ndim != 3 or frame.shape[2] != 3 or frame.shape != (self._size or frame.shape):
            raise ValueError(f"want (H W 3) of one size, got {frame.shape} after {self._size}")
        self._size = frame.shape
        write_png(self._frame(index), frame, _ADVICE)

    def write_beside(self, name: str, data: bytes) -> None:
        """Write a file that goes with the frames, into `BESIDE`; a movie keeps none. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        with writing(self.partial / BESIDE / name, _ADVICE):
            (self.partial / BESIDE / name).parent.mkdir(parents=True, exist_ok=True)
        self._write_bytes(f"{BESIDE}/{name}", data)

    def name(self, index: int) -> str:
        """Return what the file of a frame is called, without its ending."""
        return self._frame(index).stem

    def checkpoint(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Save the state that `restore` returns after a stop, in place of the last one. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        while self._num_leading < self.total and self._frame(self._num_leading).exists():
            self._num_leading += 1
        copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        state = safetensors.torch.save(copies, metadata={**metadata, _NUM_FRAMES: str(self._num_leading)})
        self._write_bytes(_STATE, state)

    def restore(self) -> tuple[dict[str, Tensor], dict[str, str]] | None:
        """Return tensors and metadata of the last checkpoint of the run that is resumed; None if there is none.

        InputError: it is damaged, or frames that were finished before it are gone.
        """
        file = self.partial / _STATE
        if self.done or not file.exists():
            return None
        start_again = f"delete {printable(self.partial)} and start again without --resume"
        try:
            with safe_open(file, framework="pt", device="cpu") as state:
                tensors = {name: state.get_tensor(name).clone() for name in state.keys()}  # noqa: SIM118  # not a dict
                metadata = dict(state.metadata() or {})
            num_leading = int(metadata.pop(_NUM_FRAMES))
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(f"{printable(file)} is damaged: {start_again}") from error
        for index in range(num_leading):
            if not self._frame(index).exists():
                raise InputError(f"{printable(self._frame(index))} is gone: {start_again}")
        return tensors, metadata

    def finish(self) -> Path:
        """Make the result of all frames and return its path. InputError: a frame is missing or damaged, or the disk."""
        if self.done:
            return self.path
        assert self._lock is not None, "closed"
        self._check_frames()
        with writing(self.path, _ADVICE):
            if _is_movie(self.path):
                self._finish_movie()
            else:
                self._finish_folder()
        self.done = True
        self.close()
        return self.path

    # --- the start ------------------------------------------------------------------------------------------------

    def _start(self, resume: bool) -> None:
        self._heal()
        record = self._read_record()
        taken = _is_taken(self.path)
        if record is not None and not resume:
            raise InputError(
                f"an interrupted run is in {printable(self.partial)}: add --resume to continue it or delete it"
            )
        if record is not None and (changes := _changes(record["job"], self._job)):
            raise InputError(
                f"the interrupted run in {printable(self.partial)} was another job ({changes}): "
                "use its settings and inputs, or delete it"
            )
        if taken and not self.overwrite:
            if record is not None and record["replaces"]:
                raise InputError(
                    f"the interrupted run in {printable(self.partial)} replaces {printable(self.path)}: "
                    "add --overwrite too"
                )
            if not (resume and self._is_complete()):
                raise InputError(
                    f"{printable(self.path)} already exists: add --overwrite to replace it or choose another name"
                )
            self._remove_partial()
            self.done = True
            self.close()
            return
        if taken:
            self._check_replaceable()
        self.partial.mkdir(exist_ok=True)
        for leftover in self.partial.rglob(".*.tmp"):  # of a write that was killed
            leftover.unlink()
        if record is None or (taken and not record["replaces"]):
            new = {"format": _FORMAT, "replaces": taken, "job": self._job}
            self._write_bytes(_JOB, json.dumps(new, indent=1).encode())

    def _heal(self) -> None:
        """Bring the last steps of a run that was killed in them to an end."""
        if self._old.is_dir() and (_is_movie(self.path) or _is_taken(self.path)):
            shutil.rmtree(self._old)
        elif self._old.is_dir():
            self._old.rename(self.path)  # the old result: the new one had not taken its name
        if self.path.is_dir() and _record(self.path / _JOB) is not None:
            _remove_job_files(self.path)

    def _read_record(self) -> dict[str, Any] | None:
        """The job.json of the interrupted run; None if it wrote nothing else. InputError: it is not a run's folder."""
        if not os.path.lexists(self.partial):
            return None
        is_ours = self.partial.is_dir() and not self.partial.is_symlink()
        record = _record(self.partial / _JOB) if is_ours else None
        names = {name for name in os.listdir(self.partial) if not re.fullmatch(r"\..*\.tmp", name)} if is_ours else {""}
        if record is None and names:
            raise InputError(f"{printable(self.partial)} is in the way and not from an interrupted run: move it away")
        return record if names > {_JOB} else None

    def _is_complete(self) -> bool:
        """Whether `path` is a whole result with as many frames as this job has."""
        if self.path.is_dir():
            names = [name for name in _content(self.path) if name != BESIDE]
            return names == [self._frame(index).name for index in range(self.total)]
        try:
            with open_frames(self.path) as frames:
                return len(frames) == self.total
        except InputError:
            return False

    def _check_replaceable(self) -> None:
        """InputError: the folder to overwrite holds more than frames, so it may not be a result at all."""
        if self.path.is_dir():
            foreign = [n for n in _content(self.path) if n != BESIDE and not re.fullmatch(r"\d{5,}\.png", n)]
            if foreign:
                raise InputError(
                    f"{printable(self.path)} is not overwritten, it holds more than frames "
                    f"({printable(foreign[0])}): choose another name"
                )

    # --- the end --------------------------------------------------------------------------------------------------

    def _check_frames(self) -> None:
        missing = [index for index in range(self.total) if not self._frame(index).exists()]
        if missing:
            raise InputError(
                f"{len(missing)} of {self.total} frames are missing in {printable(self.partial)} "
                f"(the first is {self._frame(missing[0]).name}): {_ADVICE}"
            )
        size = image_size(self._frame(0))
        for index in range(1, self.total):
            if image_size(self._frame(index)) != size:
                raise InputError(
                    f"{printable(self._frame(index))} has another size than frame 0: "
                    f"delete {printable(self.partial)} and start again"
                )

    def _finish_movie(self) -> None:
        movie = self.partial / f"result{self.path.suffix.lower()}"
        frames = (read_image(self._frame(index)) for index in range(self.total))
        write_movie(movie, frames, self.fps, _ADVICE)
        self._check_still_free()
        movie.replace(self.path)
        with suppress(OSError):  # the result is there; the next run removes the rest
            self._remove_partial()

    def _finish_folder(self) -> None:
        self._check_still_free()
        if _is_taken(self.path):
            self._check_replaceable()
            self.path.rename(self._old)
            try:
                self.partial.rename(self.path)
            except BaseException:
                self._old.rename(self.path)
                raise
            shutil.rmtree(self._old, ignore_errors=True)
        else:
            for name in LITTER if self.path.is_dir() else ():
                (self.path / name).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                self.path.rmdir()  # Windows renames over no folder, not even over an empty one
            self.partial.rename(self.path)
        with suppress(OSError):
            _remove_job_files(self.path)

    def _check_still_free(self) -> None:
        if _is_taken(self.path) and not self.overwrite:
            raise InputError(f"{printable(self.path)} has appeared in the meantime: move it away and {_ADVICE}")

    def _remove_partial(self) -> None:
        """Rename, then remove: a kill in between leaves no partial folder that lacks some of its frames."""
        if self.partial.is_dir():
            self.partial.rename(self._old)
            shutil.rmtree(self._old, ignore_errors=True)

    def _frame(self, index: int) -> Path:
        return self.partial / f"{index:0{max(5, len(str(self.total - 1)))}d}.png"

    def _write_bytes(self, name: str, data: bytes) -> None:
        with atomic(self.partial / name, _ADVICE) as temp:
            temp.write_bytes(data)


def _target(path: str | os.PathLike) -> Path:
    """The absolute path of the result. InputError: no result can have that name."""
    target = Path(os.path.realpath(path) if os.path.islink(path) else os.path.abspath(path))
    kinds = f"give a folder (no ending) or a movie ({', '.join(MOVIE_SUFFIXES)})"
    if _is_movie(target) and target.is_dir():
        raise InputError(f"{printable(target)} is a folder where a movie is to go: choose another name")
    if not _is_movie(target) and target.suffix and not target.is_dir():
        raise InputError(f"cannot write {printable(target)}: unknown ending {target.suffix}, {kinds}")
    if not _is_movie(target) and os.path.lexists(target) and not target.is_dir():
        raise InputError(f"{printable(target)} is a file where a folder of frames is to go: {kinds}")
    if os.path.ismount(target):
        raise InputError(f"{printable(target)} is where a disk is mounted: choose a folder inside it")
    return target


def _is_movie(path: Path) -> bool:
    return path.suffix.lower() in MOVIE_SUFFIXES


def _is_taken(path: Path) -> bool:
    return bool(_content(path)) if path.is_dir() else os.path.lexists(path)


def _content(folder: Path) -> list[str]:
    """The names in a folder, sorted, without LITTER."""
    return sorted(name for name in os.listdir(folder) if name not in LITTER)


def _remove_job_files(folder: Path) -> None:
    for name in (_STATE, _JOB):
        (folder / name).unlink(missing_ok=True)


def _record(file: Path) -> dict[str, Any] | None:
    """The content of a job.json that this class wrote, else None."""
    try:
        record = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(record, dict) and record.get("format") == _FORMAT and isinstance(record.get("job"), dict)
    return record if is_ours and isinstance(record.get("replaces"), bool) else None


def _changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """What differs, for a message: 'steps was 20 and is 25, inputs.reference changed'; '' if nothing does."""
    before, after = _flat(old), _flat(new)
    words = []
    for name in sorted(before.keys() | after.keys()):
        was, now = (json.dumps(side[name]) if name in side else "not set" for side in (before, after))
        if was != now:
            short = len(was) <= 32 and len(now) <= 32
            words.append(f"{printable(name)} was {was} and is {now}" if short else f"{printable(name)} changed")
    return ", ".join(words[:4]) + (f", and {len(words) - 4} more" if len(words) > 4 else "")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return leaves
