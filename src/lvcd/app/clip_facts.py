"""What the drawings of a clip are, in words and pictures, before anything is painted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lvcd.flats.region_picture import RegionColors
from lvcd.io.images import over_white, write_png
from lvcd.io.reader import FrameReader
from lvcd.lineart.paper import Paper
from lvcd.lineart.reading import DRAWINGS_SAMPLED, Drawing, DrawingReader, DrawingSettings
from lvcd.spacing import evenly_spaced

Array = np.ndarray[Any, Any]

THUMBNAIL_PX = 160
"""Of the longer side of pictures on the strip."""
_LINES = {
    "dark": "dark lines on light paper",
    "light": "light lines on dark paper",
    "alpha": "lines on transparency",
    "extract": "colored frames, whose lines are drawn first",
}
_INK = {"red": (214, 39, 40), "green": (34, 139, 34), "blue": (31, 80, 200)}
"""How trace lines are shown; others are orange."""


@dataclass(frozen=True)
class ClipFacts:
    """The facts say what was read of a clip."""

    names: list[str]
    """Of each drawing's file, without ending."""
    numbers: list[int]
    size: tuple[int, int]
    """(height, width), px."""
    fps: float
    words: list[str]
    """One line each: how many drawings, lines, trace lines, paper, numbers that are missing, what is left out."""


def find_facts(clip: FrameReader, settings: DrawingSettings) -> ClipFacts:
    """Read a clip as a rendering would. InputError: what is wrong with a file."""
    contents = clip.contents()
    reader = DrawingReader(clip, settings)
    traces = sorted({hue for i in evenly_spaced(len(clip), DRAWINGS_SAMPLED) for hue in reader(clip[i]).traces})
    height, width = clip.size
    count = len(clip)
    words = [f"{count} drawing{'s' * (count > 1)} of {width} x {height} pixels, {_span(clip.numbers)}"]
    if missing := missing_numbers(clip.numbers):
        words.append(f"numbers without a drawing: {missing}")
    if held := len(contents) - len(set(contents)):
        words.append(f"{held} of them repeat{'s' * (held == 1)} another drawing: painted once, and held")
    words.append(f"read as {_LINES[reader.lines]}")
    words.append(f"trace lines: {', '.join(traces)}" if traces else "no trace lines: all lines are ink")
    if reader.lines in ("dark", "light"):
        words.append(f"paper: {_paper_words(reader.paper)}")
    return ClipFacts(clip.names, clip.numbers, clip.size, clip.fps, [*words, *clip.notes, *reader.notes])


def missing_numbers(numbers: Sequence[int]) -> str:
    """Return which numbers between the first and the last have no drawing, like "4, 6 to 7"; "" if none."""
    ordered = sorted(set(numbers))
    holes = [(a + 1, b - 1) for a, b in zip(ordered, ordered[1:]) if b > a + 1]
    parts = [str(a) if a == b else f"{a} to {b}" for a, b in holes]
    return ", ".join(parts[:8]) + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")


def write_pictures(clip: FrameReader, folder: Path) -> None:
    """Write every drawing, over white, as a PNG at its own size into drawings/ and a small one into strip/."""
    for name in ("drawings", "strip"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number, drawing in enumerate(clip):
        shown = over_white(drawing)
        scale = min(1.0, THUMBNAIL_PX / max(shown.shape[:2]))
        h, w = (max(1, round(n * scale)) for n in shown.shape[:2])
        write_png(folder / "drawings" / f"{number:05d}.png", shown)
        write_png(folder / "strip" / f"{number:05d}.png", cv2.resize(shown, (w, h), interpolation=cv2.INTER_AREA))


def picture_as_read(drawing: Drawing) -> Array:
    """Draw what was read on white, uint8 (H W 3): ink black, and trace lines in color."""
    picture = np.repeat(1 - drawing.ink[..., None], 3, -1)
    for hue, cover in drawing.traces.items():
        ink = np.array(_INK.get(hue, (230, 120, 0)), np.float32) / 255
        picture = picture * (1 - cover[..., None]) + ink * cover[..., None]
    return np.rint(picture * 255).astype(np.uint8)


def picture_of_regions(drawing: Drawing, gap: Any) -> tuple[Array, str]:
    """Draw the regions that would be filled, uint8 (H W 3), closed gaps in red => with a line on how many there are."""
    picture, regions, closed = RegionColors()(drawing.lines, gap)
    return picture, f"{regions} regions, {closed} gap{'s' * (closed != 1)} closed (red)"


def _span(numbers: Sequence[int]) -> str:
    first, last = min(numbers), max(numbers)
    return f"number {first}" if first == last else f"numbers {first} to {last}"


def _paper_words(paper: Paper) -> str:
    if paper.is_white:
        return "white"
    tone = " ".join(str(round(255 * value)) for value in paper.tone)
    grain = f", with grain ({100 * paper.grain:.1f} %)" if paper.grain > 0 else ""
    return f"{'even' if paper.even else 'unevenly lit'}, of R G B {tone}{grain}, taken as white"
