"""The leaderboard for Weights & Biases: a table for each protocol, and one of its clips with what was painted."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from .cited import cited
from .clips import ClipMedia, ClipSelection
from .row import Row, read
from .table import Board, boards


def send(rows: Iterable[Row], folder: Path, megabytes: float = 50, project: str = "lvcd") -> None:
    """Send the tables to the leaderboard's W&B run, which `folder` keeps and the next call resumes.

    megabytes: clips of so many MB are sent. See `lvcd.loggers.Wandb` for keys. InputError: no row was measured, a file
    that is no clip of the folder's, or W&B refuses.
    """
    from lvcd.loggers import Wandb  # takes seconds

    shown = boards(rows)
    measured = [board for board in shown if board.source is None]
    clips = ClipSelection(folder, megabytes * 1e6).of(measured)
    os.environ.setdefault("WANDB_DATA_DIR", str(folder / "wandb"))  # copies of clips wait here, not in the home folder
    logger = Wandb(str(folder), project=project, resume=True, log_model=False)
    tables = {}
    for board in shown:
        name = f"{'published' if board.source else 'leaderboard'}/{board.protocol['name']} {board.key}"
        tables[name] = summary(board)
        if board.key in clips:
            tables[f"{name} clips"] = clip_table(board, clips[board.key])
    logger.experiment.log(tables)
    logger.finalize("success")


def send_if_requested(requested: bool | str | None, file: Path) -> None:
    """Send the leaderboard in `file`, where `wandb` of conf/eval/eval.yaml is true or the name of a project."""
    if requested:
        send([*read(file), *cited()], file.parent, project="lvcd" if requested is True else str(requested))


def summary(board: Board) -> Any:
    """Return a board as a table: one row a method, each value with the ends of its interval."""
    from wandb import Table

    head = ["method", "row", "clips", "warnings"]
    head += [name for column in board.columns for name in (column, f"{column} low", f"{column} high")]
    table = Table(columns=[*head, "s / frame", "source"], allow_mixed_types=True)
    for row in board.rows:
        values = [value for column in board.columns for value in _ends(board.report(row, column))]
        warnings = "; ".join(row.warnings)
        seconds = row.cost.get("seconds_per_frame")
        table.add_data(board.label(row), row.id, row.n, warnings, *values, seconds, row.source)
    return table


def _ends(report: Mapping[str, Any] | None) -> tuple[float | None, float | None, float | None]:
    if report is None:
        return None, None, None
    interval = report["interval"] or {"low": None, "high": None}
    return report["value"], interval["low"], interval["high"]


def clip_table(board: Board, clips: Mapping[str, ClipMedia]) -> Any:
    """Return the clips of a board as a table: one row a clip and method, with its scores and media."""
    from wandb import Image, Table, Video

    def video(file: Path | None) -> Any:
        return Video(str(file), format="webm") if file else None

    scored = {column for row in board.rows for clip in row.clips for column in clip["scores"]}
    columns = [column for column in board.columns if column in scored]
    head: list[str | int] = ["clip", "method", *columns, "reference", "line art", "painted", "original"]
    table = Table(columns=head, allow_mixed_types=True)
    for i, row in enumerate(board.rows):
        for clip in row.clips:
            files = clips.get(clip["key"])
            media: list[Any] = [None] * 4
            if files:
                reference = Image(str(files.reference)) if files.reference else None
                media = [reference, video(files.sketch), video(files.methods[i]), video(files.original)]
            table.add_data(clip["key"], board.label(row), *(clip["scores"].get(column) for column in columns), *media)
    return table
