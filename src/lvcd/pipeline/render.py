"""Rendering: files in, files out. What `lvcd colorize` does, for a page, a node or a script to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.checkpoints.config_files import read_model_index
from lvcd.checkpoints.hub import find_model
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.frame_folder import FrameSelection
from lvcd.io.output import ResumableOutput, is_image, is_movie
from lvcd.io.reader import FrameReader, InputGuard, digest, open_frames
from lvcd.lineart.reading import Drawing, read_drawing
from lvcd.lineart.xdog import xdog
from lvcd.palettes.palette_files import Palette
from lvcd.weights import MINI

from .exposures import Exposures
from .flat_records import write_blank_record, write_colors, write_records
from .image_forms import array
from .inputs import color, resize
from .render_inputs import (
    ColoredPicture,
    RenderInputs,
    changed_at,
    check_movie,
    check_places,
    colored_pictures,
    find_ink_color,
    find_sound,
    flat_palette,
    job_record,
    nearest,
)
from .render_settings import RenderSettings

NO_MEMORY = "there is too little memory for frames of this size: give a smaller size, or dtype float16, or device cpu"


@dataclass(frozen=True)
class RenderProgress:
    """The progress says how far a rendering has come."""

    frames: int
    """Frames that are finished, in the output's partial folder."""
    total_frames: int
    steps: int
    """Denoising steps that are done."""
    total_steps: int
    partial: Path
    """Folder of the finished frames; `resume=True` goes on from it."""


@dataclass(frozen=True)
class RenderResult:
    """The result says where the rendered clip is."""

    path: Path
    frames: int
    already_finished: bool
    """The output was there before, from the same job, and nothing was painted."""


class RenderCancelled(Exception):  # noqa: N818  # it is no error
    """The caller cancelled; `progress` says what is finished."""

    def __init__(self, progress: RenderProgress):
        super().__init__(f"cancelled after {progress.frames} of {progress.total_frames} frames")
        self.progress = progress


@dataclass(frozen=True)
class RenderStart:
    """The start of a rendering says what is about to be painted."""

    total_frames: int
    size: tuple[int, int]
    """(height, width), px."""
    lines: str
    """dark, light, alpha or extract."""
    device: str


