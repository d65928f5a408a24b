"""The output of a colored clip, which a run that was stopped can resume.

While a run is working everything is in `<path>.partial/`: the files of each finished frame, `job.json` (what makes the
result: the inputs' hashes and the settings) and `state.safetensors` (what the next segment needs). The name `path`
appears when the result is complete, and an old result stays until then. Beside a result that is complete, the hidden
file `.<name>.lvcd.json` says which job made it and which files are its own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
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
from .frame_formats import FORMAT_OF, FRAME_FORMATS, LAYERS, LayeredFrame, encode_frame, frame_paths
from .images import image_size, read_image
from .movies import write_movie
from .output_job import FINISHED, UNFINISHED, find_changes, read_record
from .output_path import is_image, is_movie, output_path
from .reader import open_frames
from .sound import Sound

_JOB, _STATE, _MADE = "job.json", "state.safetensors", "made.json"
_NUM_FRAMES = "lvcd.frames"  # in the metadata of the state: how many leading frames were there when it was saved
_ADVICE = "run again with --resume"


class ResumableOutput:
    """An output that takes frames 0 .. total-1 in any order, also repeatedly, and becomes `path`.

    path       a folder, a movie (MOVIE_SUFFIXES), or for one frame an image (FORMAT_OF); parents are made
    job        what the frames depend on, as JSON values: a run is only resumed by the same job
    fps        of a movie
    resume     continue from `<path>.partial` if it is there
    overwrite  an existing result may be replaced, at the very end
    names      what the files of a folder are called, one for each frame, without ending; None = 00000, 00001 ...
    kind       the format of frames in a folder, one of FRAME_FORMATS
    sound      of a movie, goes with the frames
    layered    frames come as `LayeredFrame`s, into a folder or an image

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
        names: Sequence[str] | None = None,
        kind: str = "png",
        layered: bool = False,
        sound: Sound | None = None,
    ):
        self.path = output_path(path)
        self.names = (
            list(names) if names is not None else [f"{i:0{max(5, len(str(total - 1)))}d}" for i in range(total)]
        )
        self.kind, self.layered, self.sound = kind, layered, sound
        self.partial = self.path.with_name(self.path.name + ".partial")
        self.total, self.fps, self.overwrite = total, fps, overwrite
        self.done = False
        """True if the complete result was there already (or after `finish`): nothing is left to do."""
        self._job = json.loads(json.dumps({**job, "total": total}))
        self._old = self.path.with_name(f".{self.path.name}.old")  # what is about to be removed, or put back if we die
        self._made = self.path.with_name(f".{self.path.name}.lvcd.json")
        self._lock: Lock | None = None
        self._size: tuple[int, ...] | None = None
        self._num_leading = 0
        if total < 1:
            raise InputError(f"no frames to write to {printable(self.path)}: give at least one")
        self._check_kind()
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

    def write(self, index: int, frame: np.ndarray | LayeredFrame) -> None:
        """Write a frame, uint8 (H W 3) or (H W 4); it is whole on disk when this returns. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        if not 0 <= index < self.total:
            raise IndexError(f"frame {index} of {self.total}")
        pixels = frame.merged if isinstance(frame, LayeredFrame) else frame
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
            raise ValueError(f"want uint8 (H W 3) or (H W 4), got {pixels.dtype} {pixels.shape}")
        if pixels.shape != (self._size or pixels.shape):
            raise ValueError(f"want frames of one size, got {pixels.shape} after {self._size}")
        assert isinstance(frame, LayeredFrame) == self.layered
        self._size = pixels.shape
        for file, data in zip(self._files(index), encode_frame(frame, self.kind)):
            self._write_file(file, data)

    def repeat(self, index: int, of: int) -> None:
        """Write frame `index` as another one that was written. InputError: the disk."""
        for file, other in zip(self._files(index), self._files(of)):
            self._write_file(file, other.read_bytes())

    def write_beside(self, name: str, data: bytes) -> None:
        """Write a file that goes with the frames, into `BESIDE`; a movie keeps none. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        self._write_bytes(f"{BESIDE}/{name}", data)

    def name(self, index: int) -> str:
        """Return what the file of a frame is called, without its ending."""
        return self.names[index]

    def keep(self, indices: Iterable[int]) -> None:
        """Take frames of the result that is to be replaced, byte for byte, with all that lies beside its frames.

        Of a movie pixels are taken: it has to be lossless. What was written already stays.
        InputError: a frame is gone, or damaged, or the disk.
        """
        missing = [index for index in indices if not self.is_written(index)]
        if is_movie(self.path):
            with open_frames(self.path) as old:
                for index in missing:
                    self.write(index, old[index])
            return
        files = [path for index in missing for path in frame_paths(self.names[index], self.kind, self.layered)]
        beside = self.path / BESIDE
        files += [file.relative_to(self.path).as_posix() for file in sorted(beside.rglob("*")) if file.is_file()]
        for name in files:
            old_file, new_file = self.path / name, self.partial / name
            if not old_file.exists():
                raise InputError(f"{printable(old_file)} is gone: paint {printable(self.path)} again with --overwrite")
            if not new_file.exists():
                self._write_file(new_file, old_file.read_bytes())
                os.utime(new_file, ns=(old_file.stat().st_atime_ns, old_file.stat().st_mtime_ns))

    def checkpoint(self, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
        """Save the state that `restore` returns after a stop, in place of the last one. InputError: the disk."""
        assert self._lock is not None, "nothing is left to write"
        while self._num_leading < self.total and self.is_written(self._num_leading):
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
            for file in self._files(index):
                if not file.exists():
                    raise InputError(f"{printable(file)} is gone: {start_again}")
        return tensors, metadata

    def finish(self) -> Path:
        """Make the result of all frames and return its path. InputError: a frame is missing or damaged, or the disk."""
        if self.done:
            return self.path
        assert self._lock is not None, "closed"
        self._check_frames()
        with writing(self.path, _ADVICE):
            self._check_still_free()
            made = {"format": FINISHED, "job": self._job, "files": self._names_of_files()}
            self._write_bytes(_MADE, json.dumps(made, indent=1).encode())
            (self.partial / _MADE).replace(self._made)
            if is_movie(self.path):
                self._finish_movie()
            elif is_image(self.path):
                self._finish_file(self._files(0)[0])
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
        if record is not None and (changes := find_changes(record["job"], self._job)):
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
            self._check_same_job(resume)
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
            new = {"format": UNFINISHED, "replaces": taken, "job": self._job}
            self._write_bytes(_JOB, json.dumps(new, indent=1).encode())

    def _heal(self) -> None:
        """Bring the last steps of a run that was killed in them to an end."""
        if self._old.is_dir() and (is_movie(self.path) or is_image(self.path) or _is_taken(self.path)):
            shutil.rmtree(self._old)
        elif self._old.is_dir():
            self._old.rename(self.path)  # the old result: the new one had not taken its name
        if self.path.is_dir() and read_record(self.path / _JOB) is not None:
            _remove_job_files(self.path)

    def _read_record(self) -> dict[str, Any] | None:
        """The job.json of the interrupted run; None if it wrote nothing else. InputError: it is not a run's folder."""
        if not os.path.lexists(self.partial):
            return None
        is_ours = self.partial.is_dir() and not self.partial.is_symlink()
        record = read_record(self.partial / _JOB) if is_ours else None
        names = {name for name in os.listdir(self.partial) if not re.fullmatch(r"\..*\.tmp", name)} if is_ours else {""}
        if record is None and names:
            raise InputError(f"{printable(self.partial)} is in the way and not from an interrupted run: move it away")
        return record if names > {_JOB} else None

    def _is_complete(self) -> bool:
        """Whether `path` is a whole result with as many frames as this job has."""
        if self.path.is_dir():
            return _content(self.path) == sorted(self._names_of_files())
        try:
            with open_frames(self.path) as clip:
                return len(clip) == self.total
        except InputError:
            return False

    def _check_same_job(self, resume: bool) -> None:
        """InputError: the run is to be resumed, and the result that is complete is another job's."""
        made = read_record(self._made, FINISHED) if resume else None
        if made is not None and (changes := find_changes(made["job"], self._job)):
            raise InputError(
                f"{printable(self.path)} is finished, by another job ({changes}): add --overwrite to replace it or "
                "choose another name"
            )

    def _check_replaceable(self) -> None:
        """InputError: the folder to overwrite holds more than frames, so it may not be a result at all."""
        if self.path.is_dir():
            made = read_record(self._made, FINISHED) or {}
            own = {*map(str, made.get("files", ())), *self._names_of_files()}
            foreign = [
                name for name in _content(self.path) if name not in own and not re.fullmatch(r"\d{5,}\.png", name)
            ]
            if foreign:
                raise InputError(
                    f"{printable(self.path)} is not overwritten, it holds more than frames "
                    f"({printable(foreign[0])}): choose another name"
                )

    # --- the end --------------------------------------------------------------------------------------------------

    def _check_frames(self) -> None:
        missing = [index for index in range(self.total) if not self.is_written(index)]
        if missing:
            raise InputError(
                f"{len(missing)} of {self.total} frames are missing in {printable(self.partial)} "
                f"(the first is {self._files(missing[0])[0].name}): {_ADVICE}"
            )
        files = [file for index in range(self.total) for file in self._files(index)]
        size = image_size(files[0])
        for file in files:
            if image_size(file) != size:
                raise InputError(
                    f"{printable(file)} has another size than frame 0: delete {printable(self.partial)} and start again"
                )

    def _finish_movie(self) -> None:
        movie = self.partial / f"result{self.path.suffix.lower()}"
        frames = (read_image(self._files(index)[0]) for index in range(self.total))
        write_movie(movie, frames, self.fps, _ADVICE, self.sound)
        self._finish_file(movie)

    def _finish_file(self, file: Path) -> None:
        self._check_still_free()
        file.replace(self.path)
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

    def is_written(self, index: int) -> bool:
        """Return whether a frame is on disk, as a whole."""
        return all(file.exists() for file in self._files(index))

    def _check_kind(self) -> None:
        """InputError: the path cannot hold what is to be written."""
        if len(self.names) != self.total or len(set(self.names)) != self.total or self.kind not in FRAME_FORMATS:
            raise ValueError(f"want {self.total} different names and a format of {list(FRAME_FORMATS)}")
        where = printable(self.path)
        if is_movie(self.path):
            if self.layered:
                raise InputError(f"{where} is a movie, which has no layers: give a folder")
            self.kind = "png"
        elif is_image(self.path):
            of_name = FORMAT_OF[self.path.suffix.lower()]
            if self.kind not in ("png", of_name):
                raise InputError(f"{where} is no {self.kind}: give a name that ends in {FRAME_FORMATS[self.kind]}")
            self.kind = of_name
            if self.total != 1:
                raise InputError(f"{where} is one image, and there are {self.total} frames: give a folder or a movie")
            if self.layered and len(frame_paths("", self.kind, True)) > 1:
                raise InputError(f"{where} cannot hold layers: give a folder, .psd or .tiff")

    def _names_of_files(self) -> list[str]:
        return [path for name in self.names for path in frame_paths(name, self.kind, self.layered)]

    def _files(self, index: int) -> list[Path]:
        """The files of a frame in the partial folder."""
        return [self.partial / path for path in frame_paths(self.names[index], self.kind, self.layered)]

    def _write_file(self, file: Path, data: bytes) -> None:
        if file.parent != self.partial:
            with writing(file.parent, _ADVICE):
                file.parent.mkdir(parents=True, exist_ok=True)
        with atomic(file, _ADVICE) as temp:
            temp.write_bytes(data)

    def _write_bytes(self, name: str, data: bytes) -> None:
        self._write_file(self.partial / name, data)


def finished_job(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the job that made a result, as it is recorded beside it; None if there is no result or no record."""
    target = output_path(path)
    record = read_record(target.with_name(f".{target.name}.lvcd.json"), FINISHED) if _is_taken(target) else None
    return None if record is None else record["job"]


def _is_taken(path: Path) -> bool:
    return bool(_content(path)) if path.is_dir() else os.path.lexists(path)


def _content(folder: Path) -> list[str]:
    """The files in a folder and in its folders of layers, sorted, without LITTER; other folders by their names."""
    names: list[str] = []
    for name in os.listdir(folder):
        if name in LAYERS and (folder / name).is_dir():
            names += [f"{name}/{inner}" for inner in os.listdir(folder / name) if inner not in LITTER]
        elif name not in LITTER and name != BESIDE:
            names.append(name)
    return sorted(names)


def _remove_job_files(folder: Path) -> None:
    for name in (_STATE, _JOB):
        (folder / name).unlink(missing_ok=True)
