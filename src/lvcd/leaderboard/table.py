"""Tables of rows: one for each protocol, ranked within it, with what a reader must know of each value."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from .row import Row

COLUMN_ORDER = (
    "FID", "FrechetDistance", "FVD", "LPIPS", "ShiftTolerantLPIPS", "PSNR", "PSNR[moving]", "SSIM", "EDMD", "TC",
    "SegmentAccuracy", "SegmentAccuracy[moving]",
)  # fmt: skip
"""The paper's columns, each followed by what replaces it where its weights are missing; others come last."""
ARROWS = {True: "↑", False: "↓", None: "→ 1"}
"""higher_is_better -> what a column's head shows."""

METHODS_IN_NOTE = 20
"""Methods that a note on some of the rows names."""


def rank_key(value: float, higher_is_better: bool | None) -> float:
    """Return a number that is smaller the better a value is; None: the nearer to 1, the better."""
    return abs(value - 1) if higher_is_better is None else -value if higher_is_better else value


@dataclass(frozen=True)
class Board:
    """The rows of one protocol, best first by their first column that has a better."""

    protocol: dict[str, Any]
    key: str
    rows: list[Row]
    columns: dict[str, bool | None]
    """Column -> higher_is_better, in the paper's order."""

    @property
    def source(self) -> str | None:
        """Where the scores were published; None: they were measured here."""
        return self.rows[0].source

    @cached_property
    def _names(self) -> Counter[str]:
        return Counter(row.name for row in self.rows)

    def label(self, row: Row) -> str:
        """Return the method's name, followed by the row's id where others have that name, as two models may."""
        return row.name if self._names[row.name] == 1 or self.source else f"{row.name} {row.id}"

    def report(self, row: Row, column: str) -> dict[str, Any] | None:
        """Return the row's report of a column; None: it has no value there."""
        report = row.metrics.get(column)
        return report if report is not None and report["value"] is not None else None

    @cached_property
    def _best(self) -> dict[str, Row | None]:
        return {column: self._best_of(column) for column in self.columns}

    def best(self, column: str) -> Row | None:
        """Return the row that is better than all others beyond doubt: its interval overlaps none of theirs.

        None if there is no other row, if an interval is unknown, or where 1 is best: a blurred clip comes near it, too.
        """
        return self._best[column]

    def _best_of(self, column: str) -> Row | None:
        better = self.columns[column]
        scored = [(row, report) for row in self.rows if (report := self.report(row, column))]
        if better is None or len(scored) < 2 or any(report["interval"] is None for _, report in scored):
            return None
        first, report = min(scored, key=lambda pair: rank_key(pair[1]["value"], better))
        worst, nearest = ("low", "high") if better else ("high", "low")
        edge = rank_key(report["interval"][worst], better)
        others = (other for row, other in scored if row is not first)
        return first if all(edge < rank_key(other["interval"][nearest], better) for other in others) else None

    def is_best(self, row: Row, column: str) -> bool:
        """Return whether `best` of a column is this row."""
        best = self.best(column)
        return best is not None and best.id == row.id

    @cached_property
    def _decimals(self) -> dict[str, int]:
        return {column: self._decimals_of(column) for column in self.columns}

    def decimals(self, column: str) -> int:
        """Return the decimals of a column: as published, or so that the largest value has three or four digits."""
        return self._decimals[column]

    def _decimals_of(self, column: str) -> int:
        values = [report["value"] for row in self.rows if (report := self.report(row, column))]
        if self.source:
            return max((len(f"{value}".partition(".")[2]) for value in values), default=0)
        largest = max(map(abs, values), default=0)
        return 1 if largest >= 100 else 2 if largest >= 10 else 3

    def with_rows(self, rows: list[Row]) -> Board:
        """Return a board that shows some of the rows as this one does: labels, best and decimals are of all rows."""
        part = replace(self, rows=rows)
        part.__dict__.update(_names=self._names, _best=self._best, _decimals=self._decimals)
        return part

    def notes(self) -> list[str]:
        """Return the notes of each column's reports, each with the methods it is about unless it is about all."""
        found: dict[str, list[Row]] = {}
        for column in self.columns:
            for row in self.rows:
                for note in row.metrics.get(column, {}).get("notes", []):
                    found.setdefault(f"{column}: {note}", []).append(row)
        return [
            note if len(rows) == len(self.rows) else f"{note} ({self._labels(rows)})" for note, rows in found.items()
        ]

    def _labels(self, rows: list[Row]) -> str:
        more = f" and {len(rows) - METHODS_IN_NOTE:,} more" if len(rows) > METHODS_IN_NOTE else ""
        return ", ".join(self.label(row) for row in rows[:METHODS_IN_NOTE]) + more


def boards(rows: Iterable[Row]) -> list[Board]:
    """Return a board for each protocol, measured ones first. Of a method's rows under a protocol the newest counts."""
    groups: dict[tuple[bool, str], dict[str, Row]] = {}
    for row in rows:
        newest = groups.setdefault((row.source is not None, row.protocol_key), {})
        method = repr(sorted(row.method["settings"].items())) + row.name
        newest.pop(method, None)
        newest[method] = row
    return [_board(key, list(newest.values())) for (_, key), newest in sorted(groups.items(), key=lambda g: g[0][0])]


