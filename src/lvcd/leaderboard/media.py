"""Clips for a page: the worst of each row and a few others, as many as fit, each as data: URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.sheets import pick
from lvcd.video.disk import named, reading
from lvcd.video.files import open_frames

from .table import Board, loss

WORST = 10
"""Clips of each row, by its board's main metric."""
SPREAD = 4
"""Clips besides, evenly over the test set."""
MIME = {".webm": "video/webm", ".png": "image/png"}


def main_metric(board: Board) -> str | None:
    """The first column that scores clips and has a better; None: there is none."""
    scored = {column for row in board.rows for clip in row.clips for column in clip["scores"]}
    return next((column for column, better in board.columns.items() if column in scored and better is not None), None)


def keys(board: Board) -> list[str]:
    """Of all clips, in the order of the test set."""
    return list(dict.fromkeys(clip["key"] for row in board.rows for clip in row.clips))


def choose(board: Board) -> list[str]:
    """Clips worth showing, the first of them first: evenly spread ones, then the worst of each row in turn."""
    every, column = keys(board), main_metric(board)
    if column is None:
        return [every[i] for i in pick(len(every), SPREAD + WORST)]
    better = board.columns[column]
    worst = []
    for row in board.rows:
        scores = {clip["key"]: value for clip in row.clips if (value := clip["scores"].get(column)) is not None}
        worst.append(sorted(scores, key=lambda key: -loss(scores[key], better))[:WORST])
    turns = chain.from_iterable(zip_longest(*worst))
    return list(dict.fromkeys(key for key in [*(every[i] for i in pick(len(every), SPREAD)), *turns] if key))


@dataclass
class Clips:
    """What a page has of clips. `media` of a clip: {"reference", "sketch", "original": URI or None, "methods": [URI or
    None, as the board's rows], "fps", "frames"}."""

    folder: Path
    """The leaderboard's: media are relative to it."""
    room: float
    """Bytes of the page that are left for media."""
    shown: int = 0
    left_out: int = 0
    """Worth showing, without room."""
    missing: list[str] = field(default_factory=list)
    """Files that rows name and that are not there."""

    def of(self, boards: Sequence[Board]) -> dict[str, dict[str, dict[str, Any]]]:
        """=> board's key -> clip's key -> media. Boards take turns, so that one does not take all room."""
        found: dict[str, dict[str, dict[str, Any]]] = {board.key: {} for board in boards}
        queues = [[(board, key) for key in choose(board)] for board in boards]
        for turn in chain.from_iterable(zip_longest(*queues)):
            if turn is None:
                continue
            board, key = turn
            files = self._files(board, key)
            size = sum(4 * -(-file.stat().st_size // 3) for file in _all(files))
            if not size:
                continue
            if size > self.room:
                self.left_out += 1
                continue
            self.room -= size
            self.shown += 1
            found[board.key][key] = _embed(files)
        return found

    def _files(self, board: Board, key: str) -> dict[str, Any]:
        sources = [row.source_media for row in board.rows if row.source_media is not None]
        media = [next((c["media"] for c in row.clips if c["key"] == key), None) for row in board.rows]
        return {
            **{
                what: self._file(f"{sources[0]}/{key}.{what}{suffix}") if sources else None
                for what, suffix in (("reference", ".png"), ("sketch", ".webm"), ("original", ".webm"))
            },
            "methods": [self._file(name) if name else None for name in media],
        }

    def _file(self, name: str) -> Path | None:
        """InputError: it lies outside the leaderboard's folder, or is none that a page can show."""
        file = (self.folder / name).resolve()
        if not file.is_relative_to(self.folder.resolve()) or file.suffix not in MIME:
            raise InputError(
                f"{named(name)} is no picture or movie below {named(self.folder)}: who wrote this leaderboard?"
            )
        if not file.is_file():
            self.missing.append(name)
            return None
        return file


def _all(files: dict[str, Any]) -> list[Path]:
    return [f for f in (files["reference"], files["sketch"], files["original"], *files["methods"]) if f is not None]


def _embed(files: dict[str, Any]) -> dict[str, Any]:
    movie = next((f for f in [files["original"], files["sketch"], *files["methods"]] if f is not None), None)
    fps, frames = 1.0, 1
    if movie is not None:
        with open_frames(movie) as reader:
            fps, frames = reader.fps, len(reader)
    uris = {what: _uri(files[what]) for what in ("reference", "sketch", "original")}
    return {**uris, "methods": [_uri(file) for file in files["methods"]], "fps": fps, "frames": frames}


def _uri(file: Path | None) -> str | None:
    if file is None:
        return None
    with reading("clip", file, "evaluate again"):
        return f"data:{MIME[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
