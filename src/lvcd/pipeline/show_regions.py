"""The regions of a shot's drawings as pictures, before anything is painted: `lvcd colorize --show-regions`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lvcd.flats.region_picture import RegionColors
from lvcd.io.frame_folder import FrameSelection
from lvcd.io.output import ResumableOutput
from lvcd.io.output_path import is_movie, output_path
from lvcd.io.reader import digest, open_frames
from lvcd.lineart.reading import DrawingReader

from .render_files import check_places
from .render_settings import RenderSettings


def show_regions(
    sketches: Path,  # a folder of images, or a movie
    output: Path,  # a folder for PNG frames, or a movie
    settings: RenderSettings | None = None,
    leave_out: tuple[Path, ...] = (),  # files that are no drawings even where they lie among them: the reference
    fps: float | None = None,  # of the output movie; None = the sketches'
    resume: bool = False,
    overwrite: bool = False,
    on_warning: Callable[[str], object] | None = None,
) -> tuple[Path, str]:
    """Draw the regions between the lines of each sketch, each in a color of its own, and in red where gaps are closed.

    => where the pictures are, and a line on how many regions and closed gaps there are
    InputError: files or settings that cannot be used.
    """
    settings = settings or RenderSettings(flat=True)
    check_places(output, [sketches])
    counts, gaps = [], 0
    with open_frames(sketches, FrameSelection(settings.level, settings.psd_layer, leave_out)) as clip:
        clip.contents()  # damage is found now
        reader = DrawingReader(clip, settings.drawing)
        job = {"regions of": digest(sketches), **asdict(settings)}
        rate = clip.fps if fps is None else fps
        names = None if is_movie(output_path(output)) else clip.names
        with ResumableOutput(output, job, len(clip), rate, resume, overwrite, names) as out:
            for note in [*clip.notes, *reader.notes]:
                if on_warning is not None:
                    on_warning(note)
            draw = RegionColors()
            for number in range(len(clip) if out.done else 0, len(clip)):
                picture, regions, closed = draw(reader(clip[number]).lines, settings.gap)
                out.write(number, picture)
                counts.append(regions)
                gaps += closed
            path = out.finish()
    if not counts:
        return path, "the regions were drawn before"
    return path, f"{min(counts)} to {max(counts)} regions in {len(counts)} drawings, {gaps} gaps closed"
