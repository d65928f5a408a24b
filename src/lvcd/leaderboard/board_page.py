"""The leaderboard as one HTML file: tables, scores and clips are in it, nothing is fetched."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.disk import atomic, printable, reading, writing
from lvcd.io.reader import open_frames
from lvcd.report.html import page

from .clips import MIME, ClipMedia, ClipSelection, clip_keys, main_metric
from .row import Row, read, read_summaries
from .table import ARROWS, Board, boards, describe, seconds_per_frame

ROWS_PER_PAGE = 200
"""Rows of each protocol on a page: a browser stays quick, and so does the program."""
_HASH = re.compile(r"[0-9a-f]{40,64}")
"""Shown by its first digits."""


def write_page(out: Path, file: Path, cited: list[Row], megabytes: float, number: int = 1) -> str:
    """Write a page of the leaderboard in `file` and return a line on what is on it.

    cited: rows that are shown apart. megabytes: clips of so many MB are in the page. number: of the page, from 1; each
    has the next 200 rows of every protocol, best first.
    InputError: no row was measured, no such page, a file that is no clip of the folder's, or the disk.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file, like {out / 'board.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{printable(out)} would become a page: end its name in .html")
    every = boards(read_summaries(file))
    measured = _on_page([board for board in every if board.source is None], file, number)
    published = [*(board for board in every if board.source is not None), *boards(cited)] if number == 1 else []
    clips = ClipSelection(file.parent, megabytes * 1e6)
    media = clips.of([board for board, _ in measured])
    uris: dict[str, int] = {}
    data = [_script_data(board, media[board.key], uris) for board, _ in measured if clip_keys(board)]
    text = page(
        "lvcd.leaderboard",
        "board_page",
        "lvcd leaderboard",
        {"boards": data, "files": list(uris)},
        measured=(_section(board, left_out) for board, left_out in measured),
        cited=(_section(board, None) for board in published),
        notes=_notes(clips),
    )
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as temp, temp.open("w", encoding="utf-8") as stream:
        stream.writelines(text)
    size = out.stat().st_size / 1e6
    count = sum(len(board.rows) for board, _ in measured)
    return f"{out}: {len(measured)} protocols, {count} rows, {clips.shown} clips, {size:.1f} MB"


