"""Rows as tables: one for each protocol, ranked within it, with what a reader must know of each number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from .row import Row

ORDER = (
    "FID", "FrechetDistance", "FVD", "LPIPS", "ShiftTolerantLPIPS", "PSNR", "PSNR[moving]", "SSIM", "EDMD", "TC",
    "SegmentAccuracy", "SegmentAccuracy[moving]",
)  # fmt: skip
"""The paper's columns, each followed by what stands in for it; others come after."""
ARROWS = {True: "↑", False: "↓", None: "→ 1"}
"""By higher_is_better: what is better."""


def loss(value: float, higher_is_better: bool | None) -> float:
    """Smaller is better. None: the nearer to 1, the better."""
    return abs(value - 1) if higher_is_better is None else -value if higher_is_better else value


@dataclass(frozen=True)
class Board:
    """The rows of one protocol, best first by their first column that has a better."""

    protocol: dict[str, Any]
    key: str
    rows: list[Row]
    columns: dict[str, bool | None]
    """In the paper's order; whether higher is better."""

    @property
    def source(self) -> str | None:
        """None: measured here."""
        return self.rows[0].source

    def label(self, row: Row) -> str:
        """The method's name, and where others have the same, as two models may, the row's id."""
        same = [other for other in self.rows if other.name == row.name]
        return row.name if len(same) == 1 or self.source else f"{row.name} {row.id}"

    def report(self, row: Row, column: str) -> dict[str, Any] | None:
        """None: the row has no value there."""
        report = row.metrics.get(column)
        return report if report is not None and report["value"] is not None else None

    def best(self, column: str) -> Row | None:
        """The row that is better than all others beyond doubt: its interval overlaps none of theirs.

        None if there is no other, if some interval is not known, or where 1 is best: a blurred clip comes near it too.
        """
        better = self.columns[column]
        scored = [(row, report) for row in self.rows if (report := self.report(row, column))]
        if better is None or len(scored) < 2 or any(report["interval"] is None for _, report in scored):
            return None
        scored.sort(key=lambda pair: loss(pair[1]["value"], better))
        (first, mine), *others = scored
        worst, near = ("low", "high") if better else ("high", "low")
        edge = loss(mine["interval"][worst], better)
        return first if all(edge < loss(other["interval"][near], better) for _, other in others) else None

    def decimals(self, column: str) -> int:
        """Of its values: as published, or so that the largest has four digits or three."""
        values = [report["value"] for row in self.rows if (report := self.report(row, column))]
        if self.source:
            return max((len(f"{value}".partition(".")[2]) for value in values), default=0)
        largest = max(map(abs, values), default=0)
        return 1 if largest >= 100 else 2 if largest >= 10 else 3

    def notes(self) -> list[str]:
        """Of each column what its reports note, and of which methods unless of all."""
        found: dict[str, list[str]] = {}
        for column in self.columns:
            for row in self.rows:
                for note in row.metrics.get(column, {}).get("notes", []):
                    found.setdefault(f"{column}: {note}", []).append(self.label(row))
        return [note + f" ({', '.join(names)})" * (len(names) < len(self.rows)) for note, names in found.items()]


def boards(rows: Iterable[Row]) -> list[Board]:
    """Measured protocols first. Of rows of one method under one protocol, the newest counts."""
    groups: dict[tuple[bool, str], dict[str, Row]] = {}
    for row in rows:
        found = groups.setdefault((row.source is not None, row.protocol_key), {})
        method = repr(sorted(row.method["settings"].items())) + row.name
        found.pop(method, None)
        found[method] = row
    return [_board(key, list(found.values())) for (_, key), found in sorted(groups.items(), key=lambda g: g[0][0])]


