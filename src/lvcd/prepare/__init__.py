"""`lvcd prepare`: films to shards of clips with line art. `data/README.md` describes what comes out.

The same films, settings and software give the same bytes, whether a run was interrupted or not. A film is decoded three
times: to check it, to find its shots and to write its clips; no more than a few of its frames are in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lvcd.data.extract import Extract, xdog_settings
from lvcd.data.shards import ShardWriter, clip_key
from lvcd.data.shots import ShotRule, find_clips
from lvcd.errors import InputError
from lvcd.video.disk import atomic, named
from lvcd.video.files import FrameReader, open_frames

from .films import Film, collect, opaque, shrink, sketches
from .folder import ShardFolder, sha256

_SOFTWARE = ("lvcd", "numpy", "pillow", "av", "opencv-python-headless", "torch", "kornia")


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


def prepare(inputs: Sequence[Path], out: Path, settings: Settings, drawings: Path | None = None) -> dict[str, Any]:
    """Films, or folders of them => the manifest of the finished shards in `out`.

    drawings    folder with the line art of every film, a movie or a folder of images of its name; None = xdog
    A film that is damaged, and a second copy of one, are left out: the manifest and stderr name them.
    InputError: no film, no clip in any, a film without its drawings, or `out` is taken, in use or not writable.
    """
    films = collect(inputs, drawings)
    with ShardFolder(out, _job(films, settings, drawings is not None)) as folder:
        if not folder.finished:
            _find(films, settings, folder)
            folder.record["counts"] = _counts(folder.record["films"])
            _write(films, settings, folder)
            folder.finish()
        return folder.record


def _job(films: Sequence[Film], settings: Settings, given: bool) -> dict[str, Any]:
    """All that the shards depend on, without the paths."""
    return {
        "films": [
            {"name": film.name, "sha256": film.digest, "bytes": film.bytes, "sketches_sha256": film.drawings_digest}
            for film in films
        ],
        "extractor": {"name": "given"} if given else {"name": "xdog", **xdog_settings()},
        "settings": asdict(settings),
        "software": {name: version(name) for name in _SOFTWARE},
    }


def _counts(films: list[dict[str, Any]]) -> dict[str, Any]:
    """What was found, kept and dropped in all films; clips and frames."""

    def total(spans: list[list[int]]) -> dict[str, int]:
        return {"clips": len(spans), "frames": sum(stop - start for start, stop in spans)}

    reasons = sorted({why for film in films for why in film.get("dropped", ())})
    return {
        "films": len(films),
        "left_out": sum("left_out" in film for film in films),
        "kept": total([span for film in films for span in film.get("clips", ())]),
        "dropped": {w: total([span for film in films for span in film.get("dropped", {}).get(w, ())]) for w in reasons},
    }


# --- first pass: the clips of every film ------------------------------------------------------------------------------


def _find(films: Sequence[Film], settings: Settings, folder: ShardFolder) -> None:
    """InputError: there are none in any."""
    found, seen = folder.record["films"], dict[str, Film]()
    with tqdm(
        total=sum(f.bytes for f in films), desc="finding shots", unit="B", unit_scale=True, file=sys.stderr
    ) as bar:
        for index, film in enumerate(films):
            end = sum(f.bytes for f in films[: index + 1])

            def progress(n: float, end: int = end) -> None:
                bar.update(min(n, end - bar.n))

            if index >= len(found):
                first = seen.get(film.digest)
                found.append(
                    {"left_out": f"the same as {first.name}"} if first else _clips(film, settings.rule, progress)
                )
                folder.save()
            if why := found[index].get("left_out"):
                bar.write(f"left out: {named(film.path)}: {why}", file=sys.stderr)
            bar.update(end - bar.n)
            seen.setdefault(film.digest, film)
    if not any(film.get("clips") for film in found):
        why = [film["left_out"] for film in found if "left_out" in film][:1]
        why += [f"{n['clips']} clips are {reason}" for reason, n in _counts(found)["dropped"].items()]
        raise InputError(
            f"not one clip to keep ({', '.join(why)}): give other films, or change --cut-resolution or --shortest"
        )


def _clips(film: Film, rule: ShotRule, progress: Callable[[float], object]) -> dict[str, Any]:
    """What the record says of a film. progress: called with bytes, as they are done."""
    try:
        frames = open_frames(film.path)
    except InputError as error:
        return {"left_out": str(error).replace(str(film.path), film.name)}
    kept: list[list[int]] = []
    dropped: dict[str, list[list[int]]] = {}

    def told() -> Iterator[np.ndarray]:
        for frame in opaque(frames):
            yield frame
            progress(film.bytes / len(frames))

    with frames, sketches(film, frames):  # drawings that do not fit are told before the work
        for clip in find_clips(told(), rule):
            (dropped.setdefault(clip.dropped, []) if clip.dropped else kept).append([clip.start, clip.stop])
        height, width = frames.size
        size = {"frames": len(frames), "height": height, "width": width, "fps": frames.fps}
    return {**size, "clips": kept, "dropped": dropped}


# --- second pass: the shards ------------------------------------------------------------------------------------------


def _write(films: Sequence[Film], settings: Settings, folder: ShardFolder) -> None:
    """The shards that are not finished yet."""
    found, shards = folder.record["films"], folder.record["shards"]
    clips = [(index, *span) for index, film in enumerate(found) for span in film.get("clips", ())]
    clips = clips[sum(shard["clips"] for shard in shards) :]
    frames = sum(stop - start for _, start, stop in clips)
    with _Source(films) as source, tqdm(total=frames, desc="writing shards", unit="frame", file=sys.stderr) as bar:

        def pairs(index: int, start: int, stop: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
            for pair in source.pairs(index, start, stop, settings.short_side):
                yield pair
                bar.update()

        while clips:
            file = folder.path / f"shard-{len(shards):05d}.tar"
            written = 0
            with atomic(file, "run again: what is finished stays") as temp:
                with temp.open("wb") as stream, ShardWriter(stream) as shard:
                    while written < len(clips) and shard.size < settings.shard_bytes:
                        index, start, stop = clips[written]
                        key = clip_key(films[index].name, films[index].digest, start)
                        about = _about(
                            films[index], found[index], start, stop, folder.record["job"]["extractor"]["name"]
                        )
                        shard.add(key, about, pairs(index, start, stop))
                        written += 1
                record = {"name": file.name, "sha256": sha256(temp), "bytes": temp.stat().st_size, "clips": written}
            shards.append(record)
            folder.save()
            clips = clips[written:]


def _about(film: Film, found: dict[str, Any], start: int, stop: int, extractor: str) -> dict[str, Any]:
    """The JSON of a clip."""
    return {
        "film": film.name,
        "film_sha256": film.digest,
        "start": start,
        "frames": stop - start,
        "fps": found["fps"],
        "sketches": extractor,
    }


class _Source:
    """Frames and drawings of any film; one is open at a time."""

    def __init__(self, films: Sequence[Film]):
        self._films = films
        self._open: tuple[int, FrameReader, Extract] | None = None
        self._stack = ExitStack()

    def __enter__(self) -> _Source:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def pairs(
        self, index: int, start: int, stop: int, short_side: int | None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Frames start .. stop - 1 of film `index`, uint8 (H W 3), with their drawings (H W)."""
        if self._open is None or self._open[0] != index:
            self._stack.close()
            frames = self._stack.enter_context(open_frames(self._films[index].path))
            self._open = index, frames, self._stack.enter_context(sketches(self._films[index], frames))
        _, frames, extract = self._open
        for number, frame in enumerate(opaque(frames[i] for i in range(start, stop)), start):
            small = shrink(frame, short_side)
            yield small, extract(number, small)
