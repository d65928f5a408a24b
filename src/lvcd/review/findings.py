"""What a person should look at in flat frames: by the table of regions that `colorize --flat` writes, and the frames.

letters: H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError
from lvcd.flats.exact_colors import color_codes, colors_of_hex, even_pixels
from lvcd.io.disk import parse_json, printable, reading
from lvcd.io.frame_folder import BESIDE, frame_files
from lvcd.io.images import read_image
from lvcd.palettes.palette_files import read_palette
from lvcd.system import available_cores

from . import KINDS

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class ReviewSettings:
    """The settings say from where on something is found. Raises InputError for a value that cannot be used."""

    doubt: float = 0.9
    """Score of the second match, as a fraction of the best one's, from which a color is in doubt; above 1 = never."""
    speck: int = 12
    """Area of the largest speck, px."""

    def __post_init__(self) -> None:
        if not 0 <= self.doubt <= 2:
            raise InputError(f"doubt {self.doubt}: give 0 to 2; above 1 no color is in doubt")
        if self.speck < 0:
            raise InputError(f"speck {self.speck}: give px, 0 or more")


@dataclass(frozen=True)
class Finding:
    """A finding is one place in one frame that a person should look at."""

    kind: str
    """One of KINDS."""
    frame: str
    """The name of the frame, without its ending."""
    number: int
    """The frame's place in the shot, from 0."""
    box: tuple[int, int, int, int]
    """Where it is: top, left, bottom, right, px; the last two excluded."""
    area: int
    """Its area, px."""
    color: str
    """Its color as #rrggbb; "" = the region is not filled."""
    value: float
    """What it is ranked by: the doubt, or the area in px."""
    was: str = ""
    """Its color in the drawing before; "" = the same."""


@dataclass
class ReviewReport:
    """The report of a shot: its frames, its regions, and what was found in them."""

    folder: Path
    frames: list[Path]
    regions: int = 0
    findings: list[Finding] = field(default_factory=list)
    """All findings, by kind, the most striking first."""

    def counts(self) -> dict[str, int]:
        """Return the number of findings of each kind."""
        return {kind: sum(f.kind == kind for f in self.findings) for kind in KINDS}


def review_frames(
    folder: Path, settings: ReviewSettings | None = None, on_frame: Callable[[int, int], object] | None = None
) -> ReviewReport:
    """Look through a folder of flat frames. InputError: they have no table of regions, or a file is damaged."""
    settings = settings or ReviewSettings()
    tables = folder / BESIDE / "regions"
    frames = frame_files(folder) if folder.is_dir() else []
    if not frames or not tables.is_dir():
        raise InputError(f"{printable(folder)} has no table of regions: give a folder that lvcd colorize --flat wrote")
    report = ReviewReport(folder, frames)
    allowed = _palette(folder)

    def review(number: int) -> tuple[int, list[Finding]]:
        return _review_frame(frames[number], tables, number, allowed, settings)

    with ThreadPoolExecutor(available_cores()) as pool:
        for number, (regions, findings) in enumerate(pool.map(review, range(len(frames)))):
            report.regions += regions
            report.findings += findings
            if on_frame is not None:
                on_frame(number + 1, len(frames))
    order = list(KINDS)
    report.findings.sort(key=lambda f: (order.index(f.kind), -f.value, f.number, f.box))
    return report


def _palette(folder: Path) -> Array:
    """Return the colors (n 3) that the frames may have beside those of their own regions."""
    for name in ("palette.json", "reference.json"):
        if (folder / BESIDE / name).is_file():
            return read_palette(folder / BESIDE / name).colors
    return np.zeros((0, 3), np.uint8)


def _review_frame(
    file: Path, tables: Path, number: int, allowed: Array, settings: ReviewSettings
) -> tuple[int, list[Finding]]:
    """Return how many regions a frame has, and what is found in it."""
    table = tables / f"{file.stem}.json"
    with reading("table of regions", table, "paint the frames again"):
        content = parse_json(table.read_bytes())
        if content.get("blank"):
            return 0, []
        rows, lines = content["regions"], content["lines"]
        found = [finding for row in rows for finding in _in_region(row, file.stem, number, settings)]
        if not (tables.parent / "palette.json").is_file():  # of a palette, nothing else may occur
            own = [row["color"] for row in rows if not row["open"]]
            allowed = np.concatenate([allowed, colors_of_hex([*own, *lines])])
    frame = read_image(file)[..., :3]
    off = _off_palette(frame, allowed)
    if off is not None:
        box, area, color = off
        found.append(Finding("off", file.stem, number, box, area, color, area))
    return len(rows), found


def _in_region(row: dict[str, Any], frame: str, number: int, settings: ReviewSettings) -> list[Finding]:
    box, area, color = tuple(row["box"]), row["area"], row["color"]
    found = []
    if row["open"]:
        return [Finding("open", frame, number, box, area, "", area)]
    if row["alone"] and area <= settings.speck:
        found.append(Finding("speck", frame, number, box, area, color, area))
    elif row["doubt"] >= settings.doubt and area > settings.speck:
        found.append(Finding("doubt", frame, number, box, area, color, row["doubt"]))
    if row["was"] is not None and area > settings.speck:
        found.append(Finding("change", frame, number, box, area, color, area, row["was"]))
    return found


def _off_palette(frame: Array, allowed: Array) -> tuple[tuple[int, int, int, int], int, str] | None:
    """Return the box, the area and the most frequent color of even pixels of a frame that no allowed color (n 3) has.

    Even pixels have neighbors of one color, which soft edges have not. None: there are none.
    """
    code = color_codes(frame)
    off = even_pixels(frame) & ~np.isin(code, color_codes(allowed))
    if not off.any():
        return None
    colors, times = np.unique(code[off], return_counts=True)
    rows, columns = np.flatnonzero(off.any(1)), np.flatnonzero(off.any(0))
    box = int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
    return box, int(off.sum()), f"#{int(colors[times.argmax()]):06x}"