def render_clip(
    sketches: Path,  # a folder of images, or a movie
    reference: Path | None,  # a colored frame; None = only keys and sheets
    output: Path,  # a folder for PNG frames, or a movie (.mp4, .webm, .gif)
    model: str | Path = MINI,  # a folder, or the name of a bundled model
    reference_sketch: Path | None = None,  # the reference's line art; None = extracted, or that of reference_frame
    settings: RenderSettings | None = None,
    fps: float | None = None,  # of the output movie; None = the sketches'
    device: str = "auto",
    resume: bool = False,  # go on with an interrupted rendering
    overwrite: bool = False,  # replace an existing output, at the very end
    on_start: Callable[[RenderStart], object] | None = None,
    on_progress: Callable[[RenderProgress], object] | None = None,  # after every denoising step and finished frame
    on_warning: Callable[[str], object] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,  # asked after every denoising step
    palette: Path | None = None,  # with flat: only its colors come out, and index maps lie beside the frames
    timesheet: Path | None = None,  # says which sketch each frame of a movie shows, and which are painted at all
    keys: Mapping[int, Path] | None = None,  # number of a drawing, as its file has it -> it in color, as it comes out
    sheets: Sequence[Path] = (),  # colored pictures of any size that are no drawing of the clip, as model sheets
) -> RenderResult:
    """Paint a clip of line art from references; every sketch gets exactly one frame, equal sketches the same one.

    With a time sheet a folder gets the drawings that are on it, and a movie its frames.

    Finished frames are in a folder beside the output until all are there, so that a rendering that was cancelled,
    interrupted or killed goes on with `resume=True` and ends with the same bytes. Memory does not grow with the clip.

    Raises InputError, always one line, for files and settings that cannot be used and for too little memory;
    RenderCancelled when `is_cancelled` says so.
    """
    settings, model = settings or RenderSettings(), find_model(model)
    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"fps {fps:g}: give more than 0, up to 1000")
    keys = keys or {}
    check_places(output, sketches, reference, reference_sketch, palette, timesheet, *keys.values(), *sheets)
    movie = check_movie(output, settings)
    guards = [InputGuard(path) if path else None for path in (sketches, reference, reference_sketch)]
    palette_guard = None if palette is None else InputGuard(palette)
    sheet_guard = None if timesheet is None else InputGuard(timesheet)
    key_guards = {number: InputGuard(key) for number, key in sorted(keys.items())}
    model_sheets = [InputGuard(path) for path in sheets]
    colors = None if palette is None else flat_palette(palette, settings)
    selection = FrameSelection(
        settings.level, settings.psd_layer, leave_out=_no_drawings(reference, keys, sheets, settings)
    )
    with on_out_of_memory(NO_MEMORY), open_frames(sketches, selection) as clip:
        contents = clip.contents()  # damage is found now, before the first frame, and not in the middle of the night
        exposures = Exposures.find(contents, range(len(clip)), clip.names)
        if timesheet is not None:
            exposures = Exposures.on_sheet(clip, contents, timesheet, settings.level, movie)
        pictures = colored_pictures(clip, reference, settings.reference_frame, keys, sheets)
        inputs = RenderInputs.read(clip, sketches, pictures, reference_sketch, settings)
        job = job_record(guards, model, inputs.reader.lines, settings)
        job |= {} if palette_guard is None else {"palette": palette_guard.digest}
        job |= {"keys": {str(number): guard.digest for number, guard in key_guards.items()}} if keys else {}
        job |= {"sheets": [guard.digest for guard in model_sheets]} if sheets else {}
        if exposures.drawings != list(range(len(clip))):
            job["drawings"] = len(exposures.drawings)
        if sheet_guard is not None:
            job["timesheet"] = sheet_guard.digest
        names = None if movie else exposures.names
        rate = clip.fps if fps is None else fps
        sound, lost = find_sound(sketches, output, movie and timesheet is None, rate == clip.fps)
        with ResumableOutput(
            output, job, len(exposures.frames), rate, resume, overwrite, names, settings.format or "png",
            settings.layers, sound,
        ) as out:  # fmt: skip
            if out.done:
                given = (reference, reference_sketch, palette, timesheet, *keys.values(), *sheets)
                files = [sketches, *(file for file in given if file)]
                if max(map(changed_at, files)) > changed_at(output):
                    raise InputError(f"{output} is finished, and older than its sketches or its reference: "
                                     "overwrite it (--overwrite) to paint it again")  # fmt: skip
                return RenderResult(output, out.total, already_finished=True)
            (first, _), *more = _placed([(pictures[0], inputs.picture), *inputs.more], exposures, contents)
            settings, inputs = replace(settings, reference_frame=first.index), replace(inputs, more=tuple(more))
            for note in lost if on_warning is not None else ():
                on_warning(note)  # type: ignore[misc]
            if timesheet is not None and on_warning is not None and (left := exposures.left_out(clip, contents)):
                on_warning(f"{timesheet} does not show {left}: left out")
            watched = [
                guard for guard in (*guards, palette_guard, sheet_guard, *key_guards.values(), *model_sheets) if guard
            ]
            painter = _Painter(
                clip, exposures, inputs, watched, settings, out, on_progress, on_warning, is_cancelled, colors
            )
            return RenderResult(painter.run(model, device, on_start), out.total, already_finished=False)


def _no_drawings(
    reference: Path | None, keys: Mapping[int, Path], sheets: Sequence[Path], settings: RenderSettings
) -> tuple[Path, ...]:
    """Return the pictures that are no drawings where they lie among them; among colored frames, the others are."""
    colored = [] if settings.lines == "extract" else [*([reference] if reference else []), *keys.values()]
    return (*colored, *sheets)


def _placed(
    pictures: Sequence[tuple[ColoredPicture, Any]], exposures: Exposures, contents: Sequence[bytes]
) -> list[tuple[ColoredPicture, Any]]:
    """Return the pictures, with their pixels, with places among the drawings that are painted: one of each drawing.

    InputError: two are different, and of one drawing, which is held.
    """
    found: dict[int, Path] = {}
    placed = []
    for picture, pixels in pictures:
        if picture.index is not None:
            place = exposures.place_of(picture.index, contents)
            if place is None:
                raise InputError(f"{picture.path} is the color of a drawing that is not on the timesheet: leave it out")
            if (other := found.setdefault(place, picture.path)) is not picture.path:
                if digest(other) != digest(picture.path):
                    raise InputError(f"{other} and {picture.path} are one drawing in color, which is held: give one")
                continue
            picture = replace(picture, index=place)
        placed.append((picture, pixels))
    return placed


