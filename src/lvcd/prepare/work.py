"""One film => its part: what a worker process does. The film is decoded once, and a few frames are in memory.

letters: H W pixels.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import named
from lvcd.io.film import Walk
from lvcd.io.images import encode_png_fast
from lvcd.io.reader import open_frames
from lvcd.lineart.extract import Extractor, Name, given, make_extractor

from .films import Film
from .part import Part, PartWriter
from .shots import Clip, ShotFinder, ShotRule

BATCH = 8
"""Frames given to an extractor at once."""


@dataclass(frozen=True)
class Work:
    """A film, and all that a worker needs to know of it. Every path is absolute."""

    film: Film
    part: Path
    rule: ShotRule
    short_side: int | None
    extractor: str
    device: str
    weights: Path | None


def work_through(work: Work, breathe: Callable[[], object] = lambda: None) -> None:
    """Writes the part of a film, or what is missing of it. A film that cannot be read gets a part that says why.

    breathe    called for every frame: may raise, to stop
    InputError: the disk, an extractor that cannot be made, or drawings that do not fit the film.
    """
    part = Part(work.part)
    with PartWriter(part) as writer:
        if not part.finished:
            writer.finish(_Pass(work, writer, breathe).about())
        writer.tell(1)


class _Pass:
    """One pass over a film."""

    def __init__(self, work: Work, writer: PartWriter, breathe: Callable[[], object]):
        self._work, self._writer, self._breathe = work, writer, breathe
        self._finder = ShotFinder(work.rule)
        self._batch: list[np.ndarray] = []
        self._count = 0  # frames so far
        self._kept: list[list[int]] = []
        self._dropped: dict[str, list[list[int]]] = {}
        self._told = 0.0

    def about(self) -> dict[str, Any]:
        """=> what the manifest says of the film"""
        film = self._work.film
        walk, size = Walk(film.path), (0, 0)
        try:
            frames = _opened(walk)
            with _extractor(self._work) as self._extract:
                before: tuple[int, ...] = ()
                for frame in frames:
                    self._breathe()
                    self._tell(walk.done)
                    if frame is not None:
                        frame = opaque(frame)
                        size = frame.shape[:2] if size == (0, 0) else size
                    if before and (frame is None or frame.shape != before):
                        self._close(self._finder.cut())
                    before = () if frame is None else frame.shape
                    if frame is not None:
                        self._add(shrink(frame, self._work.short_side))
                self._close(self._finder.finish())
        except _LeftOut as error:
            return {"left_out": str(error).replace(str(film.path), film.name)}
        if not self._count:
            return {"left_out": f"not one frame of {named(film.name)} can be read: copy it again"}
        return {
            "frames": self._count,
            "lost": walk.lost,
            "height": size[0],
            "width": size[1],
            "fps": walk.fps,
            "clips": self._kept,
            "dropped": self._dropped,
        }

    def _add(self, frame: np.ndarray) -> None:
        self._close(self._finder.add(frame))
        if self._count >= self._writer.done:
            self._batch.append(frame)
        self._count += 1
        if len(self._batch) == BATCH:
            self._flush()

    def _flush(self) -> None:
        """The frames of the batch, the last that were seen, go to disk."""
        if self._batch:
            drawings = self._extract(self._count - len(self._batch), self._batch)
            for frame, drawing in zip(self._batch, drawings, strict=True):
                self._writer.add(encode_png_fast(frame), encode_png_fast(drawing))
            self._batch = []

    def _close(self, clips: list[Clip]) -> None:
        if clips:
            self._flush()
        for clip in clips:
            span = [clip.start, clip.stop]
            (self._dropped.setdefault(clip.dropped, []) if clip.dropped else self._kept).append(span)
            if clip.stop > self._writer.done:
                self._writer.close(clip.start, clip.stop, not clip.dropped)

    def _tell(self, share: float) -> None:
        if time.monotonic() > self._told + 1:
            self._told = time.monotonic()
            self._writer.tell(share)


class _LeftOut(Exception):  # noqa: N818  # it is no error of ours
    """Why a film is of no use."""


def _opened(walk: Walk) -> Iterator[np.ndarray | None]:
    """The frames of a film; _LeftOut: it cannot be opened."""
    frames = iter(walk)
    try:
        first = next(frames, None)
    except InputError as error:
        raise _LeftOut(str(error)) from error
    yield first
    yield from frames


_made = functools.cache(make_extractor)


@contextmanager
def _extractor(work: Work) -> Iterator[Extractor]:
    """InputError: it cannot be made, or the film's own line art does not fit. _LeftOut: the film is damaged."""
    if work.film.drawings is None:
        yield _made(cast(Name, work.extractor), work.device, work.weights)
        return
    try:
        frames = open_frames(work.film.path)  # whole: from the first damage on frames and drawings could not be paired
    except InputError as error:
        raise _LeftOut(str(error)) from error
    with frames:
        count, size = len(frames), frames.size
    with open_frames(work.film.drawings) as drawings:
        yield given(drawings, count, size, named(work.film.drawings))


def opaque(frame: np.ndarray) -> np.ndarray:
    """uint8 (H W 3) or (H W 4) => (H W 3): what is transparent becomes white."""
    if frame.shape[2] == 3:
        return frame
    alpha = frame[..., 3:].astype(np.float32) / 255
    return np.rint(frame[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def shrink(frame: np.ndarray, short_side: int | None) -> np.ndarray:
    """(H W 3) => the same picture with a shorter side of at most `short_side` pixels; None = as it is."""
    height, width = frame.shape[:2]
    if short_side is None or min(height, width) <= short_side:
        return frame
    scale = short_side / min(height, width)
    return cv2.resize(frame, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_AREA)