def _board(key: str, rows: list[Row]) -> Board:
    known = {column: report["higher_is_better"] for row in rows for column, report in row.metrics.items()}
    columns = {column: known[column] for column in sorted(known, key=_column_place)}
    first = next((column for column, better in columns.items() if better is not None), None)
    if first is not None and rows[0].source is None:
        last = float("inf")
        values = {row.id: row.metrics.get(first, {}).get("value") for row in rows}
        rows.sort(key=lambda row: last if (v := values[row.id]) is None else rank_key(v, columns[first]))
    return Board(rows[0].protocol, key, rows, columns)


def _column_place(column: str) -> tuple[int, str]:
    for name in (column, column.partition("[")[0]):
        if name in COLUMN_ORDER:
            return COLUMN_ORDER.index(name), column
    return len(COLUMN_ORDER), column


def describe(protocol: dict[str, Any]) -> str:
    """Return size, frames, clips, reference, sketches and data of a protocol in one line."""
    size = f"{protocol['width']} x {protocol['height']}" if protocol["width"] else None
    frames = f"{protocol['frames']} frames" if protocol["frames"] else "whole clips"
    parts = [size, frames, f"{protocol['clips']} clips" if protocol["clips"] else None]
    if protocol["reference"]:
        parts.append(f"reference: {protocol['reference']}")
    if protocol["sketch"]:
        parts.append(f"sketches: {protocol['sketch']}{', binarized' if protocol['binarized'] else ''}")
    if protocol["data"]:
        parts.append(f"data {protocol['data'][:12]}")
    return ", ".join(part for part in parts if part)


def single_line(words: str) -> str:
    """Replace what could move a terminal's cursor or end a row of a table by spaces."""
    return words if words.isprintable() else "".join(c if c.isprintable() else " " for c in words)


def markdown(shown: Sequence[Board], width: int | None = None) -> str:
    """Return the boards as Markdown.

    width: of the terminal, in characters; columns that do not fit beside the method come in another table below.
    """
    return "\n\n".join(_board_markdown(board, width) for board in shown)


def _board_markdown(board: Board, width: int | None) -> str:
    title = single_line(f"## {board.protocol['name']}")
    if board.source:
        parts = [
            title,
            f"Published, not measured here, not to be ranked with other tables: {single_line(board.source)}.",
        ]
    else:
        parts = [f"{title} ({board.key})", single_line(f"{describe(board.protocol)}.")]
    parts += ["\n".join(table) for table in _tables(board, width)]
    marks = [f"* (!) **{board.label(row)}: {warning}**" for row in board.rows for warning in row.warnings]
    marks += [f"* {note}" for note in board.notes()]
    marks = [single_line(mark) for mark in marks]
    return "\n\n".join([*parts, "\n".join(marks)] if marks else parts)


def _tables(board: Board, width: int | None) -> list[list[str]]:
    """Return the lines of one table, or of several where one is wider than the terminal."""
    names = [_in_cell(board.label(row)) + " (!)" * bool(row.warnings) for row in board.rows]
    first = _column("method", names, left=True)
    columns = []
    if board.source is None:
        columns.append(_column("clips", ["" if row.n is None else str(row.n) for row in board.rows]))
    columns += [_column(f"{_in_cell(c)} {ARROWS[better]}", _values(board, c)) for c, better in board.columns.items()]
    if board.source is None:
        columns.append(_column("s / frame", [seconds_per_frame(row) for row in board.rows]))
    tables = [[first]]
    for column in columns:
        if width and len(tables[-1]) > 1 and sum(len(c[0]) + 3 for c in (*tables[-1], column)) + 1 > width:
            tables.append([first])
        tables[-1].append(column)
    return [[f"| {' | '.join(cells)} |" for cells in zip(*table)] for table in tables]


def _in_cell(words: str) -> str:
    return single_line(words).replace("|", "\\|")


def _column(name: str, cells: list[str], left: bool = False) -> list[str]:
    """Return the cells padded to one width, under a head and a rule."""
    width = max(len(name), 3, max(map(len, cells), default=0))
    rule = "-" * width if left else "-" * (width - 1) + ":"
    padded = [cell.ljust(width) if left else cell.rjust(width) for cell in (name, *cells)]
    return [padded[0], rule, *padded[1:]]


def _values(board: Board, column: str) -> list[str]:
    decimals = board.decimals(column)
    return [_value(board.report(row, column), decimals, board.is_best(row, column)) for row in board.rows]


def _value(report: dict[str, Any] | None, decimals: int, best: bool) -> str:
    """Return "value [low, high]", the value in bold where it is the best."""
    if report is None:
        return "-"
    value = f"{report['value']:.{decimals}f}"
    interval = report["interval"]
    shown = f"**{value}**" if best else value
    return shown if interval is None else f"{shown} [{interval['low']:.{decimals}f}, {interval['high']:.{decimals}f}]"


def seconds_per_frame(row: Row) -> str:
    """Return the time that painting a frame took, in seconds, as a table shows it."""
    value = row.cost.get("seconds_per_frame")
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