class _Painter:
    """Paints the frames of one output, and writes each when it is finished."""

    def __init__(
        self,
        clip: FrameReader,
        exposures: Exposures,
        inputs: RenderInputs,
        guards: Sequence[InputGuard],
        settings: RenderSettings,
        out: ResumableOutput,
        on_progress: Callable[[RenderProgress], object] | None,
        on_warning: Callable[[str], object] | None,
        is_cancelled: Callable[[], bool],
        palette: Palette | None,
    ):
        self.palette = palette
        self.clip, self.exposures, self.inputs, self.settings, self.out = clip, exposures, inputs, settings, out
        self.on_progress, self.on_warning, self.is_cancelled = on_progress, on_warning, is_cancelled
        self.guards = guards
        self.drawings = self.steps = self.total_steps = 0
        self._cel: Callable[[Any], Any] | None = None  # makes cels of what the filler filled
        self._own: dict[int, Tensor] = {}  # place -> its given frame (3 H W) in [0, 1] at the sketches' size, with flat
        self._kept = {"kept": 0, "regions": 0, "kept_frames": 0}  # with flat, of what is painted so far

    def run(self, model: Path, device: str, on_start: Callable[[RenderStart], object] | None) -> Path:
        read_model_index(model)  # a wrong folder ends here, before seconds of imports
        from .load import load_pipeline

        settings, inputs, clip = self.settings, self.inputs, self.clip
        pipeline = load_pipeline(model, device, settings.dtype, settings.offload, settings.storage)
        if settings.overlap >= pipeline.config.window:
            raise InputError(
                f"overlap {settings.overlap}: this model's window allows 0 to {pipeline.config.window - 1}"
            )
        if on_start is not None:
            on_start(RenderStart(self.out.total, inputs.size, inputs.reader.lines, str(pipeline.device)))
        for note in [*clip.notes, *inputs.reader.notes]:
            self._warn(note)
        saved = self.out.restore()
        state, self.drawings = (saved[0], int(saved[1]["frames"])) if saved else (None, 0)
        if saved and settings.flat:
            self._kept = {name: int(saved[1].get(name, 0)) for name in self._kept}
        filler = self._flat_filler(state) if settings.flat else None
        if self.palette is not None and (is_movie(self.out.path) or is_image(self.out.path)):
            self._warn(f"{self.out.path} is one file, which keeps no index maps: give a folder for lvcd recolor")
        elif self.palette is not None and (settings.alpha or settings.layers):
            self._warn("no index maps are kept of layers and of clear paper: leave them out for lvcd recolor")
        own = inputs.reference_lines(inputs.size, settings.drawing)
        further = [(of, color(pixels, inputs.size, str(of.path))[None]) for of, pixels in inputs.more]
        for chunk in pipeline.stream(
            inputs.reference[None],
            lambda frame: resize(self._drawing(frame).sketch, inputs.size)[None],
            len(self.exposures.drawings),
            pipeline.sampling_config(settings.steps, settings.overlap),
            generator=torch.Generator().manual_seed(settings.seed),
            decode_chunk_size=settings.decode_chunk,
            reference_sketch=None if own is None else own[None],
            reference_frame=settings.reference_frame,
            keys={of.index: picture for of, picture in further if of.index is not None},
            sheets=[picture for of, picture in further if of.index is None],
            on_step=self._on_step,
            state=state,
        ):
            for frame in chunk.frames[0]:
                self._write((frame + 1) / 2, filler)
            for guard in self.guards:  # before the frames count as finished
                guard.check()
            if chunk.state is not None:
                tensors = {k: v.cpu() for k, v in chunk.state.items()} | (filler.state() if filler else {})
                counts = {name: str(count) for name, count in self._kept.items()} if filler else {}
                self.out.checkpoint(tensors, {"frames": str(self.drawings), **counts})
        self._write_blanks()
        if self._kept["kept"]:
            kept, regions, drawings = self._kept.values()
            self._warn(f"flat: {kept} of {regions} regions, in {drawings} of {self.drawings} drawings, keep what the "
                       "model painted: lines enclose nothing there, or nothing in the reference matches")  # fmt: skip
        return self.out.finish()

    def _write(self, frame: Tensor, filler: Any) -> None:
        """Write what the model painted of the next drawing (3 h w) in [0, 1], wherever it is shown."""
        number, is_reference = self.drawings, False
        if filler is not None:
            drawing = self._drawing(number)
            keep = self.settings.trace == "keep" and drawing.traces
            filled = filler(drawing, frame, self._picture(number) if keep or self.settings.layers else None)
            own = None if self.palette is not None or self.settings.cels else self._own.get(number)
            is_reference = own is not None
            if own is None:
                self._kept["kept"] += filler.kept
                self._kept["regions"] += filler.regions
                self._kept["kept_frames"] += filler.kept > 0
            frame = filled.clamp(0, 1) if own is None else own
        first, *again = self.exposures.shows(number)
        self.out.write(first, array(frame) if filler is None or self._cel is None else self._cel(filler))
        for index in again:
            self.out.repeat(index, first)
        for index in (first, *again) if filler is not None else ():
            whole = not (self.settings.alpha or self.settings.layers)
            palette = self.palette if whole else None
            write_records(self.out, index, filler.bucket, palette, is_reference, self.settings.aliased)
        self.drawings += 1
        self._report()

    def _write_blanks(self) -> None:
        """Write the frames that show no drawing: white paper, or nothing at all where paper is clear."""
        size = self.clip.size if self.settings.flat else self.inputs.size
        blanks = [index for index, shown in enumerate(self.exposures.frames) if shown is None]
        for number, index in enumerate(blanks):
            if self.settings.flat:
                write_blank_record(self.out, index)
            if number:
                self.out.repeat(index, blanks[0])
            else:
                value, channels = (0, 4) if self.settings.alpha else (255, 3)
                self.out.write(index, np.full((*size, channels), value, np.uint8))

    def _flat_filler(self, state: dict[str, Tensor] | None) -> Any:
        from .paint import FlatFiller

        inputs, settings, size = self.inputs, self.settings, self.clip.size
        reference = color(inputs.picture, size, inputs.reference_name)
        if settings.reference_frame is not None:
            self._own[settings.reference_frame] = reference / 2 + 0.5
        exact = color(nearest(inputs.picture, size), size, inputs.reference_name) / 2 + 0.5
        of = 0 if settings.reference_frame is None else settings.reference_frame
        lines: Tensor | Drawing
        if settings.reference_frame is not None:
            lines = self._drawing(of)
        elif inputs.drawing is not None:
            lines = read_drawing(nearest(inputs.drawing, size), settings.drawing)
        else:
            lines = xdog(reference[None])[0]
        extracted = inputs.reader.lines == "extract"
        ink_color = None if extracted else find_ink_color(self._picture(of), self._drawing(of).ink)
        colors = None if self.palette is None else self.palette.colors
        ground = self._find_ground(exact, lines, inputs.picture) if settings.cels else None
        filler = FlatFiller(exact, lines, settings.gap, settings.trace, ink_color, colors, ground)
        for further, pixels in inputs.more:
            picture = color(pixels, size, str(further.path)) / 2 + 0.5
            exact = color(nearest(pixels, size), size, str(further.path)) / 2 + 0.5
            lines = xdog(2 * picture[None] - 1)[0] if further.index is None else self._drawing(further.index)
            if further.index is not None:
                self._own[further.index] = picture
            ground = self._find_ground(exact, lines, pixels) if settings.cels else None
            filler.add_reference(exact, lines, ground)
        write_colors(self.out, filler.bucket, self.palette)
        if state and self.drawings:
            filler.resume(self._drawing(self.drawings - 1), state)
        return filler

    def _find_ground(self, exact: Tensor, lines: Tensor | Drawing, picture: Any) -> Any:
        """Return where a reference (3 H W) shows its ground (H W) bool; the first one says how cels are made."""
        from .cels import CelMaker, find_ground

        ink = lines[0].numpy() if isinstance(lines, Tensor) else lines.ink
        ground, shown = find_ground(exact, ink, nearest(picture, self.clip.size))
        if self._cel is not None:
            return ground
        if shown is None and (self.settings.alpha or self.settings.layers):
            self._warn(f"{self.inputs.reference_name} has neither transparency nor white paper at its border: "
                       "nothing is clear, all is painted")  # fmt: skip
        self._cel = CelMaker(self.settings, shown)
        return ground

    def _drawing(self, number: int) -> Drawing:
        """Read one of the drawings that are painted, at its own size."""
        return self.inputs.reader(self._picture(number))

    def _picture(self, number: int) -> Any:
        return self.clip[self.exposures.drawings[number]]

    def _warn(self, message: str) -> None:
        if self.on_warning is not None:
            self.on_warning(message)

    def _on_step(self, steps: int, total: int) -> None:
        self.steps, self.total_steps = steps, total
        self._report()
        if self.is_cancelled():
            raise RenderCancelled(self._progress())

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self._progress())

    def _progress(self) -> RenderProgress:
        frames = sum(shown is not None and shown < self.drawings for shown in self.exposures.frames)
        return RenderProgress(frames, self.out.total, self.steps, self.total_steps, self.out.partial)
