"""Time sheets: which drawing of a level each frame of a shot shows.

XDTS is a line "exchangeDigitalTimeSheet Save Data" and JSON, written by OpenToonz, CLIP STUDIO and others; a cell holds
until the next one. The CSV of TVPaint and Krita has a row for each frame and a column for each layer, with the names of
image files. (Read after OpenToonz' xdtsio.cpp and Krita's csv_saver.cpp.)
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcd.errors import InputError

from .disk import parse_json, printable, reading, require_file
from .frame_folder import level_of

XDTS_HEADER = "exchangeDigitalTimeSheet Save Data"
MAX_FRAMES = 100_000
"""Of a shot: a sheet with more is damaged."""
_CELLS = 0  # the field of an XDTS with drawings; others are dialogue and camera
_EMPTY = ("SYMBOL_NULL_CELL", "")
_HOLD = ("SYMBOL_HYPHEN", "SYMBOL_TICK_1", "SYMBOL_TICK_2")
_ADVICE = "export it again as XDTS, or as the CSV of TVPaint or Krita"


@dataclass(frozen=True)
class TimeSheet:
    """A time sheet says what each frame of a shot shows, level by level."""

    path: Path
    levels: list[tuple[str, list[str | None]]]
    """Name of each level, and of each frame the cell: a drawing's number or the name of its file; None = nothing."""

    def drawings(self, names: Sequence[str], numbers: Sequence[int], level: str | None = None) -> list[int | None]:
        """Return, for each frame of the shot, which of some drawings it shows; None = nothing.

        names, numbers  of the drawings
        level           which level of the sheet; None = the only one, or the one that the drawings are called after
        InputError: no such level, or several; a cell that no drawing has; a sheet that shows nothing.
        """
        title, cells = self._choose(names, level)
        by_name = {name.casefold(): index for index, name in reversed(list(enumerate(names)))}
        by_key = {_key(name): index for index, name in reversed(list(enumerate(names)))}
        by_key |= {(number, ""): index for index, number in enumerate(numbers) if (number, "") not in by_key}
        found: list[int | None] = []
        for frame, cell in enumerate(cells):
            if cell is None:
                found.append(None)
                continue
            place = _find(cell, title, by_name, by_key)
            if place is None:
                raise InputError(f"{printable(self.path)} shows {printable(cell)} of {printable(title)} at frame "
                                 f"{frame + 1}, and no drawing is that one: add it, or mend the sheet")  # fmt: skip
            found.append(place)
        if not any(place is not None for place in found):
            raise InputError(f"{printable(self.path)} shows no drawing of {printable(title)}: choose another level")
        return found

    def _choose(self, names: Sequence[str], level: str | None) -> tuple[str, list[str | None]]:
        wanted = [level] if level is not None else sorted({level_of(name) for name in names})
        same = [entry for entry in self.levels if entry[0].casefold() in {name.casefold() for name in wanted}]
        if len(same) == 1:
            return same[0]
        if len(self.levels) == 1 and level is None:
            return self.levels[0]
        known = ", ".join(printable(name) for name, _ in self.levels)
        if level is not None:
            many = "several levels" if same else "no level"
            raise InputError(f"{printable(self.path)} has {many} {printable(level)}: its levels are {known}")
        raise InputError(f"{printable(self.path)} has the levels {known}: choose one with --level")


def read_timesheet(path: Path) -> TimeSheet:
    """Read an XDTS or CSV file. InputError: it is neither, or damaged."""
    require_file(path)
    with reading("time sheet", path, _ADVICE):
        text = path.read_bytes().decode("utf-8-sig", "replace")
        first = text.lstrip().partition("\n")[0].strip()
        if first.startswith(XDTS_HEADER):
            levels = _xdts(text.lstrip()[len(XDTS_HEADER) :])
        elif "TVPaint" in first and "CSV" in first:
            levels = _tvpaint(text)
        else:
            raise ValueError(f'it begins neither with "{XDTS_HEADER}" nor as the CSV of TVPaint and Krita')
    levels = [(name, cells) for name, cells in levels if any(cell is not None for cell in cells)]
    if not levels:
        raise InputError(f"{printable(path)} shows no drawings: {_ADVICE}")
    return TimeSheet(path, levels)


