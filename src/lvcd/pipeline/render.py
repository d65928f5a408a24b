"""Rendering: files in, files out. What `lvcd colorize` does, for a page, a node or a script to call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from lvcd.checkpoints.config_files import read_model_index
from lvcd.checkpoints.hub import find_model
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.frame_folder import FrameSelection
from lvcd.io.output import ResumableOutput
from lvcd.io.output_path import is_image, is_movie
from lvcd.io.reader import FrameReader, digest, open_frames
from lvcd.lineart.reading import Drawing, read_drawing
from lvcd.lineart.xdog import xdog
from lvcd.palettes.palette_files import Palette
from lvcd.weights import MINI

from .corrections import Retake, Stretch
from .exposures import Exposures
from .flat_records import write_blank_record, write_colors, write_records
from .image_forms import array
from .inputs import color, resize
from .render_files import RenderFiles, check_places
from .render_inputs import (
    ColoredPicture,
    RenderInputs,
    check_movie,
    find_ink_color,
    find_sound,
    flat_palette,
    job_record,
    nearest,
)
from .render_settings import RenderSettings

if TYPE_CHECKING:
    from .cels import CelMaker
    from .flat_filler import FlatFiller

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
    painted_again: int = 0
    """Frames of a finished output that were painted again, because corrections or scribbles reach them."""


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
    output: Path,  # a folder for frames, a movie, or for one sketch an image
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
    adapters: Sequence[tuple[Path, float]] = (),  # folders or files of adapters of the model, each with its weight
    corrections: Mapping[int, Path] | None = None,  # of a finished output: number of a drawing -> it in color
    scribbles: Mapping[int, Path] | None = None,  # the same with flat -> strokes of color on a transparent picture
) -> RenderResult:
    """Paint a clip of line art from references; every sketch gets exactly one frame, equal sketches the same one.

    With corrections or scribbles a finished output of the same inputs and settings is painted again where they reach:
    from their drawing up to the next one that is given in color. All other frames keep their bytes.

    With a time sheet a folder gets the drawings that are on it, and a movie its frames.

    Finished frames are in a folder beside the output until all are there, so that a rendering that was cancelled,
    interrupted or killed goes on with `resume=True` and ends with the same bytes. Memory does not grow with the clip.

    Raises InputError, always one line, for files and settings that cannot be used and for too little memory;
    RenderCancelled when `is_cancelled` says so.
    """
    settings, model = settings or RenderSettings(), find_model(model)
    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"fps {fps:g}: give more than 0, up to 1000")
    files = RenderFiles(
        sketches,
        reference,
        reference_sketch,
        palette,
        timesheet,
        keys or {},
        sheets,
        corrections or {},
        scribbles or {},
    )
    check_places(output, [*files.paths, *(path for path, _ in adapters)])
    movie = check_movie(output, settings)
    colors = None if palette is None else flat_palette(palette, settings)
    selection = FrameSelection(settings.level, settings.psd_layer, leave_out=files.no_drawings(settings.lines))
    with on_out_of_memory(NO_MEMORY), open_frames(sketches, selection) as clip:
        contents = clip.contents()  # damage is found now, before the first frame, and not in the middle of the night
        if timesheet is None:
            exposures = Exposures.find(contents, range(len(clip)), clip.names)
        else:
            exposures = Exposures.on_sheet(clip, contents, timesheet, settings.level, movie)
        inputs = RenderInputs.read(clip, files, settings)
        job = job_record(files, model, inputs.reader.lines, settings, adapters)
        if exposures.drawings != list(range(len(clip))):
            job["drawings"] = len(exposures.drawings)
        names = None if movie else exposures.names
        rate = clip.fps if fps is None else fps
        sound, notes = find_sound(sketches, output, movie and timesheet is None, rate == clip.fps)
        if timesheet is not None and (left_out := exposures.left_out(clip, contents)):
            notes.append(f"{timesheet} does not show {left_out}: left out")
        retake = None
        if corrections or scribbles:
            retake = Retake.of(output, {**job, "total": len(exposures.frames)}, files, settings, overwrite)
            job = {name: value for name, value in retake.job.items() if name != "total"}
            if retake.is_done:
                return RenderResult(output, len(exposures.frames), already_finished=True)
            resume = overwrite = True  # the old frames stay until the new ones are whole
        with ResumableOutput(
            output, job, len(exposures.frames), rate, resume, overwrite, names, settings.format or "png",
            settings.layers, sound,
        ) as out:  # fmt: skip
            if out.done:
                if files.is_newer_than(output):
                    raise InputError(f"{output} is finished, and older than its sketches or its reference: "
                                     "overwrite it (--overwrite) to paint it again")  # fmt: skip
                return RenderResult(output, out.total, already_finished=True)
            inputs = replace(inputs, pictures=tuple(_placed(inputs.pictures, exposures, contents)))
            if retake is not None:
                inputs = replace(inputs, pictures=retake.plan(clip, contents, exposures, inputs, out, notes))
            painter = _Painter(
                clip, exposures, inputs, files, settings, out, on_progress, on_warning, is_cancelled, colors, retake
            )
            path = painter.run(model, device, on_start, notes, adapters)
            return RenderResult(path, out.total, already_finished=False, painted_again=painter.total if retake else 0)


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
        files: RenderFiles,
        settings: RenderSettings,
        out: ResumableOutput,
        on_progress: Callable[[RenderProgress], object] | None,
        on_warning: Callable[[str], object] | None,
        is_cancelled: Callable[[], bool],
        palette: Palette | None,
        retake: Retake | None,
    ):
        self.palette, self.retake = palette, retake
        self.clip, self.exposures, self.inputs, self.settings, self.out = clip, exposures, inputs, settings, out
        every = len(exposures.drawings)
        self.stretches = [Stretch(0, every, every)] if retake is None else retake.stretches
        self.total = out.total if retake is None else len(self._frames_before(every))
        """Frames that are written, all of the output or those that are painted again."""
        self.on_progress, self.on_warning, self.is_cancelled = on_progress, on_warning, is_cancelled
        self.files = files
        self.drawings = self.steps = self.total_steps = self._steps_before = 0
        self._cels: CelMaker | None = None  # with settings.cels: makes frames of what the filler filled
        self._own: dict[int, Tensor] = {}  # place -> its given frame (3 H W) in [0, 1] at the sketches' size, with flat
        self._kept = {"kept": 0, "regions": 0, "kept_frames": 0}  # with flat, of what is painted so far

    def run(
        self,
        model: Path,
        device: str,
        on_start: Callable[[RenderStart], object] | None,
        notes: Sequence[str],  # what is to be said before
        adapters: Sequence[tuple[Path, float]],
    ) -> Path:
        """Paint and write what is not written yet => the result."""
        read_model_index(model)  # a wrong folder ends here, before seconds of imports
        from .load import load_pipeline

        settings, inputs, clip = self.settings, self.inputs, self.clip
        pipeline = load_pipeline(model, device, settings.dtype, settings.offload, settings.storage, adapters)
        if settings.overlap >= pipeline.config.window:
            raise InputError(
                f"overlap {settings.overlap}: this model's window allows 0 to {pipeline.config.window - 1}"
            )
        if on_start is not None:
            on_start(RenderStart(self.total, inputs.size, inputs.reader.lines, str(pipeline.device)))
        for note in [*notes, *clip.notes, *inputs.reader.notes]:
            self._warn(note)
        saved = self.out.restore()
        state, self.drawings = (saved[0], int(saved[1]["frames"])) if saved else (None, 0)
        if saved and settings.flat:
            self._kept = {name: int(saved[1].get(name, 0)) for name in self._kept}
        if self.palette is not None and (is_movie(self.out.path) or is_image(self.out.path)):
            self._warn(f"{self.out.path} is one file, which keeps no index maps: give a folder for lvcd recolor")
        elif self.palette is not None and (settings.alpha or settings.layers):
            self._warn("no index maps are kept of layers and of clear paper: leave them out for lvcd recolor")
        done = int(saved[1].get("stretch", 0)) if saved else 0
        for number, stretch in enumerate(self.stretches[done:], done):
            self._paint(pipeline, number, stretch, state if number == done else None)
        if self.retake is None:
            self._write_blanks()
        if self._kept["kept"]:
            kept, regions, drawings = self._kept.values()
            count = sum(stretch.stop - stretch.start for stretch in self.stretches)
            self._warn(f"flat: {kept} of {regions} regions, in {drawings} of {count} drawings, keep what the "
                       "model painted: lines enclose nothing there, or nothing in the reference matches")  # fmt: skip
        if self.retake is not None:
            config = pipeline.sampling_config(settings.steps, settings.overlap)
            self.retake.write_log(self.clip, self.exposures, self.out, config)
        return self.out.finish()

    def _paint(self, pipeline: Any, number: int, stretch: Stretch, state: dict[str, Tensor] | None) -> None:
        """Paint and write what is not written yet of one stretch; state: of an interrupted run."""
        settings, inputs = self.settings, self.inputs
        if state is None:
            self.drawings = stretch.start
        self._steps_before = self.steps
        filler = self._flat_filler(stretch, state) if settings.flat else None
        own = inputs.reference_lines(settings.drawing)
        shown = [(of, color(pixels, inputs.size, str(of.path))[None]) for of, pixels in inputs.pictures]
        for chunk in pipeline.stream(
            next((picture for of, picture in shown if of.index is None and not of.sheet), None),
            lambda frame: resize(self._drawing(frame).sketch, inputs.size)[None],
            len(self.exposures.drawings),
            pipeline.sampling_config(settings.steps, settings.overlap, steady=settings.steady),
            generator=torch.Generator().manual_seed(settings.seed),
            decode_chunk_size=settings.decode_chunk,
            reference_sketch=None if own is None else own[None],
            keys={of.index: picture for of, picture in shown if of.index is not None},
            sheets=[picture for of, picture in shown if of.sheet],
            on_step=self._on_step,
            state=state,
            frames=None if self.retake is None else range(stretch.start, stretch.end),
        ):
            for frame in chunk.frames[0]:
                if self.drawings < stretch.stop:  # after it there may be the next key, which is written already
                    self._write((frame + 1) / 2, filler)
            self.files.check_unchanged()  # before the frames count as finished
            if chunk.state is not None:
                tensors = {k: v.cpu() for k, v in chunk.state.items()} | (filler.state() if filler else {})
                counts = {name: str(count) for name, count in self._kept.items()} if filler else {}
                part = {} if self.retake is None else {"stretch": str(number)}
                self.out.checkpoint(tensors, {"frames": str(self.drawings), **counts, **part})

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
        self.out.write(first, array(frame) if self._cels is None else self._cels(filler))
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

    def _flat_filler(self, stretch: Stretch, state: dict[str, Tensor] | None) -> FlatFiller:
        from .cels import CelMaker, find_ground
        from .flat_filler import FlatFiller

        settings, size = self.settings, self.clip.size
        filler: FlatFiller | None = None
        pictures = list(self.inputs.pictures)
        if self.retake is not None:  # the first is what the first drawing is matched with as the one before
            pictures.sort(key=lambda picture: picture[0].index != stretch.start)
        for of, pixels in pictures:
            reference = color(pixels, size, str(of.path))
            exact = color(nearest(pixels, size), size, str(of.path)) / 2 + 0.5
            lines = self._lines_of(of, reference, is_first=of is self.inputs.pictures[0][0])
            if of.index is not None:
                self._own[of.index] = reference / 2 + 0.5
            ground = ground_color = None
            if settings.cels:
                ink = lines[0].numpy() if isinstance(lines, Tensor) else lines.ink
                ground, ground_color = find_ground(exact, ink, nearest(pixels, size))
            if filler is not None:
                filler.add_reference(exact, lines, ground)
                continue
            drawing = of.index or 0
            extracted = self.inputs.reader.lines == "extract"
            ink_color = None if extracted else find_ink_color(self._picture(drawing), self._drawing(drawing).ink)
            colors = None if self.palette is None else self.palette.colors
            filler = FlatFiller(exact, lines, settings.gap, settings.trace, ink_color, colors, ground)
            self._cels = CelMaker(settings, ground_color) if settings.cels else None
            if ground_color is None and (settings.alpha or settings.layers):
                self._warn(f"{of.path} has neither transparency nor white paper at its border: nothing is clear, all "
                           "is painted")  # fmt: skip
        assert filler is not None
        write_colors(self.out, filler.bucket, self.palette)
        if stretch.changed is not None:
            filler.bucket.pin(stretch.changed)
        if state and self.drawings > stretch.start:
            filler.resume(self._drawing(self.drawings - 1), state)
        return filler

    def _lines_of(self, picture: ColoredPicture, colors: Tensor, is_first: bool) -> Tensor | Drawing:
        """Return the line art of a colored picture (3 H W) in [-1, 1]: its drawing's, its own, or what it shows."""
        if picture.index is not None:
            return self._drawing(picture.index)
        if is_first and self.inputs.drawing is not None:
            return read_drawing(nearest(self.inputs.drawing, self.clip.size), self.settings.drawing)
        return xdog(colors[None])[0]

    def _drawing(self, number: int) -> Drawing:
        """Read one of the drawings that are painted, at its own size."""
        return self.inputs.reader(self._picture(number))

    def _picture(self, number: int) -> Any:
        return self.clip[self.exposures.drawings[number]]

    def _warn(self, message: str) -> None:
        if self.on_warning is not None:
            self.on_warning(message)

    def _on_step(self, steps: int, total: int) -> None:
        self.steps, self.total_steps = self._steps_before + steps, self._steps_before + total
        self._report()
        if self.is_cancelled():
            raise RenderCancelled(self._progress())

    def _frames_before(self, place: int) -> list[int]:
        """Return the frames that show what is painted of the drawings before a place."""
        painted = {p for stretch in self.stretches for p in range(stretch.start, min(stretch.stop, place))}
        return [index for index, shown in enumerate(self.exposures.frames) if shown in painted]

    def _report(self) -> None:
        if self.on_progress is not None:
            self.on_progress(self._progress())

    def _progress(self) -> RenderProgress:
        frames = len(self._frames_before(self.drawings))
        return RenderProgress(frames, self.total, self.steps, self.total_steps, self.out.partial)
