"""`lvcd prepare`: films to shards of clips with line art. `data/README.md` describes what comes out.

The same films, settings and software give the same bytes, whether a run was interrupted or not and however many work on
it. The way: `films` -> `engines`, each film in one `work` -> `part` -> the shards, here, in the order of the films.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, cast

from tqdm import tqdm

from lvcd.errors import InputError
from lvcd.io.disk import named
from lvcd.lineart.extract import Name, make_extractor
from lvcd.shards.folder import ShardFolder
from lvcd.shards.format import PIXELS, ShardWriter, clip_key, metadata_json

from .engines import TICK, Executor, Wait, engine
from .films import Film, collect
from .part import Kept, Part, pairs
from .shots import ShotRule
from .work import Work

_SOFTWARE = ("lvcd", "numpy", "pillow", "av", "opencv-python-headless", "torch", "kornia")
_LEARNED = ("controlnet-aux",)
_CONTENT = ("scenedetect", "scenedetect-headless")


@dataclass(frozen=True)
class Settings:
    """How shards are made."""

    rule: ShotRule = field(default_factory=ShotRule)
    short_side: int | None = None
    """Frames are shrunk until their shorter side has so many pixels; None = never. They are never enlarged."""
    shard_bytes: int = 256 * 2**20
    """A shard ends with the clip that brings it to this size."""

    def __post_init__(self) -> None:
        if self.short_side is not None and self.short_side < 16:
            raise InputError(f"frames of {self.short_side} pixels are too small: choose at least 16")
        if self.shard_bytes < 1:
            raise InputError(f"shards of {self.shard_bytes} bytes: choose more than 0")


@dataclass(frozen=True)
class Drawing:
    """Who draws the lines."""

    extractor: str = "xdog"
    """xdog, informative-drawings, anime2sketch, or given: the film's own line art."""
    device: str = "cpu"
    weights: Path | None = None
    drawings: Path | None = None
    """given: folder with the line art of every film, a movie or a folder of images of its name."""

    def settings(self) -> dict[str, Any]:
        """All that the drawings depend on. InputError: no such extractor or device, or its weights do not fit."""
        if self.extractor == "given":
            return {"name": "given"}
        return make_extractor(cast(Name, self.extractor), self.device, self.weights).settings


def prepare(
    inputs: Sequence[Path],
    out: Path,
    settings: Settings,
    drawing: Drawing | None = None,
    workers: int = 1,
    executor: Executor = "local",
) -> dict[str, Any]:
    """Films, or folders of them => the manifest of the finished shards in `out`.

    workers    processes, each with a film; 1 = this one
    Of a damaged film what can be read is used, and one that cannot be read at all and a second copy of one are left
    out: the manifest and stderr say so.
    InputError: no film, no clip in any, a film without its drawings, or `out` is taken, in use or not writable.
    """
    drawing = drawing or Drawing()
    films = collect(inputs, drawing.drawings)
    with ShardFolder(out, PIXELS, _job(films, settings, drawing.settings())) as folder:
        if not folder.finished:
            _Assembly(films, settings, drawing, folder).run(executor, workers)
        return folder.record


def _job(films: Sequence[Film], settings: Settings, extractor: dict[str, Any]) -> dict[str, Any]:
    """All that the shards depend on, without the paths."""
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
    """What was found, kept, dropped and lost in all films; clips and frames."""

    def total(spans: list[list[int]]) -> dict[str, int]:
        return {"clips": len(spans), "frames": sum(stop - start for start, stop in spans)}

    reasons = sorted({why for film in films for why in film.get("dropped", ())})
    return {
        "films": len(films),
        "left_out": sum("left_out" in film for film in films),
        "lost": {"films": sum(film.get("lost", 0) > 0 for film in films),
                 "frames": sum(film.get("lost", 0) for film in films)},
        "kept": total([span for film in films for span in film.get("clips", ())]),
        "dropped": {w: total([span for film in films for span in film.get("dropped", {}).get(w, ())]) for w in reasons},
    }  # fmt: skip


