"""The folder that shards are written to: one run at a time, and a record of what is finished.

`manifest.json` appears when all is done. Until then the same record is `.prepare.json`, replaced whole after each step,
and what is finished of films that the shards do not have yet is in `.parts-` with the first digits of the job's hash.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.disk import Lock, atomic, named, reading, sha256, writing
from lvcd.prepare.part import Part

FORMAT = "lvcd shards 1"


class ShardFolder:
    """Opens `path`, or makes it, for a job; use it in a `with`.

    job    all that the shards depend on, as JSON values
    InputError: in use by another run, not writable, or it holds the shards of another job.
    """

    def __init__(self, path: Path, job: dict[str, Any]):
        self.path = Path(os.path.abspath(path))
        self._manifest, self._progress = path / "manifest.json", path / ".prepare.json"
        self.finished = False
        """Whether everything is there already."""
        self.record: dict[str, Any] = {"format": FORMAT, "job": json.loads(json.dumps(job)), "films": [], "shards": []}
        """films: what was found in each so far; shards: the finished ones, in order."""
        content = json.dumps(self.record["job"], sort_keys=True).encode()
        self._parts = self.path / f".parts-{hashlib.sha256(content).hexdigest()[:16]}"
        busy = f"another run is preparing {named(path)} right now: wait for it or choose another folder"
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(path / ".lock", busy)
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
        """Let other runs have it; what is finished stays."""
        self._lock.release()

    def part(self, film: int) -> Part:
        """Where work on film number `film` goes."""
        return Part(self._parts / f"{film:05d}")

    def shares(self) -> dict[int, float]:
        """Of each film that is worked on, or done and not yet taken, how much is done."""
        return {int(file.stem): Part(file.with_suffix("")).share() for file in self._parts.glob("*.share")}

    def save(self) -> None:
        """Put the record on disk. InputError: it cannot be written."""
        _write(self._progress, self.record)

    def finish(self) -> None:
        """All is done: the record becomes the manifest."""
        _write(self._manifest, self.record)
        self._clean()

    def _clean(self) -> None:
        """Only shards and manifest stay."""
        with writing(self.path):
            self._progress.unlink(missing_ok=True)
            shutil.rmtree(self._parts, ignore_errors=True)

    def _start(self) -> None:
        with writing(self.path):
            for leftover in self.path.glob(".*.tmp"):  # of a write that was killed
                leftover.unlink()
        file = next((file for file in (self._manifest, self._progress) if file.exists()), None)
        if file is not None:
            self._go_on(file)
        elif any(self.path.glob("shard-*.tar")):
            raise InputError(f"{named(self.path)} has shards without a manifest: choose another folder")
        if not self.finished:
            self._make_parts()

    def _make_parts(self) -> None:
        with writing(self.path):
            for other in self.path.glob(".parts-*"):
                if other != self._parts:
                    shutil.rmtree(other)
            self._parts.mkdir(exist_ok=True)
            for leftover in self._parts.glob(".*.tmp"):
                leftover.unlink()

    def _go_on(self, file: Path) -> None:
        new = self.record
        with reading("record", file, "delete the folder and prepare again"):
            self.record = json.loads(file.read_bytes())
            if self.record["format"] != FORMAT:
                raise ValueError(f"it is no {FORMAT}")
            changed = [name for name in new["job"] if self.record["job"][name] != new["job"][name]]
        if changed and not self.record["shards"]:
            self.record = new  # the other job came to nothing
        elif changed:
            raise InputError(
                f"{named(self.path)} holds shards of another job, with other {' and '.join(changed)}: "
                "choose another folder, or delete it"
            )
        shards = self.record["shards"]
        sound = next((i for i, shard in enumerate(shards) if not self._is_sound(shard)), len(shards))
        self.finished = file == self._manifest and sound == len(shards)
        if self.finished:
            self._clean()
            return
        if sound < len(shards):
            self.record["shards"] = shards[:sound]  # from the first that is gone or damaged, all are written again
            self.save()
            self._manifest.unlink(missing_ok=True)

    def _is_sound(self, shard: dict[str, Any]) -> bool:
        file = self.path / shard["name"]
        return file.is_file() and sha256(file) == shard["sha256"]


def _write(file: Path, record: dict[str, Any]) -> None:
    with atomic(file, "run again") as temp:
        temp.write_text(json.dumps(record, indent=1) + "\n")
