"""`lvcd prepare`: films to shards of clips with line art. `docs/data-format.md` describes what comes out.

The same films, settings and software give the same bytes, whether a run was interrupted or not and however many work on
it. The way: `films` -> `engines`, each film by one `process` -> `film_cache` -> the shards, here, in the order of the
films.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from lvcd.errors import InputError
from lvcd.io.disk import printable
from lvcd.shards.folder import ShardFolder
from lvcd.shards.format import PIXELS, ShardWriter, clip_key, metadata_json
from lvcd.system import available_cores

from .engines import TICK_SEC, Executor, Wait, engine
from .film_cache import CachedClip, FilmCache
from .films import Film, collect
from .process import FilmJob, SketchSource
from .shots import ShotRule

__all__ = ["PrepareSettings", "ShotRule", "SketchSource", "prepare"]

_SOFTWARE = ("lvcd", "numpy", "pillow", "av", "opencv-python-headless", "torch", "kornia")
_LEARNED = ("controlnet-aux",)
_CONTENT = ("scenedetect", "scenedetect-headless")


@dataclass(frozen=True)
class PrepareSettings:
    """The settings say how films become shards. InputError: a number makes no sense."""

    rule: ShotRule = field(default_factory=ShotRule)
    short_side: int | None = None
    """px: frames are shrunk until their shorter side has so many; None = never. They are never enlarged."""
    shard_bytes: int = 256 * 2**20
    """A shard ends with the clip that brings it to this size."""

    def __post_init__(self) -> None:
        if self.short_side is not None and self.short_side < 16:
            raise InputError(f"frames of {self.short_side} pixels are too small: choose at least 16")
        if self.shard_bytes < 1:
            raise InputError(f"shards of {self.shard_bytes} bytes: choose more than 0")


def prepare(
    inputs: Sequence[Path],
    out: Path,
    settings: PrepareSettings | None = None,
    sketches: SketchSource | None = None,
    workers: int | None = None,
    executor: Executor = "local",
) -> dict[str, Any]:
    """Prepare films, and folders of them, as shards in the folder `out`, and return its manifest.

    workers     processes, each with a film; 1 = this one, None = one for each core
    executor    local, or ray: the cluster of RAY_ADDRESS, or one on this machine
    Of a damaged film what can be read is used; one that cannot be read at all, and a second copy of one, are left out:
    the manifest and stderr say so.
    InputError: no film, no clip in any, a film without its drawings, an extractor that cannot be used, or `out` holds
    something else, is in use or not writable.
    """
    settings, sketches = settings or PrepareSettings(), sketches or SketchSource()
    workers = available_cores() if workers is None else workers
    if workers < 1:
        raise InputError(f"{workers} workers: choose at least 1")
    if executor not in get_args(Executor):
        raise InputError(f"there is no executor {executor!r}: choose {' or '.join(get_args(Executor))}")
    films = collect(inputs, sketches.drawings)
    with ShardFolder(out, PIXELS, _job(films, settings, sketches.settings())) as folder:
        if not folder.finished:
            _Assembly(films, settings, sketches, folder).run(executor, workers)
        return folder.record


def _job(films: Sequence[Film], settings: PrepareSettings, extractor: dict[str, Any]) -> dict[str, Any]:
    """Return all that the shards depend on, without the paths."""
    packages = [*_SOFTWARE, *(_LEARNED if "weights" in extractor else ())]
    packages += _CONTENT if settings.rule.detector == "content" else ()
    software = {}
    for name in packages:
        with suppress(PackageNotFoundError):  # of a package with two names, one is installed
            software[name] = version(name)
    return {
        "films": [
            {"name": film.name, "sha256": film.digest, "bytes": film.bytes, "sketches_sha256": film.drawings_digest}
            for film in films
        ],
        "extractor": extractor,
        "settings": asdict(settings),
        "software": software,
    }


def _counts(films: list[dict[str, Any]]) -> dict[str, Any]:
    """Count the clips and frames that were found, kept, dropped and lost in all films."""

    def total(spans: list[list[int]]) -> dict[str, int]:
        return {"clips": len(spans), "frames": sum(stop - start for start, stop in spans)}

    reasons = sorted({reason for film in films for reason in film.get("dropped", ())})
    return {
        "films": len(films),
        "left_out": sum("left_out" in film for film in films),
        "lost": {"films": sum(film.get("lost", 0) > 0 for film in films),
                 "frames": sum(film.get("lost", 0) for film in films)},
        "kept": total([span for film in films for span in film.get("clips", ())]),
        "dropped": {r: total([span for film in films for span in film.get("dropped", {}).get(r, ())]) for r in reasons},
    }  # fmt: skip


class _Assembly:
    """Writes the shards from the films' caches as these are finished."""

    def __init__(self, films: Sequence[Film], settings: PrepareSettings, sketches: SketchSource, folder: ShardFolder):
        self._films, self._settings, self._sketches, self._folder = films, settings, sketches, folder
        self._written = sum(shard["clips"] for shard in folder.record["shards"])
        self._copies: dict[int, str] = {}  # film => the one it is the same as
        first: dict[str, Film] = {}
        for index, film in enumerate(films):
            if film.digest in first:
                self._copies[index] = first[film.digest].name
            first.setdefault(film.digest, film)
        found, upto = folder.record["films"], 0
        for known, film in enumerate(found):  # films that the finished shards hold all of
            upto += len(film.get("clips", ()))
            if upto > self._written:
                self._todo = range(known, len(films))
                break
        else:
            self._todo = range(len(found), len(films))
        self._before = sum(len(film.get("clips", ())) for film in found[: self._todo.start])
        del found[self._todo.start :]
        self._done, self._ticked = 0, 0.0  # bytes; when the bar was last moved
        folder.scratch.mkdir(exist_ok=True)
        self._caches = {index: FilmCache(folder.scratch / f"{index:05d}") for index in self._todo}

    def run(self, executor: Executor, workers: int) -> None:
        """Write all shards and the manifest. InputError: not one clip."""
        rule, short_side = self._settings.rule, self._settings.short_side
        originals = [index for index in self._todo if index not in self._copies]
        jobs = [
            FilmJob(self._films[film], self._caches[film].path, rule, short_side, self._sketches) for film in originals
        ]
        number = {film: job for job, film in enumerate(originals)}
        total = sum(film.bytes for film in self._films)
        self._done = sum(film.bytes for film in self._films[: self._todo.start])
        with tqdm(total=total, desc="preparing", unit="B", unit_scale=True, file=sys.stderr) as self._bar:
            with engine(executor, workers, jobs, self._tick) as wait:
                self._write(self._clips(lambda film: wait(number[film])))
            self._bar.update(total - self._bar.n)
        record = self._folder.record
        record["counts"] = _counts(record["films"])
        if not record["shards"]:
            raise InputError(_no_clips(record["films"], record["counts"]))
        self._folder.finish()

    def _tick(self) -> None:
        """Move the bar to what is done, of films that are worked on too."""
        if time.monotonic() < self._ticked + TICK_SEC:
            return
        self._ticked = time.monotonic()
        started = [int(file.stem) for file in self._folder.scratch.glob("*.share")]
        working = sum(self._films[film].bytes * self._caches[film].fraction() for film in started)
        self._bar.update(max(0, min(self._bar.total, int(self._done + working)) - self._bar.n))

    def _clips(self, wait: Wait) -> Iterator[tuple[int, CachedClip]]:
        """Yield (film, clip) of all clips that no finished shard holds, in order."""
        count, found = self._before, self._folder.record["films"]
        for index in self._todo:
            film, cache = self._films[index], self._caches[index]
            clips: list[CachedClip] = []
            if index in self._copies:
                found.append({"left_out": f"the same as {self._copies[index]}"})
            else:
                wait(index)
                found.append(cache.summary())
                clips = cache.clips()
            self._print_damage(film, found[-1])
            self._folder.save()
            self._done += film.bytes
            cache.file("share").unlink(missing_ok=True)
            for clip in clips:
                if count >= self._written:
                    yield index, clip
                count += 1

    def _print_damage(self, film: Film, summary: dict[str, Any]) -> None:
        if reason := summary.get("left_out"):
            self._bar.write(f"left out: {printable(film.path)}: {reason}", file=sys.stderr)
        elif summary["lost"]:
            self._bar.write(
                f"{printable(film.path)} is damaged: {summary['lost']} frames are lost, "
                f"{summary['frames']} can be read",
                file=sys.stderr,
            )

    def _write(self, clips: Iterator[tuple[int, CachedClip]]) -> None:
        """Write the shards that are not finished yet."""
        spent = self._todo.start  # caches of films before it are deleted
        clip = next(clips, None)
        while clip is not None:
            full = False
            with self._folder.write_shard() as shard:
                while clip is not None and not full:
                    self._add(shard, *clip)
                    full = shard.size >= self._settings.shard_bytes
                    clip = None if full else next(clips, None)
            if full:
                clip = next(clips, None)
            for index in range(spent, clip[0] if clip else self._todo.stop):
                self._caches[index].delete()
            spent = clip[0] if clip else self._todo.stop

    def _add(self, shard: ShardWriter, index: int, clip: CachedClip) -> None:
        film, summary = self._films[index], self._folder.record["films"][index]
        metadata = {
            "film": film.name,
            "film_sha256": film.digest,
            "start": clip.start,
            "frames": clip.stop - clip.start,
            "fps": summary["fps"],
            "sketches": self._folder.record["job"]["extractor"]["name"],
        }
        key = clip_key(film.name, film.digest, clip.start)
        shard.add_files(key, {"json": metadata_json(metadata)})
        for number, (frame, drawing) in enumerate(self._caches[index].png_pairs(clip)):
            shard.add_files(key, {f"frame{number:03d}.png": frame, f"sketch{number:03d}.png": drawing})


def _no_clips(films: list[dict[str, Any]], counts: dict[str, Any]) -> str:
    reasons = [film["left_out"] for film in films if "left_out" in film][:1]
    reasons += [f"{n['clips']} clips are {reason}" for reason, n in counts["dropped"].items()]
    return f"not one clip to keep ({', '.join(reasons)}): give other films, or change --cut-resolution or --shortest"