def _board(key: str, rows: list[Row]) -> Board:
    known = {column: report["higher_is_better"] for row in rows for column, report in row.metrics.items()}
    columns = {column: known[column] for column in sorted(known, key=_place)}
    first = next((column for column, better in columns.items() if better is not None), None)
    if first is not None and rows[0].source is None:
        last = float("inf")
        values = {row.id: row.metrics.get(first, {}).get("value") for row in rows}
        rows.sort(key=lambda row: last if (v := values[row.id]) is None else loss(v, columns[first]))
    return Board(rows[0].protocol, key, rows, columns)


def _place(column: str) -> tuple[int, str]:
    for name in (column, column.partition("[")[0]):
        if name in ORDER:
            return ORDER.index(name), column
    return len(ORDER), column


def about(protocol: dict[str, Any]) -> str:
    """What can be said of a protocol in one line."""
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


def one_line(words: str) -> str:
    """Without what could move a terminal's cursor or end a row."""
    return "".join(c if c.isprintable() else " " for c in words)


def text(shown: Sequence[Board], width: int | None = None) -> str:
    """Markdown. width: of the terminal in characters; what does not fit beside the method comes in a table below."""
    return "\n\n".join(_text(board, width) for board in shown)


def _text(board: Board, width: int | None) -> str:
    title = one_line(f"## {board.protocol['name']}")
    if board.source:
        parts = [title, f"Published, not measured here, not to be ranked with other tables: {one_line(board.source)}."]
    else:
        parts = [f"{title} ({board.key})", one_line(f"{about(board.protocol)}.")]
    parts += ["\n".join(table) for table in _tables(board, width)]
    marks = [f"* (!) **{board.label(row)}: {warning}**" for row in board.rows for warning in row.warnings]
    marks += [f"* {note}" for note in board.notes()]
    marks = [one_line(mark) for mark in marks]
    return "\n\n".join([*parts, "\n".join(marks)] if marks else parts)


def _tables(board: Board, width: int | None) -> list[list[str]]:
    names = [_in_cell(board.label(row)) + " (!)" * bool(row.warnings) for row in board.rows]
    first = _column("method", names, left=True)
    columns = []
    if board.source is None:
        columns.append(_column("clips", ["" if row.n is None else str(row.n) for row in board.rows]))
    columns += [_column(f"{_in_cell(c)} {ARROWS[better]}", _values(board, c)) for c, better in board.columns.items()]
    if board.source is None:
        columns.append(_column("s / frame", [seconds(row) for row in board.rows]))
    tables = [[first]]
    for column in columns:
        if width and len(tables[-1]) > 1 and sum(len(c[0]) + 3 for c in (*tables[-1], column)) + 1 > width:
            tables.append([first])
        tables[-1].append(column)
    return [[f"| {' | '.join(cells)} |" for cells in zip(*table)] for table in tables]


def _in_cell(words: str) -> str:
    return one_line(words).replace("|", "\\|")


def _column(name: str, cells: list[str], left: bool = False) -> list[str]:
    """Padded to one width, under a head and a rule."""
    width = max(len(cell) for cell in (name, *cells, "---"))
    rule = "-" * width if left else "-" * (width - 1) + ":"
    padded = [cell.ljust(width) if left else cell.rjust(width) for cell in (name, *cells)]
    return [padded[0], rule, *padded[1:]]


def _values(board: Board, column: str) -> list[str]:
    decimals, best = board.decimals(column), board.best(column)
    return [cell(board.report(row, column), decimals, row is best) for row in board.rows]


def cell(report: dict[str, Any] | None, decimals: int, best: bool) -> str:
    """value [low, high]"""
    if report is None:
        return "-"
    value = f"{report['value']:.{decimals}f}"
    interval = report["interval"]
    shown = f"**{value}**" if best else value
    return shown if interval is None else f"{shown} [{interval['low']:.{decimals}f}, {interval['high']:.{decimals}f}]"


def seconds(row: Row) -> str:
    """For a frame."""
    value = row.cost.get("seconds_per_frame")
    if not isinstance(value, (int, float)):
        return "-"
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"
