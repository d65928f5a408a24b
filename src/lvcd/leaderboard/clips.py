"""Which clips a page or a table of Weights & Biases shows: as many as fit, and first those worth a look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import NamedTuple

from lvcd.errors import InputError
from lvcd.io.disk import printable
from lvcd.spacing import evenly_spaced

from .table import Board, rank_key

WORST_PER_ROW = 10
"""Clips of each row that come first, the worst by each of the metrics."""
SPREAD = 4
"""Clips that come before those, spread evenly over the test set."""
SOURCE_KINDS = ("reference.png", "sketch.webm", "original.webm")
"""What a row's clips were painted from: KEY.KIND in its source_media."""
MIME = {".webm": "video/webm", ".png": "image/png"}


def main_metric(board: Board) -> str | None:
    """Return the first column that scores clips and has a better; None: there is none."""
    scored = {column for row in board.rows for clip in row.clips for column in clip["scores"]}
    return next((column for column, better in board.columns.items() if column in scored and better is not None), None)


def clip_keys(board: Board) -> list[str]:
    """Return the keys of all clips in the order of the test set."""
    return list(dict.fromkeys(clip["key"] for row in board.rows for clip in row.clips))


def order_of_interest(board: Board) -> list[str]:
    """Return the keys of all clips, the first to show first.

    First come evenly spread ones, then the worst of each row in turn by the main metric and by the others, then the
    rest.
    """
    every, main = clip_keys(board), main_metric(board)
    columns = [*([main] if main else []), *(column for column in board.columns if column != main)]
    turns = [key for column in columns for key in chain.from_iterable(zip_longest(*_worst(board, column))) if key]
    return list(dict.fromkeys([*(every[i] for i in evenly_spaced(len(every), SPREAD)), *turns, *every]))


def _worst(board: Board, column: str) -> list[list[str]]:
    """Return the keys of the worst clips of each row."""
    better, found = board.columns[column], []
    for row in board.rows:
        scores = {clip["key"]: value for clip in row.clips if (value := clip["scores"].get(column)) is not None}
        found.append(sorted(scores, key=lambda key: -rank_key(scores[key], better))[:WORST_PER_ROW])
    return found


class ClipMedia(NamedTuple):
    """The image and the movies of one clip; None: there is none, or its file is missing."""

    reference: Path | None
    sketch: Path | None
    original: Path | None
    methods: list[Path | None]
    """The painted clip of each of the board's rows."""

    def all(self) -> list[Path]:
        """Return the files that exist."""
        return [file for file in (self.reference, self.sketch, self.original, *self.methods) if file is not None]


@dataclass
class ClipSelection:
    """The clips of a leaderboard that fit into a page or a table, with their files."""

    folder: Path
    """The leaderboard's: media are relative to it."""
    free_bytes: float
    """Space that is left for media, in base64; a file that is shown again takes none."""
    shown: int = 0
    left_out: int = 0
    """Clips for which there was no space."""
    missing: list[str] = field(default_factory=list)
    """Files that rows name and that do not exist."""

    def of(self, boards: Sequence[Board]) -> dict[str, dict[str, ClipMedia]]:
        """Return the files of the clips that fit: board's key -> clip's key -> files.

        Boards take turns, so that one does not take all the space. InputError: no board, no valid number of bytes, or a
        file that is no clip of the folder's.
        """
        if not boards:
            raise InputError("the leaderboard has no row that was measured: evaluate a method first")
        if not 0 <= self.free_bytes < float("inf"):
            raise InputError(f"--megabytes {self.free_bytes / 1e6:g}: choose 0 or more")
        found: dict[str, dict[str, ClipMedia]] = {board.key: {} for board in boards}
        counted: set[Path] = set()
        queues = [[(board, key) for key in order_of_interest(board)] for board in boards]
        for turn in chain.from_iterable(zip_longest(*queues)):
            if turn is None:
                continue
            board, key = turn
            files = self._files(board, key)
            if not files.all():
                continue
            size = sum(4 * -(-file.stat().st_size // 3) for file in set(files.all()) - counted)
            if size > self.free_bytes:
                self.left_out += 1
                continue
            self.free_bytes -= size
            counted.update(files.all())
            self.shown += 1
            found[board.key][key] = files
        return found

    def _files(self, board: Board, key: str) -> ClipMedia:
        source = next((row.source_media for row in board.rows if row.source_media is not None), None)
        media = [next((clip["media"] for clip in row.clips if clip["key"] == key), None) for row in board.rows]
        given = [f"{source}/{key}.{kind}" if source else None for kind in SOURCE_KINDS]
        reference, sketch, original = map(self._file, given)
        return ClipMedia(reference, sketch, original, [self._file(name) for name in media])

    def _file(self, name: str | None) -> Path | None:
        if name is None:
            return None
        file = media_file(self.folder, name)
        if not file.is_file():
            self.missing.append(name)
            return None
        return file


def media_file(folder: Path, name: str) -> Path:
    """Return the path of a row's file. InputError: it lies outside the folder, or no page can show it."""
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or file.suffix not in MIME:
        raise InputError(
            f"{printable(name)} is no image or movie below {printable(folder)}: ask who wrote this leaderboard"
        )
    return file
