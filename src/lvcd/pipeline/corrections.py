"""Corrections of a finished output: which frames they reach, and what those are painted from.

A corrected drawing, or one that strokes of color went over, is a key at its place from then on. It reaches the drawings
after it, up to the next key; these are painted again as a clip of their own that begins with it. All else stays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError
from lvcd.flats.strokes import SOLID, paint_strokes
from lvcd.io.disk import atomic, in_pixels, printable
from lvcd.io.frame_formats import LAYERS, STACK, frame_paths
from lvcd.io.images import read_image
from lvcd.io.output import ResumableOutput, finished_job
from lvcd.io.output_job import find_changes
from lvcd.io.output_path import is_image, is_movie, output_path
from lvcd.io.reader import FrameReader, open_frames
from lvcd.sampling.config import SamplingConfig
from lvcd.sampling.segments import plan_segments

from .exposures import Exposures
from .image_forms import array, size_of
from .inputs import check_shape
from .render_files import RenderFiles
from .render_inputs import ColoredPicture, RenderInputs, nearest
from .render_settings import RenderSettings

LOSSLESS_MOVIES = (".mkv", ".apng")
"""Movies whose frames can be taken into a new one as they are."""


@dataclass(frozen=True)
class Stretch:
    """A stretch is a row of consecutive drawings that are painted in one go, by their places among all drawings."""

    start: int
    """The first one; of a retake the corrected one."""
    stop: int
    """The one after the last that is painted."""
    end: int
    """The same, or one more where the next drawing is a key that the last ones heed."""
    number: int = 0
    """Of a retake, the number that the file of the corrected drawing has."""
    kind: str = "correction"
    """Of a retake: correction or scribble."""
    path: Path | None = None
    """Of a retake: the file of the corrected drawing, or of the strokes."""
    changed: Any = field(default=None, compare=False)
    """Of a retake with flat: (H W) bool, where the corrected drawing has another color than it had."""


@dataclass
class Retake:
    """A retake paints those frames of a finished output again that corrections and scribbles reach."""

    files: RenderFiles
    settings: RenderSettings
    job: dict[str, Any]
    """All that the frames depend on once it is done."""
    before: set[int]
    """Numbers of the drawings that were corrected by earlier retakes."""
    new: dict[int, str]
    """Number of a drawing that is corrected now -> correction or scribble."""
    is_done: bool
    """Whether the output is just that already."""
    stretches: list[Stretch] = field(default_factory=list)
    """What is painted, in order; `plan` finds it."""

    @classmethod
    def of(
        cls, output: Path, job: dict[str, Any], files: RenderFiles, settings: RenderSettings, overwrite: bool
    ) -> Retake:
        """Compare the corrections with what is recorded of the output, whose job without any is `job`.

        InputError: it is not finished, its inputs or settings were others, or it cannot be corrected.
        """
        where = printable(output)
        if both := files.corrections.keys() & files.scribbles.keys():
            raise InputError(f"drawing {min(both)} has a correction and a scribble: give one")
        if files.scribbles and not settings.flat:
            raise InputError("a scribble sets the color of regions: give it together with flat (--flat)")
        if overwrite:
            raise InputError("overwrite paints all frames again: leave it out, or the corrections")
        path = output_path(output)
        if is_movie(path) and path.suffix.lower() not in LOSSLESS_MOVIES:
            raise InputError(f"{where} is a movie whose frames change when they are written again: correct a folder of "
                             f"frames, or a movie that ends in {', '.join(LOSSLESS_MOVIES)}")  # fmt: skip
        found = finished_job(output)
        if found is None:
            raise InputError(f"{where} is no finished output: paint it first, without corrections")
        old = {kind: found.pop(kind, {}) for kind in ("corrections", "scribbles")}
        if changes := find_changes(found, json.loads(json.dumps(job))):
            raise InputError(f"{where} was painted from other inputs or settings ({changes}): correct it with the same "
                             "ones, or paint it again with --overwrite")  # fmt: skip
        now, recorded = files.changes, {}
        new = {
            int(number): kind.removesuffix("s")
            for kind, given in now.items()
            for number, sha256 in given.items()
            if old[kind].get(number) != sha256
        }
        for kind, given in old.items():
            kept = {number: sha256 for number, sha256 in given.items() if int(number) not in new}
            recorded[kind] = kept | {number: sha256 for number, sha256 in now[kind].items() if int(number) in new}
        before = {int(number) for given in old.values() for number in given} - new.keys()
        job = {**job, **{kind: dict(sorted(given.items())) for kind, given in recorded.items() if given}}
        partial = path.with_name(path.name + ".partial")  # of a run that was stopped at its very end
        return cls(files, settings, job, before, dict(sorted(new.items())), not new and not partial.exists())

    def plan(
        self,
        clip: FrameReader,
        contents: Sequence[bytes],
        exposures: Exposures,
        inputs: RenderInputs,
        out: ResumableOutput,
        notes: list[str],
    ) -> tuple[tuple[ColoredPicture, Any], ...]:
        """Find what is painted again, and take all other frames into the new output => the pictures colors come from.

        notes: what should be said is added. InputError: what is wrong with a number, or with a picture.
        """
        places = {number: self._place(number, clip, contents, exposures) for number in [*self.new, *self.before]}
        if len({places[number] for number in self.new}) < len(self.new):
            raise InputError("two corrections are of one drawing, which is held: give one")
        corrected: dict[int, tuple[ColoredPicture, Any]] = {}
        changed: dict[int, Any] = {}
        for number in [*self.before, *self.new]:  # a new one counts where an earlier one is of an equal drawing
            place, (first, *_) = places[number], exposures.shows(places[number])
            path = Path(self._path(number)) if number in self.new else out.path
            old = pixels = finished_frame(out, first, self.settings)
            if self.new.get(number) == "correction":
                pixels = array(read_image(path))
            elif number in self.new:
                pixels = self._scribbled(path, old, inputs, exposures.drawings[place], clip, notes)
            check_shape(size_of(pixels), inputs.size, str(path))
            if number in self.new and self.settings.flat:
                changed[number] = _differs(nearest(pixels, clip.size), nearest(old, clip.size))
            corrected[place] = ColoredPicture(path, place), pixels
        others = [picture for picture in inputs.pictures if picture[0].index not in corrected]
        pictures = (*others, *(corrected[place] for place in sorted(corrected)))
        given = sorted(of.index for of, _ in pictures if of.index is not None)
        for number in sorted(self.new, key=places.__getitem__):
            start = places[number]
            stop = next((place for place in given if place > start), len(exposures.drawings))
            end = stop + (stop < len(exposures.drawings))
            self.stretches.append(
                Stretch(start, stop, end, number, self.new[number], self._path(number), changed.get(number))
            )
        painted = {place for stretch in self.stretches for place in range(stretch.start, stretch.stop)}
        out.keep(index for index, shown in enumerate(exposures.frames) if shown not in painted)
        return pictures

    def write_log(
        self, clip: FrameReader, exposures: Exposures, out: ResumableOutput, sampling: SamplingConfig
    ) -> Path:
        """Add a line for each frame that was painted again to the log beside the output => its path.

        Each is a JSON object: frame (its name), drawing (its number), from (correction or scribble: number of its
        drawing), sha256 of that file, given (it is the corrected drawing itself), segment (of those that this
        correction reaches, from 0; null where the frame is given) and date.
        """
        log = out.path.with_name(out.path.name + ".corrections.jsonl")
        lines = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
        known = {_undated(line) for line in lines}
        date = datetime.now(UTC).isoformat(timespec="seconds")
        for stretch in self.stretches:
            sha256 = self.files.changes[stretch.kind + "s"][str(stretch.number)]
            segment_of = _segments(stretch, sampling)
            for place in range(stretch.start, stretch.stop):
                for index in exposures.shows(place):
                    line = {
                        "frame": out.name(index),
                        "drawing": clip.numbers[exposures.drawings[place]],
                        "from": {stretch.kind: stretch.number},
                        "sha256": sha256,
                        "given": place == stretch.start,
                        "segment": segment_of.get(place),
                        "date": date,
                    }
                    if _undated(json.dumps(line)) not in known:  # of a run that was stopped after it wrote them
                        lines.append(json.dumps(line))
        with atomic(log) as temp:
            temp.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return log

    def _path(self, number: int) -> Path:
        return (self.files.corrections if self.new[number] == "correction" else self.files.scribbles)[number]

    def _place(self, number: int, clip: FrameReader, contents: Sequence[bytes], exposures: Exposures) -> int:
        """Return the place of the drawing of a number. InputError: there is none, or it is not shown."""
        if number not in clip.numbers:
            raise InputError(f"{self.new.get(number, 'correction')} {number}: no drawing of {printable(clip.path)} has "
                             f"that number, they have {min(clip.numbers)} to {max(clip.numbers)}")  # fmt: skip
        place = exposures.place_of(clip.numbers.index(number), contents)
        if place is None:
            raise InputError(f"drawing {number} is not on the timesheet: leave its correction out")
        return place

    def _scribbled(
        self, path: Path, frame: Any, inputs: RenderInputs, drawing: int, clip: FrameReader, notes: list[str]
    ) -> Any:
        """Paint the strokes of a file over a finished frame, uint8 (H W c) => the same."""
        strokes = array(read_image(path))
        check_shape(size_of(strokes), clip.size, str(path))
        where = printable(path)
        if strokes.shape[2] != 4 or (strokes[..., 3] >= SOLID).all():
            raise InputError(f"{where} has no transparency: give strokes of color on a transparent picture")
        if frame.shape[:2] != clip.size:
            raise InputError(f"the frame of drawing {drawing} is {in_pixels(frame.shape)}, not {in_pixels(clip.size)}: "
                             "paint the output again with --overwrite")  # fmt: skip
        read = inputs.reader(clip[drawing])
        trace = read.trace if read.traces else None
        found, said = paint_strokes(frame, read.ink, trace, nearest(strokes, clip.size), self.settings.gap)
        if np.array_equal(found, frame):
            raise InputError(
                f"{where} changes nothing: its strokes are on lines alone, or in the colors that are there"
            )
        notes += [f"{where}: {line}" for line in said]
        return found


def finished_frame(out: ResumableOutput, index: int, settings: RenderSettings) -> Any:
    """Return a frame of the result that is to be replaced, uint8 (H W 3) or (H W 4); layers are laid over each other.

    InputError: it is gone or damaged.
    """
    if is_movie(out.path):
        with open_frames(out.path) as old:
            return old[index]
    if is_image(out.path):
        return array(read_image(out.path))
    files = [out.path / name for name in frame_paths(out.names[index], out.kind, settings.layers)]
    if not settings.layers or out.kind == "psd":
        return array(read_image(files[0]))
    import PIL.Image

    if out.kind == "tiff":
        import tifffile

        pages = dict(zip(LAYERS, tifffile.TiffFile(files[0]).pages))
        layers = {name: PIL.Image.fromarray(page.asarray()) for name, page in pages.items()}  # type: ignore[union-attr]
    else:
        layers = {
            name: PIL.Image.fromarray(array(read_image(file))).convert("RGBA") for name, file in zip(LAYERS, files)
        }
    hidden = {*(["ground"] if settings.alpha else []), *([] if settings.trace == "keep" else ["trace"])}
    whole = PIL.Image.new("RGBA", layers["line"].size)
    for name in STACK:
        if name not in hidden:
            whole = PIL.Image.alpha_composite(whole, layers[name])
    return np.asarray(whole if settings.alpha else whole.convert("RGB"))


def _differs(one: Any, other: Any) -> Any:
    """Return where two pictures (H W c) of one drawing have other colors, (H W) bool; clear pixels have none."""
    both = [np.dstack([x, np.full(x.shape[:2], 255, np.uint8)]) if x.shape[2] == 3 else x for x in (one, other)]
    shown = [np.where(x[..., 3:] > 127, x, 0).astype(int) for x in both]
    return (np.abs(shown[0] - shown[1])[..., :3] > 2).any(-1) | ((both[0][..., 3] > 127) != (both[1][..., 3] > 127))


def _segments(stretch: Stretch, sampling: SamplingConfig) -> dict[int, int]:
    """Return of each drawing that is painted after the first of a stretch the segment that finishes it, from 0."""
    assert sampling.window is not None
    first, count = stretch.start + 1, stretch.stop - stretch.start - 1
    found: dict[int, int] = {}
    for number, segment in enumerate(plan_segments(count, sampling.window, sampling.overlap)):
        for frame in segment.frames[: segment.count]:
            found.setdefault(first + frame, number)
    return found


def _undated(line: str) -> str:
    """Return a line of the log without its date, for comparison."""
    return json.dumps({name: value for name, value in json.loads(line).items() if name != "date"}, sort_keys=True)