class _Assembly:
    """The shards, from the films' parts as these are finished."""

    def __init__(self, films: Sequence[Film], settings: Settings, drawing: Drawing, folder: ShardFolder):
        self._films, self._settings, self._drawing, self._folder = films, settings, drawing, folder
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
        self._parts = {index: Part(folder.scratch / f"{index:05d}") for index in self._todo}

    def run(self, executor: Executor, workers: int) -> None:
        """InputError: not one clip."""
        d, s = self._drawing, self._settings
        own = [index for index in self._todo if index not in self._copies]
        works = [
            Work(self._films[i], self._parts[i].name, s.rule, s.short_side, d.extractor, d.device, d.weights)
            for i in own
        ]
        number = {film: work for work, film in enumerate(own)}
        total = sum(film.bytes for film in self._films)
        self._done = sum(film.bytes for film in self._films[: self._todo.start])
        with tqdm(total=total, desc="preparing", unit="B", unit_scale=True, file=sys.stderr) as self._bar:
            with engine(executor, workers, works, self._tick) as wait:
                self._write(self._clips(lambda film: wait(number[film])))
            self._bar.update(total - self._bar.n)
        record = self._folder.record
        record["counts"] = _counts(record["films"])
        if not record["shards"]:
            raise InputError(_nothing(record["films"], record["counts"]))
        self._folder.finish()

    def _tick(self) -> None:
        """The bar shows what is done, of films that are worked on too."""
        if time.monotonic() < self._ticked + TICK:
            return
        self._ticked = time.monotonic()
        started = [int(file.stem) for file in self._folder.scratch.glob("*.share")]
        working = sum(self._films[film].bytes * self._parts[film].share() for film in started)
        self._bar.update(max(0, min(self._bar.total, int(self._done + working)) - self._bar.n))

    def _clips(self, wait: Wait) -> Iterator[tuple[int, Kept]]:
        """(film, clip) of all clips that no finished shard holds, in order."""
        count, found = self._before, self._folder.record["films"]
        for index in self._todo:
            film, part = self._films[index], self._parts[index]
            clips: list[Kept] = []
            if index in self._copies:
                found.append({"left_out": f"the same as {self._copies[index]}"})
            else:
                wait(index)
                found.append(part.about())
                clips = part.kept()
            self._tell(film, found[-1])
            self._folder.save()
            self._done += film.bytes
            part.file("share").unlink(missing_ok=True)
            for clip in clips:
                if count >= self._written:
                    yield index, clip
                count += 1

    def _tell(self, film: Film, about: dict[str, Any]) -> None:
        if why := about.get("left_out"):
            self._bar.write(f"left out: {named(film.path)}: {why}", file=sys.stderr)
        elif about["lost"]:
            self._bar.write(
                f"{named(film.path)} is damaged: {about['lost']} frames are lost, {about['frames']} can be read",
                file=sys.stderr,
            )

    def _write(self, clips: Iterator[tuple[int, Kept]]) -> None:
        """The shards that are not finished yet."""
        spent = self._todo.start
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
                self._parts[index].delete()
            spent = clip[0] if clip else self._todo.stop

    def _add(self, shard: ShardWriter, index: int, clip: Kept) -> None:
        film, about = self._films[index], self._folder.record["films"][index]
        metadata = {
            "film": film.name,
            "film_sha256": film.digest,
            "start": clip.start,
            "frames": clip.stop - clip.start,
            "fps": about["fps"],
            "sketches": self._drawing.extractor,
        }
        key = clip_key(film.name, film.digest, clip.start)
        shard.add_files(key, {"json": metadata_json(metadata)})
        for number, (frame, drawing) in enumerate(pairs(self._parts[index], clip)):
            shard.add_files(key, {f"frame{number:03d}.png": frame, f"sketch{number:03d}.png": drawing})


def _nothing(films: list[dict[str, Any]], counts: dict[str, Any]) -> str:
    why = [film["left_out"] for film in films if "left_out" in film][:1]
    why += [f"{n['clips']} clips are {reason}" for reason, n in counts["dropped"].items()]
    return f"not one clip to keep ({', '.join(why)}): give other films, or change --cut-resolution or --shortest"