def _on_page(every: list[Board], file: Path, number: int) -> list[tuple[Board, str | None]]:
    """Return the boards with the rows of a page, read completely, and a line on the rows that are left out."""
    first = (number - 1) * ROWS_PER_PAGE
    ids = {row.id for board in every for row in board.rows[first : first + ROWS_PER_PAGE]}
    if every and (number < 1 or not ids):
        last = max(-(-len(board.rows) // ROWS_PER_PAGE) for board in every)
        raise InputError(f"--page {number}: there are pages 1 to {last}")
    rows = {row.id: row for row in read(file, ids)}
    found = []
    for board in every:
        part = [rows[row.id] for row in board.rows[first : first + ROWS_PER_PAGE]]
        if part:
            note = f"Rows {first + 1:,} to {first + len(part):,} of {len(board.rows):,}"
            found.append((board.with_rows(part), None if len(part) == len(board.rows) else note))
    return found


def _script_data(board: Board, media: dict[str, ClipMedia], uris: dict[str, int]) -> dict[str, Any]:
    """Return what the script shows of a board: scores[method][column] of each clip, and files by their number in uris.

    uris grows by the files.
    """
    scored = {column for row in board.rows for clip in row.clips for column in clip["scores"]}
    columns = [column for column in board.columns if column in scored]
    scores = [{clip["key"]: clip["scores"] for clip in row.clips} for row in board.rows]
    return {
        "key": board.key,
        "methods": [{"id": row.id, "name": board.label(row)} for row in board.rows],
        "columns": [
            {"name": c, "better": board.columns[c], "decimals": board.decimals(c), "arrow": ARROWS[board.columns[c]]}
            for c in columns
        ],
        "main": main_metric(board) or (columns[0] if columns else None),
        "clips": [
            {
                "key": key,
                "scores": [[s.get(key, {}).get(c) for c in columns] for s in scores],
                "media": _embedded(media[key], uris) if key in media else None,
            }
            for key in clip_keys(board)
        ],
    }


def _embedded(files: ClipMedia, uris: dict[str, int]) -> dict[str, Any]:
    """Return the numbers of a clip's files in uris, its frame rate and its number of frames."""
    movie = next((file for file in [files.original, files.sketch, *files.methods] if file is not None), None)
    fps, frames = 1.0, 1
    if movie is not None:
        with open_frames(movie) as reader:
            fps, frames = reader.fps, len(reader)
    given = {what: _number_of(getattr(files, what), uris) for what in ("reference", "sketch", "original")}
    return {**given, "methods": [_number_of(file, uris) for file in files.methods], "fps": fps, "frames": frames}


def _number_of(file: Path | None, uris: dict[str, int]) -> int | None:
    """Return which of uris has the content of the file, which is added where none has."""
    if file is None:
        return None
    with reading("clip", file, "evaluate again"):
        uri = f"data:{MIME[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
    return uris.setdefault(uri, len(uris))


def _section(board: Board, left_out: str | None) -> dict[str, Any]:
    """Return what the template shows of a board."""
    measured = board.source is None
    return {
        "key": board.key,
        "name": board.protocol["name"],
        "about": f"{describe(board.protocol)} · protocol {board.key}" if measured else board.source,
        "left_out": left_out,
        "measured": measured,
        "has_clips": bool(clip_keys(board)),
        "heads": [_head(column, better) for column, better in board.columns.items()],
        "rows": [_row(board, row) for row in board.rows],
        "notes": board.notes(),
    }


def _head(column: str, better: bool | None) -> dict[str, str]:
    """Return a column's name, what is better, and what stands in brackets, for a line of its own."""
    name, _, bracket = column.partition("[")
    return {"name": name, "arrow": ARROWS[better], "bracket": bracket}


def _row(board: Board, row: Row) -> dict[str, Any]:
    return {
        "id": row.id,
        "label": board.label(row),
        "warnings": row.warnings,
        "n": row.n,
        "cells": [_cell(board, row, column) for column in board.columns],
        "seconds": row.cost.get("seconds_per_frame"),
        "seconds_shown": seconds_per_frame(row),
        "details": _details(row),
    }


def _cell(board: Board, row: Row, column: str) -> dict[str, Any] | None:
    report, decimals = board.report(row, column), board.decimals(column)
    if report is None:
        return None
    interval = report["interval"]
    return {
        "column": column,
        "value": report["value"],
        "shown": f"{report['value']:.{decimals}f}",
        "interval": interval and f"{interval['low']:.{decimals}f} – {interval['high']:.{decimals}f}",
        "best": board.is_best(row, column),
        "has_clips": any(clip["scores"].get(column) is not None for clip in row.clips),
    }


def _details(row: Row) -> dict[str, str]:
    """Return what is behind a row: part -> text."""
    parts = {
        "row": f"{row.id}, {row.time}",
        "settings": _flat(row.method["settings"]),
        "cost": _flat(row.cost),
        "made by": _flat(row.provenance),
        "extractors": _flat({c: r["extractor"] for c, r in row.metrics.items() if r.get("extractor")}),
    }
    for check, leak in row.leaks.items():
        parts[check] = f"{_flat(leak['scores'])}, {leak['n']} clips. {leak['note'] or ''}"
    return {part: words for part, words in parts.items() if words}


def _flat(tree: dict[str, Any]) -> str:
    """Return "name value, name.inner value, ..."."""
    return ", ".join(f"{name} {value}" for name, value in _leaves(tree, ""))


def _leaves(tree: dict[str, Any], before: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        short = f"{value:.4g}" if isinstance(value, float) else value
        short = short[:12] if isinstance(short, str) and _HASH.fullmatch(short) else short
        found += _leaves(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", short)]
    return found


def _notes(clips: ClipSelection) -> list[str]:
    """Return what a reader must know of the clips that are not on the page."""
    notes = []
    if clips.left_out:
        notes.append(f"{clips.left_out} more clips had no room: lvcd leaderboard html --megabytes gives more")
    if clips.missing:
        notes.append(f"{len(clips.missing)} files of clips are missing, the first is {clips.missing[0]}")
    return notes
