"""The board as one HTML file: tables, scores and clips are in it, nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.disk import atomic, printable, reading, writing
from lvcd.io.reader import open_frames
from lvcd.report.html import escape, template

from .clips import MIME, Clips, Files, keys, main_metric
from .row import Row
from .table import ARROWS, Board, about, boards, seconds

HASH = re.compile(r"[0-9a-f]{40,64}")
"""Shown by its first digits."""


def write(out: Path, rows: Iterable[Row], folder: Path, megabytes: float) -> str:
    """The page of rows whose media lie below `folder`, clips of at most so many MB in it. => what is on it, in a line.

    InputError: no row was measured, a file that is no clip of the folder's, or the disk.
    """
    if out.is_dir():
        raise InputError(f"{out} is a folder: name a file, like {out / 'board.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise InputError(f"{printable(out)} would become a page: end its name in .html")
    shown = boards(rows)
    measured = [board for board in shown if board.source is None]
    clips = Clips(folder, megabytes * 1e6)
    media = clips.of(measured)
    uris: dict[str, int] = {}
    data = [_data(board, media[board.key], uris) for board in measured if keys(board)]
    script = files("lvcd.leaderboard").joinpath("page.js").read_text()
    parts = {
        "<!--script-->": script,
        "<!--hash-->": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        "<!--boards-->": "".join(_section(board) for board in measured),
        "<!--cited-->": "".join(_section(board) for board in shown if board.source is not None),
        "<!--notes-->": _notes(clips),
        "<!--data-->": _json({"boards": data, "files": list(uris)}),
    }
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as temp, temp.open("w", encoding="utf-8") as file:
        file.writelines(parts.get(part, part) for part in template("lvcd.leaderboard"))
    size = out.stat().st_size / 1e6
    count = sum(len(board.rows) for board in measured)
    return f"{out}: {len(measured)} protocols, {count} rows, {clips.shown} clips, {size:.1f} MB"


def _json(value: Any) -> str:
    """For a script element: nothing in it can end the element."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _data(board: Board, media: dict[str, Files], uris: dict[str, int]) -> dict[str, Any]:
    """What the script shows of a board: scores[clip][method][column]; files by their number in uris, which grows."""
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
            for key in keys(board)
        ],
    }


def _embedded(files: Files, uris: dict[str, int]) -> dict[str, Any]:
    movie = next((file for file in [files.original, files.sketch, *files.methods] if file is not None), None)
    fps, frames = 1.0, 1
    if movie is not None:
        with open_frames(movie) as reader:
            fps, frames = reader.fps, len(reader)
    given = {what: _number_of(getattr(files, what), uris) for what in ("reference", "sketch", "original")}
    return {**given, "methods": [_number_of(file, uris) for file in files.methods], "fps": fps, "frames": frames}


def _number_of(file: Path | None, uris: dict[str, int]) -> int | None:
    """Which of uris has the same content: it is added where none has."""
    if file is None:
        return None
    with reading("clip", file, "evaluate again"):
        uri = f"data:{MIME[file.suffix]};base64,{base64.b64encode(file.read_bytes()).decode()}"
    return uris.setdefault(uri, len(uris))


def _section(board: Board) -> str:
    if board.source is None:
        said = f"{escape(about(board.protocol))} · protocol {board.key}"
        more = "<details class=rows><summary>What is behind each row</summary>"
        more += "".join(_behind(board.label(row), row) for row in board.rows) + "</details>"
        more += f'<div class=viewer data-board="{board.key}"></div>' if keys(board) else ""
    else:
        said, more = escape(board.source), ""
    name = escape(board.protocol["name"])
    return (
        f'<section class=board id="board-{board.key}"><h2>{name}</h2><p class=about>{said}</p>'
        f'<div class=scroll tabindex=0 role=region aria-label="{name}">{_table(board)}</div>{_notes_of(board)}{more}'
        "</section>\n"
    )


