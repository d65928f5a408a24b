"""What a shot looks like on the page: the strip of its drawings, the player, one picture, links, and how far it is.

Handlers in `page` put these values into components; a value is HTML, or what the JavaScript beside this file draws.
"""

from __future__ import annotations

import html
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from lvcd.errors import InputError
from lvcd.io.images import over_white, read_image, write_png
from lvcd.lineart.reading import DrawingReader

from .clip_facts import ClipFacts, picture_as_read, picture_of_regions
from .downloads import PALETTES, painted_files, shown_file
from .shot_folder import Shot
from .shot_painter import Painting

DRAWING, AS_READ, REGIONS, COLORED = "the drawing", "as it is read", "regions to fill", "in color"
"""Ways to look at a drawing."""


def strip_of(shot: Shot, facts: ClipFacts, place: int) -> dict[str, Any]:
    """Return what strip.js draws: each drawing's number, small picture and mark, and which one is selected."""
    painted = {file.stem for file in painted_files(shot)}
    height, width = facts.size
    drawings = []
    for index, (name, number) in enumerate(zip(facts.names, facts.numbers)):
        mark = "key" if number in shot.record.keys else "painted" if name in painted else ""
        mark = "corrected" if number in {*shot.record.corrections, *shot.record.strokes} else mark
        picture = _address(shot, shot.folder / "view" / "strip" / f"{index:05d}.png")
        drawings.append({"label": str(number), "picture": picture, "mark": mark, "width": width, "height": height})
    return {"drawings": drawings, "selected": place}


def player_of(shot: Shot, facts: ClipFacts, fps: float, place: int) -> dict[str, Any]:
    """Return what player.js plays: each drawing beside what was painted of it, and where it stands."""
    painted = {file.stem: file for file in painted_files(shot)}
    frames = []
    for index, (name, number) in enumerate(zip(facts.names, facts.numbers)):
        drawing = _address(shot, shot.folder / "view" / "drawings" / f"{index:05d}.png")
        file = painted.get(name)
        shown = None if file is None else _address(shot, _shown(shot, number, file))
        frames.append({"label": str(number), "drawing": drawing, "painted": shown})
    return {"frames": frames, "fps": fps or 12, "place": place, "width": facts.size[1], "height": facts.size[0]}


def picture_of(shot: Shot, facts: ClipFacts, place: int, look: str, gap: Any) -> str:
    """Return a drawing as HTML: itself, as it is read, its regions, or in color."""
    number, words = facts.numbers[place], look
    file = shot.folder / "view" / "drawings" / f"{place:05d}.png"
    if look == COLORED:
        painted = {one.stem: one for one in painted_files(shot)}
        found = shot.keys.get(number) or painted.get(facts.names[place])
        if found is None:
            return f"<p>drawing {number} has no key and is not painted yet</p>"
        words = "its key" if number in shot.keys else "painted"
        file = shot.folder / "view" / "color.png"
        write_png(file, over_white(read_image(found)))
    elif look in (AS_READ, REGIONS):
        with shot.clip() as clip:
            drawing = DrawingReader(clip, shot.record.settings.drawing)(clip[place])
        pixels = picture_as_read(drawing)
        if look == REGIONS:
            pixels, words = picture_of_regions(drawing, gap)
        file = shot.folder / "view" / "read.png"
        write_png(file, pixels)
    caption = html.escape(f"drawing {number}: {words}")
    aspect = f"--aspect: {facts.size[1] / facts.size[0]:.4f}"
    picture = f'<img style="{aspect}" src="{_address(shot, file)}" alt="{caption}">'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def _shown(shot: Shot, number: int, frame: Path) -> Path:
    """Return a PNG of a painted frame, with the correction that is not painted yet."""
    if (given := shot.corrections.get(number)) is not None:
        return shown_file(shot, given)
    if (strokes := shot.strokes.get(number)) is None:
        return shown_file(shot, frame)
    file = shot.folder / "view" / "painted" / f"{frame.stem}-corrected.png"
    if not file.exists() or file.stat().st_mtime_ns < strokes.stat().st_mtime_ns:
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels, over = over_white(read_image(frame)), read_image(strokes)
        write_png(file, np.where(over[..., 3:] > 0, over[..., :3], pixels))
    return file


def painted_frame(shot: Shot, facts: ClipFacts, place: int) -> Path:
    """Return the frame of a drawing of a finished shot. InputError: it is not painted."""
    found = {file.stem: file for file in painted_files(shot)}.get(facts.names[place])
    if found is None or shot.partial.is_dir():
        raise InputError(f"drawing {facts.numbers[place]} is not painted to its end yet: paint first")
    return found


def download_links(shot: Shot, fps: float) -> str:
    """Return links to what can be downloaded, as HTML."""
    if not shot.painted.is_dir():
        return "<p>Downloads are here when all is painted.</p>"
    whats = ["frames.zip", *["layers.zip"] * shot.record.settings.layers, "movie.mp4"]
    whats += [f"palette{suffix}" for suffix in PALETTES]
    return "<p>Download:</p>" + "".join(
        f'<a href="/take/{shot.name}/{what}?fps={fps or 12:g}" download="{shot.name}-{what}">{what}</a>'
        for what in whats
    )


def _address(shot: Shot, file: Path) -> str:
    return f"/shots/{shot.name}/{quote(file.relative_to(shot.folder).as_posix())}?v={file.stat().st_mtime_ns}"


def say(words: str, wrong: bool = False) -> str:
    """Return a line for the top of the page, which a screen reader reads out; `wrong`: it is an error."""
    role = 'role="alert" class="wrong"' if wrong else 'role="status"'
    return f"<p {role}>{html.escape(words)}</p>"


def progress_of(painting: Painting | None) -> str:
    """Return how far a painting is, as HTML: a bar, frames, steps and time left, and what was said."""
    if painting is None:
        return ""
    at = painting.progress
    words = "reading drawings and loading the model ..." if at is None else (
        f"{at.frames} of {at.total_frames} frames, step {at.steps} of {at.total_steps}"
    )  # fmt: skip
    if painting.running and (left := painting.seconds_left(time.monotonic())) is not None:
        words += f", about {duration(left)} left"
    if not painting.running:
        words = f"{painting.state}: {words}" if at is not None else painting.state
    said = "".join(f"<li>{html.escape(line)}</li>" for line in painting.words)
    percent = round(100 * painting.share)
    return (
        f'<div class="bar" role="progressbar" aria-label="painting" aria-valuemin="0" aria-valuemax="100" '
        f'aria-valuenow="{percent}"><i style="width: {percent}%"></i></div><p>{html.escape(words)}</p>'
        + (f"<ul>{said}</ul>" if said else "")
    )


def duration(seconds: float) -> str:
    """Return a time as people say it: 40 s, 3 min, 2 h 5 min."""
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
