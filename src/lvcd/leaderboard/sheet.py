"""A row's best, median and worst clip as one image."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from lvcd.errors import InputError
from lvcd.io.disk import atomic, printable, require_file, writing
from lvcd.io.reader import open_frames
from lvcd.report.sheets import Array, contact_sheet, vstack
from lvcd.spacing import evenly_spaced

from .clips import SOURCE_KINDS, main_metric, media_file
from .row import Row
from .table import boards, rank_key, single_line

FRAMES_SHOWN = 4
"""Frames of a clip, the first and the last among them."""
PLACES = ("best", "median", "worst")


def write_sheet(out: Path, row: Row, folder: Path, column: str | None = None) -> str:
    """Draw a row's best, median and worst clip from their media below `folder`, and return a line on which they are.

    out: a .png. column: its scores rank the clips; None = the first one that has a better.
    InputError: `out` is no .png, no scores, a clip without media, a missing or foreign file, or the disk.
    """
    if out.suffix.lower() != ".png":
        raise InputError(f"{printable(out)}: end its name in .png")
    column, scores = _ranked(row, column)
    chosen = [list(scores)[i] for i in evenly_spaced(len(scores), len(PLACES))]
    places = PLACES if len(chosen) == len(PLACES) else (PLACES[0], PLACES[-1])
    titles = [f"{place} of {len(scores)} by {column}: {scores[key]:.4g}, {key}" for place, key in zip(places, chosen)]
    sheets = [_clip(row, key, title, folder) for key, title in zip(chosen, titles)]
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with atomic(out) as temp:
        vstack(sheets).quantize().save(temp, format="PNG", optimize=True)
    return single_line(f"{out}: {row.name}; {'; '.join(titles)}")


def _ranked(row: Row, column: str | None) -> tuple[str, dict[str, float]]:
    """Return the column, and the score of each clip that has one, best first."""
    board = boards([row])[0]
    scored = {name for clip in row.clips for name, value in clip["scores"].items() if value is not None}
    known = [name for name in board.columns if name in scored]
    column = column or main_metric(board)
    if column not in known:
        raise InputError(
            f"{row.name} ({row.id}) has no clips scored by {column}: there are {', '.join(known)}" if known else
            f"{row.name} ({row.id}) has no scores of clips: draw a row that was measured here"
        )  # fmt: skip
    scores = {clip["key"]: value for clip in row.clips if (value := clip["scores"].get(column)) is not None}
    return column, dict(sorted(scores.items(), key=lambda item: rank_key(item[1], board.columns[column])))


def _clip(row: Row, key: str, title: str, folder: Path) -> Image.Image:
    """Draw a clip: the reference at the left with line art beside it, below that painted and original frames."""
    painted = next(clip["media"] for clip in row.clips if clip["key"] == key)
    if painted is None or row.source_media is None:
        raise InputError(f"{row.name} ({row.id}) kept no clips: evaluate it again")
    reference, sketch, original = (_frames(folder, f"{row.source_media}/{key}.{kind}") for kind in SOURCE_KINDS)
    rows: dict[str, list[Array | None]] = {
        f"{title}. Reference and line art": [*reference, *sketch],
        "painted": [None, *_frames(folder, painted)],
        "original": [None, *original],
    }
    return contact_sheet(rows)


def _frames(folder: Path, name: str) -> list[Array]:
    file = media_file(folder, name)
    require_file(file)
    with open_frames(file) as reader:
        return [reader[i] for i in evenly_spaced(len(reader), FRAMES_SHOWN)]