def _table(board: Board) -> str:
    measured = board.source is None
    heads = ["method", *(["clips"] if measured else [])]
    heads += [_head(column, ARROWS[better]) for column, better in board.columns.items()]
    heads += ["s / frame"] if measured else []
    head = "".join(f"<th scope=col><button>{words}</button>" for words in heads)
    body = ""
    for i, row in enumerate(board.rows):
        warned = "".join(f"<p class=warning>{escape(warning)}" for warning in row.warnings)
        name = board.label(row)
        body += f'<tr><th scope=row data-value="{escape(name.lower())}">{breaking(name)}{warned}'
        body += _number(row.n, str(row.n)) if measured else ""
        body += "".join(_value(board, i, column) for column in board.columns)
        body += _number(row.cost.get("seconds_per_frame"), seconds(row)) if measured else ""
    return f"<table class=sortable><thead><tr>{head}<tbody>{body}</table>"


def _head(column: str, arrow: str) -> str:
    """A column's name and what is better; what stands in brackets on a line of its own."""
    name, bracket, more = column.partition("[")
    return f"{escape(name)} {arrow}" + f"<small>[{escape(more)}</small>" * bool(bracket)


def breaking(words: str) -> str:
    """Lines may end behind its underscores."""
    return escape(words).replace("_", "_<wbr>")


def _number(value: Any, shown: str) -> str:
    return f'<td data-value="{value}">{escape(shown)}' if isinstance(value, (int, float)) else "<td>–"


def _value(board: Board, i: int, column: str) -> str:
    """A cell; it is a button to the clips where they have scores of their own."""
    row, decimals = board.rows[i], board.decimals(column)
    report = board.report(row, column)
    if report is None:
        return "<td>–"
    shown = f"{report['value']:.{decimals}f}"
    if row is board.best(column):
        shown = f"<b>{shown}</b>"
    if report["interval"] is not None:
        shown += f"<small>{report['interval']['low']:.{decimals}f} – {report['interval']['high']:.{decimals}f}</small>"
    if any(clip["scores"].get(column) is not None for clip in row.clips):
        title = f"clips of {board.label(row)}, worst {column} first"
        shown = (
            f'<button class=value data-method="{row.id}" data-column="{escape(column)}" title="{escape(title)}">'
            f"{shown}</button>"
        )
    return f'<td data-value="{report["value"]}">{shown}'


def _notes_of(board: Board) -> str:
    notes = board.notes()
    return f"<ul class=about>{''.join(f'<li>{escape(note)}' for note in notes)}</ul>" if notes else ""


def _behind(name: str, row: Row) -> str:
    parts = {
        "row": f"{row.id}, {row.time}",
        "settings": _flat(row.method["settings"]),
        "cost": _flat(row.cost),
        "made by": _flat(row.provenance),
        "extractors": _flat({c: r["extractor"] for c, r in row.metrics.items() if r.get("extractor")}),
    }
    for check, leak in row.leaks.items():
        parts[check] = f"{_flat(leak['scores'])}, {leak['n']} clips. {leak['note'] or ''}"
    listed = "".join(f"<dt>{escape(part)}<dd>{escape(said)}" for part, said in parts.items() if said)
    return f"<h3>{escape(name)}</h3><dl>{listed}</dl>"


def _flat(tree: dict[str, Any]) -> str:
    """name value, name.inner value, ..."""
    return ", ".join(f"{name} {value}" for name, value in _leaves(tree, ""))


def _leaves(tree: dict[str, Any], before: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in tree.items():
        short = f"{value:.4g}" if isinstance(value, float) else value
        short = short[:12] if isinstance(short, str) and HASH.fullmatch(short) else short
        found += _leaves(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", short)]
    return found


def _notes(clips: Clips) -> str:
    notes = []
    if clips.left_out:
        notes.append(f"{clips.left_out} more clips had no room: lvcd leaderboard html --megabytes gives more")
    if clips.missing:
        notes.append(f"{len(clips.missing)} files of clips are missing, the first is {clips.missing[0]}")
    return "".join(f"<p class=warning>{escape(note)}" for note in notes)
