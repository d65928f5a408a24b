"""One film => its cache: the work of a worker process. The film is decoded once, and a few frames are in memory.

letters: H W pixels.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import printable
from lvcd.io.film import FilmReader
from lvcd.io.images import encode_png_fast
from lvcd.io.reader import open_frames
from lvcd.lineart.extract import ProvidedLineArt, SketchExtractor, make_extractor

from .film_cache import FilmCache, FilmCacheWriter
from .films import Film
from .shots import ShotFinder, ShotRule, ShotSpan

FRAMES_PER_CALL = 8
"""Frames given to an extractor at once."""
PROGRESS_EVERY_SEC = 1.0


@dataclass(frozen=True)
class SketchSource:
    """The source says where the sketches come from. InputError: the settings do not fit together."""

    extractor: str = "xdog"
    """A name of `lineart.extract.BUILT_IN`, a class of one's own as package.module:Class, or given: the film's own line
    art."""
    device: str = "cpu"
    """Of the extractor: cpu or cuda."""
    weights: Path | None = None
    """File of a network's weights."""
    drawings: Path | None = None
    """For given: folder with the line art of every film, a movie or a folder of images of its name."""
    import_path: Path | None = None
    """Folder that a class of one's own is also imported from."""

    def __post_init__(self) -> None:
        if (self.extractor == "given") != bool(self.drawings):
            raise InputError("--sketches and --extractor given belong together: give both or neither")
        if self.extractor == "given" and self.weights:
            raise InputError("line art that is given needs no weights: leave them out")
        for name in ("weights", "drawings", "import_path"):  # workers may start elsewhere
            if (path := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(os.path.abspath(path)))

    def settings(self) -> dict[str, Any]:
        """Return all that the sketches depend on, as JSON values. InputError: see `make_extractor`."""
        return {"name": "given"} if self.extractor == "given" else _made(self).settings


@dataclass(frozen=True)
class FilmJob:
    """A film, and all that a worker needs to know of it. Every path is absolute."""

    film: Film
    cache: Path
    """Of its FilmCache."""
    rule: ShotRule
    short_side: int | None
    """px; None = frames stay as they are."""
    sketches: SketchSource


def process_film(job: FilmJob, check_cancelled: Callable[[], object] = lambda: None) -> None:
    """Write the cache of a film, or what is missing of it. Of a film that cannot be read, the cache says why.

    check_cancelled    is called for every frame, and may raise to stop
    InputError: the disk, an extractor that cannot be made, or drawings that do not fit the film.
    """
    cache = FilmCache(job.cache)
    with FilmCacheWriter(cache) as writer:
        if not cache.finished:
            writer.finish(_FilmPass(job, writer, check_cancelled).run())
        writer.report_progress(1)


class _FilmPass:
    """One pass over a film."""

    def __init__(self, job: FilmJob, writer: FilmCacheWriter, check_cancelled: Callable[[], object]):
        self._job, self._writer, self._check_cancelled = job, writer, check_cancelled
        self._finder = ShotFinder(job.rule)
        self._batch: list[np.ndarray] = []
        self._count = 0  # frames so far
        self._clips: list[list[int]] = []
        self._dropped: dict[str, list[list[int]]] = {}
        self._reported_at = 0.0

    def run(self) -> dict[str, Any]:
        """Return what the manifest says of the film."""
        film = self._job.film
        reader, size = FilmReader(film.path), (0, 0)
        try:
            frames = _opened(reader)
            with _extractor(self._job) as self._extract:
                before: tuple[int, ...] = ()
                for frame in frames:
                    self._check_cancelled()
                    self._report_progress(reader.fraction_read)
                    if frame is not None:
                        frame = flatten(frame)
                        size = frame.shape[:2] if size == (0, 0) else size
                    if before and (frame is None or frame.shape != before):
                        self._close(self._finder.cut())
                    before = () if frame is None else frame.shape
                    if frame is not None:
                        self._add(shrink(frame, self._job.short_side))
                self._close(self._finder.finish())
        except _LeftOut as error:
            film.check_unchanged()
            return {"left_out": str(error).replace(str(film.path), film.name)}
        film.check_unchanged()
        if not self._count:
            return {"left_out": f"not one frame of {printable(film.name)} can be read: copy it again"}
        return {
            "frames": self._count,
            "lost": reader.num_unreadable,
            "height": size[0],
            "width": size[1],
            "fps": reader.fps,
            "clips": self._clips,
            "dropped": self._dropped,
        }

    def _add(self, frame: np.ndarray) -> None:
        self._close(self._finder.add(frame))
        if self._count >= self._writer.done:
            self._batch.append(frame)
        self._count += 1
        if len(self._batch) == FRAMES_PER_CALL:
            self._flush()

    def _flush(self) -> None:
        """Draw and write the frames of the batch, the last that were read."""
        if self._batch:
            drawings = self._extract(self._count - len(self._batch), self._batch)
            for frame, drawing in zip(self._batch, drawings, strict=True):
                self._writer.add(encode_png_fast(frame), encode_png_fast(drawing))
            self._batch = []

    def _close(self, spans: list[ShotSpan]) -> None:
        if spans:
            self._flush()
        for span in spans:
            frames = [span.start, span.stop]
            (self._dropped.setdefault(span.dropped, []) if span.dropped else self._clips).append(frames)
            if span.stop > self._writer.done:
                self._job.film.check_unchanged()
                self._writer.close_shot(span.start, span.stop, not span.dropped)

    def _report_progress(self, fraction: float) -> None:
        if time.monotonic() > self._reported_at + PROGRESS_EVERY_SEC:
            self._reported_at = time.monotonic()
            self._writer.report_progress(fraction)


class _LeftOut(Exception):  # noqa: N818  # it is no error of ours
    """Why a film is of no use."""


def _opened(reader: FilmReader) -> Iterator[np.ndarray | None]:
    """Yield the frames of a film; _LeftOut: it cannot be opened."""
    frames = iter(reader)
    try:
        first = next(frames, None)
    except InputError as error:
        raise _LeftOut(str(error)) from error
    yield first
    yield from frames


@functools.cache
def _made(source: SketchSource) -> SketchExtractor:
    return make_extractor(source.extractor, source.device, source.weights, source.import_path)


@contextmanager
def _extractor(job: FilmJob) -> Iterator[SketchExtractor]:
    """InputError: it cannot be made, or the film's own line art does not fit. _LeftOut: the film is damaged."""
    if job.film.drawings is None:
        yield _made(job.sketches)
        return
    try:
        frames = open_frames(job.film.path)  # whole: from the first damage on frames and drawings could not be paired
    except InputError as error:
        raise _LeftOut(str(error)) from error
    with frames:
        count, size = len(frames), frames.size
    with open_frames(job.film.drawings) as drawings:
        yield ProvidedLineArt(drawings, count, size, printable(job.film.drawings))


def flatten(frame: np.ndarray) -> np.ndarray:
    """Lay uint8 (H W 4) over white => (H W 3); (H W 3) stays as it is."""
    if frame.shape[2] == 3:
        return frame
    alpha = frame[..., 3:].astype(np.float32) / 255
    return np.rint(frame[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def shrink(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """Shrink (H W 3) until its shorter side has at most `short_side` pixels; None = as it is."""
    height, width = frame.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return frame
    scale = short_side / min(height, width)
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