def _find(cell: str, title: str, by_name: dict[str, int], by_key: dict[tuple, int]) -> int | None:
    """Return which drawing a cell means: the one of that name, or of that number."""
    stem = re.sub(r"\.[A-Za-z]{3,4}$", "", cell)
    label = re.sub(r"^(\[\d+\])+\s*", "", stem)
    for name in (stem, label):
        if name.casefold() in by_name:
            return by_name[name.casefold()]
    if label.casefold() == title.casefold() and (number := re.match(r"\[\d+\]\[(\d+)\]", stem)):
        return by_key.get((int(number[1]), ""))  # TVPaint: an image without a name of its own has its layer's
    return by_key.get(_key(label))


def _key(name: str) -> tuple:
    """Return the number that a name ends in, and the letter behind it: A0001a => (1, "a")."""
    found = re.search(r"(\d+)([^\d]?)$", name)
    return (int(found[1]), found[2].casefold()) if found else (name.casefold(), None)


def _xdts(text: str) -> list[tuple[str, list[str | None]]]:
    try:
        table = parse_json(text.encode())["timeTables"][0]
        duration = int(table["duration"])
        field = next(field for field in table["fields"] if field["fieldId"] == _CELLS)
        headers = [header["names"] for header in table.get("timeTableHeaders", ()) if header["fieldId"] == _CELLS]
        names = headers[0] if headers else []
        if not 0 < duration <= MAX_FRAMES:
            raise ValueError(f"it lasts {duration} frames")
        levels = []
        for track in field["tracks"]:
            number = int(track["trackNo"])
            name = str(names[number]) if number < len(names) and names[number] else str(number + 1)
            levels.append((name, _held(track["frames"], duration)))
        return levels
    except (KeyError, IndexError, TypeError, StopIteration, RecursionError) as error:
        raise ValueError(f"its content is not as that of XDTS files: {type(error).__name__} {error}") from error


def _held(events: list[dict[str, Any]], duration: int) -> list[str | None]:
    """Return the cells of all frames from those at which they change."""
    changes: dict[int, str | None] = {}
    for event in sorted(events, key=lambda event: int(event["frame"])):
        values = event["data"][0]["values"] if event["data"] else []
        value = str(values[0]) if values else ""
        if value not in _HOLD:
            changes[max(0, int(event["frame"]))] = None if value in _EMPTY else value
    cells: list[str | None] = []
    for frame in range(duration):
        cells.append(changes[frame] if frame in changes else cells[-1] if cells else None)
    return cells


def _tvpaint(text: str) -> list[tuple[str, list[str | None]]]:
    rows = [row for row in csv.reader(text.splitlines(), skipinitialspace=True) if row]
    titles = next((row[1:] for row in rows if row[0] == "#Layers"), None)
    frames = {int(row[0][1:]): row[1:] for row in rows if re.fullmatch(r"#\d+", row[0])}
    header = next((number for number, row in enumerate(rows) if "Frame Count" in row), None)
    if not titles or not frames or header is None:
        raise ValueError("it has no #Layers, no Frame Count or no rows of frames")
    count = int(rows[header + 1][rows[header].index("Frame Count")])
    first = min(frames)
    if not 0 < count <= MAX_FRAMES or max(frames) - first >= MAX_FRAMES:
        raise ValueError(f"it lasts {count} frames")
    levels: list[tuple[str, list[str | None]]] = [(title, []) for title in titles]
    for frame in range(first, first + max(count, max(frames) - first + 1)):
        row = frames.get(frame)
        shown: dict[int, str] = {}
        for column, cell in enumerate(row or ()):
            layer = re.match(r"\[(\d+)\]\[\d+\]", cell)  # rows of TVPaint leave empty layers out
            if cell:
                shown[int(layer[1]) - 1 if layer else column] = cell
        for number, (_, cells) in enumerate(levels):
            cells.append((cells[-1] if cells else None) if row is None else shown.get(number))
    return levels
