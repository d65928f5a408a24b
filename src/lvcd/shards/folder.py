"""The folder that shards are written to: one run at a time, a record of what is finished, and resuming from there.

`manifest.json` appears when all is done. Until then the same record is in `.prepare.json` or `.encode.json`, replaced
whole after each step. What a run keeps of unfinished work is in `.parts-` with the first digits of the job's hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.disk import Lock, atomic, printable, reading, sha256, writing

from .format import PIXELS, PROGRESS, ShardWriter

_SHARD_FIELDS = ("name", "sha256", "bytes", "clips")
_JOB_LABELS = {"source_sha256": "source shards", "stage": "frame size", "encoders": "model"}


class ShardFolder:
    """Opens a folder for a job, or makes it; use it in a `with`.

    format     PIXELS or ENCODED
    job        all that the shards depend on, as JSON values
    planned    name -> clips of every shard that there will be. Each is independent: those that are whole are kept.
               None: shards follow one another, and from the first that is damaged all are written again.
    InputError: in use by another run, not writable, or it holds shards of another job.
    """

    def __init__(self, path: Path, format: str, job: dict[str, Any], planned: Mapping[str, int] | None = None):
        self.path, self._format, self._planned = Path(os.path.abspath(path)), format, planned
        self._manifest, self._progress = self.path / "manifest.json", self.path / PROGRESS[format]
        self._job: dict[str, Any] = json.loads(json.dumps(job))
        self.record: dict[str, Any] = {
            "format": format,
            **({"job": self._job, "films": []} if format == PIXELS else self._job),
            "shards": [],
        }
        """The manifest so far: `shards` are the finished ones in order, `films` what was found in each film."""
        self.finished = False
        """Whether everything was there already."""
        digest = hashlib.sha256(json.dumps(self._job, sort_keys=True).encode()).hexdigest()
        self.scratch = self.path / f".parts-{digest[:16]}"
        """Where the caller may keep unfinished work of this job. It is removed when the job is finished."""
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(
                path / ".lock", f"another run is writing to {printable(path)} right now: wait for it, or stop it"
            )
        try:
            self._start()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ShardFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the folder for other runs; what is finished stays."""
        self._lock.release()

    @property
    def missing(self) -> list[str]:
        """Names of the planned shards that are not finished. A shard that lacks clips is never finished: what was
        damaged in its source may be whole by now."""
        clips = {shard["name"]: shard["clips"] for shard in self.record["shards"]}
        return [name for name, count in (self._planned or {}).items() if clips.get(name) != count]

    @contextmanager
    def write_shard(self, name: str | None = None) -> Iterator[ShardWriter]:
        """Write a shard, by default the next in number. It appears whole, and in the record, when the block ends.

        InputError: the disk.
        """
        file = self.path / (name or f"shard-{len(self.record['shards']):05d}.tar")
        with atomic(file, "run again: what is finished stays") as temp:
            with temp.open("wb") as stream, ShardWriter(stream) as writer:
                yield writer
            shard = {"name": file.name, "sha256": sha256(temp), "bytes": temp.stat().st_size, "clips": writer.clips}
        shards = {shard["name"]: shard for shard in [*self.record["shards"], shard]}
        self.record["shards"] = [shards[name] for name in self._planned or shards if name in shards]
        self.save()

    def save(self) -> None:
        """Write the record to disk. InputError: it cannot be written."""
        self._write(self._progress)

    def finish(self) -> None:
        """Turn the record into the manifest: all is done."""
        self._write(self._manifest)
        self._clean()

    def _start(self) -> None:
        names = ("manifest.json", self._progress.name, *(self._planned or ["shard-*.tar"]))
        with writing(self.path):
            for leftover in (file for name in names for file in self.path.glob(f".{name}.*.tmp")):
                leftover.unlink()  # of a write that was killed
        file = next((file for file in (self._manifest, self._progress) if file.exists()), None)
        if file is not None:
            self._resume(file)
        elif shard := self._stray_shard():
            raise InputError(
                f"{printable(self.path)} has {shard} but no manifest: move it away, or choose another folder"
            )
        if self.finished:
            self._clean()
            return
        self.save()  # before the first shard; the manifest comes when all is done
        with writing(self.path):
            self._manifest.unlink(missing_ok=True)
            for other in self.path.glob(".parts-*"):
                if other != self.scratch:
                    shutil.rmtree(other)
            for leftover in self.scratch.glob(".*.tmp"):
                leftover.unlink()

    def _stray_shard(self) -> str | None:
        if self._planned is None:
            return next((file.name for file in sorted(self.path.glob("shard-*.tar"))), None)
        return next((name for name in self._planned if (self.path / name).exists()), None)

    def _resume(self, file: Path) -> None:
        """Take over what is finished and sound."""
        with reading("record", file, f"delete {printable(self.path)} and run again"):
            old = json.loads(file.read_bytes())
            if old["format"] != self._format:
                raise ValueError(f"its format is {str(old['format'])[:40]!r}, not {self._format!r}")
            old_job = old["job"] if self._format == PIXELS else old
            changed = [name for name, value in self._job.items() if old_job.get(name) != value]
            shards = [{name: shard[name] for name in _SHARD_FIELDS} for shard in old["shards"]]
        if changed and not shards:
            return  # the other job came to nothing
        if changed:
            labels = " and ".join(_JOB_LABELS.get(name, name) for name in changed)
            advice = "delete it, or choose another folder" if self._planned is None else "delete it, then run again"
            raise InputError(f"{printable(self.path)} holds shards of another job, with other {labels}: {advice}")
        if self._planned is None:
            count = next((i for i, shard in enumerate(shards) if not self._is_sound(shard)), len(shards))
            complete, shards = count == len(shards), shards[:count]
        else:
            found = {shard["name"]: shard for shard in shards}
            shards = [found[name] for name in self._planned if name in found and self._is_sound(found[name])]
            complete = True  # see `missing`
        self.record = old | {"shards": shards}
        self.finished = file == self._manifest and complete and not self.missing

    def _is_sound(self, shard: dict[str, Any]) -> bool:
        file = self.path / shard["name"]
        return file.is_file() and sha256(file) == shard["sha256"]

    def _clean(self) -> None:
        """Leave only shards and manifest."""
        with writing(self.path):
            self._progress.unlink(missing_ok=True)
            shutil.rmtree(self.scratch, ignore_errors=True)

    def _write(self, file: Path) -> None:
        with atomic(file, "run again") as temp:
            temp.write_text(json.dumps(self.record, indent=1) + "\n")
