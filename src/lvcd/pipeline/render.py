"""Rendering: files in, files out. What `lvcd colorize` does, for a page, a node or a script to call."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from lvcd.checkpoints.config_files import read_model_index
from lvcd.checkpoints.hub import find_model
from lvcd.errors import InputError, on_out_of_memory
from lvcd.io.frame_folder import FrameSelection, frame_files
from lvcd.io.images import read_image
from lvcd.io.output import ResumableOutput
from lvcd.io.reader import FrameReader, digest, open_frames
from lvcd.lineart.reading import Drawing, DrawingReader, DrawingSettings, read_drawing
from lvcd.lineart.xdog import xdog
from lvcd.weights import MINI

from .inputs import array, color, drawing_reader, resize, same_shape, size_of

NO_MEMORY = "there is too little memory for frames of this size: give a smaller size, or dtype float16, or device cpu"

TRACE_LINES = ("darker", "lighter", "keep")
"""What trace lines become with flat: the darker or the lighter of the fills beside them, or what they are."""


@dataclass(frozen=True)
class RenderSettings:
    """The settings say what a clip depends on, beside its files. Raises InputError for a value that cannot be used."""

    reference_frame: int | None = None
    """The reference is the colored version of this sketch, counted from 0, and comes out as it went in."""
    lines: str = "auto"
    """How the sketches show lines: dark (on light), light (on dark), alpha (on transparency), extract (they are colored
    frames), or auto."""
    paper: str = "auto"
    """auto: the paper of the sketches is estimated; white: what is not white is drawn."""
    traces: bool = True
    """Tell colored trace lines from ink."""
    level: str | None = None
    """Of a folder of sketches with several levels (A0001, B0001), the one to paint."""
    psd_layer: str | None = None
    """Of sketches in Photoshop files, the layer with the lines; None = the whole picture."""
    size: tuple[int, int] | None = None
    """(height, width) that the model paints at, px; None = the sketches'."""
    flat: bool = False
    """Fill each region between lines with one color of the reference, at the sketches' size."""
    gap: float | Literal["auto"] = "auto"
    """With flat: gaps in lines that fills do not run through, px of the sketches, 0 .. 1000; auto = they are found."""
    trace: str = "darker"
    """With flat, what trace lines become: the darker or the lighter of the fills beside them, or keep."""
    steps: int | None = None
    """Denoising steps of each segment; None = the model's own."""
    overlap: int = 4
    """Frames that segments share, 0 .. window - 1."""
    seed: int = 0
    dtype: str = "auto"
    """float32, float16, bfloat16; auto = float16 on a GPU, float32 on a CPU."""

    @property
    def drawing(self) -> DrawingSettings:
        """How drawings are read."""
        return DrawingSettings(self.lines, self.paper, self.traces)

    def __post_init__(self) -> None:
        _ = self.drawing  # it checks itself
        if self.overlap < 0:
            raise InputError(f"overlap {self.overlap} is negative: give 0 or more")
        if self.gap != "auto" and not (isinstance(self.gap, (int, float)) and 0 <= self.gap <= 1000 and self.flat):
            raise InputError(f"gap {self.gap}: give auto or px, 0 to 1000, together with flat")
        if self.trace not in TRACE_LINES or (self.trace != "darker" and not self.flat):
            raise InputError(f"trace {self.trace}: give {', '.join(TRACE_LINES)}, together with flat")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps {self.steps}: give at least 1")
        if not -(2**63) <= self.seed < 2**64:
            raise InputError(f"seed {self.seed} is not a 64-bit number: give a smaller one")


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
    reference: Path,  # the colored frame
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
) -> RenderResult:
    """Paint a clip of line art from one reference; every sketch gets exactly one frame.

    Finished frames are in a folder beside the output until all are there, so that a rendering that was cancelled,
    interrupted or killed goes on with `resume=True` and ends with the same bytes. Memory does not grow with the clip.

    Raises InputError, always one line, for files and settings that cannot be used and for too little memory;
    RenderCancelled when `is_cancelled` says so.
    """
    settings, model = settings or RenderSettings(), find_model(model)
    if fps is not None and not 0 < fps <= 1000:
        raise InputError(f"fps {fps:g}: give more than 0, up to 1000")
    _check_places(output, sketches, reference, reference_sketch)
    selection = FrameSelection(settings.level, settings.psd_layer, leave_out=(reference,))
    with on_out_of_memory(NO_MEMORY), open_frames(sketches, selection) as clip:
        clip.verify()  # before the first frame is painted, not in the middle of the night
        inputs = _Inputs.read(clip, sketches, reference, reference_sketch, settings)
        job = _job(sketches, reference, reference_sketch, model, inputs.reader.lines, settings)
        with ResumableOutput(output, job, len(clip), clip.fps if fps is None else fps, resume, overwrite) as out:
            if out.done:
                files = [sketches, reference, *([reference_sketch] if reference_sketch else [])]
                if max(map(_changed_at, files)) > _changed_at(output):
                    raise InputError(f"{output} is finished, and older than its sketches or its reference: "
                                     "overwrite it (--overwrite) to paint it again")  # fmt: skip
                return RenderResult(output, len(clip), already_finished=True)
            painter = _Painter(clip, inputs, settings, out, on_progress, on_warning, is_cancelled)
            return RenderResult(painter.run(model, device, on_start), len(clip), already_finished=False)


@dataclass(frozen=True)
class _Inputs:
    """The files of a rendering, read and checked."""

    size: tuple[int, int]
    reader: DrawingReader
    """Reads the sketches."""
    picture: Any
    """The reference, uint8 (H W 3) or (H W 4)."""
    reference_name: str
    reference: Tensor
    """(3 H W) in [-1, 1], at `size`"""
    drawing: Any
    """The reference's own line art, an image, or None."""

    @classmethod
    def read(
        cls, clip: FrameReader, sketches: Path, reference: Path, reference_sketch: Path | None, settings: RenderSettings
    ) -> _Inputs:
        size = settings.size or clip.size
        if not same_shape(size, clip.size):
            (height, width), (h, w) = clip.size, size
            raise InputError(f"size {w}x{h} has another aspect ratio than the sketches, which are {width}x{height}: "
                             f"give one like {w}x{max(16, round(w * height / width))}")  # fmt: skip
        picture = read_image(reference)
        colors = color(picture, size, str(reference))
        reader = drawing_reader(clip, settings.drawing)
        assert reader is not None
        drawing = read_image(reference_sketch) if reference_sketch else None
        if drawing is not None and not same_shape(size_of(drawing), size_of(picture)):
            raise InputError(f"{reference_sketch} has another aspect ratio than {reference}: give the lines of that "
                             "very frame")  # fmt: skip
        frame = settings.reference_frame
        if frame is not None and not 0 <= frame < len(clip):
            raise InputError(f"reference frame {frame}: {sketches} has sketches 0 to {len(clip) - 1}")
        return cls(size, reader, picture, str(reference), colors, drawing)

    def reference_lines(self, size: tuple[int, int], settings: DrawingSettings) -> Tensor | None:
        """Return the reference's own line art (1 H W) at a size; None if it was not given."""
        return None if self.drawing is None else resize(read_drawing(array(self.drawing), settings).sketch, size)


class _Painter:
    """Paints the frames of one output, and writes each when it is finished."""

    def __init__(
        self,
        clip: FrameReader,
        inputs: _Inputs,
        settings: RenderSettings,
        out: ResumableOutput,
        on_progress: Callable[[RenderProgress], object] | None,
        on_warning: Callable[[str], object] | None,
        is_cancelled: Callable[[], bool],
    ):
        self.clip, self.inputs, self.settings, self.out = clip, inputs, settings, out
        self.on_progress, self.on_warning, self.is_cancelled = on_progress, on_warning, is_cancelled
        self.frames = self.steps = self.total_steps = 0
        self._own: Tensor | None = None  # the reference (3 H W) in [0, 1] at the sketches' size, with flat
        self._kept = {"kept": 0, "regions": 0, "kept_frames": 0}  # with flat, of what is painted so far

    def run(self, model: Path, device: str, on_start: Callable[[RenderStart], object] | None) -> Path:
        read_model_index(model)  # a wrong folder ends here, before seconds of imports
        from .load import load_pipeline

        settings, inputs, clip = self.settings, self.inputs, self.clip
        pipeline = load_pipeline(model, device, settings.dtype)
        if settings.overlap >= pipeline.config.window:
            raise InputError(
                f"overlap {settings.overlap}: this model's window allows 0 to {pipeline.config.window - 1}"
            )
        if on_start is not None:
            on_start(RenderStart(len(clip), inputs.size, inputs.reader.lines, str(pipeline.device)))
        for note in [*clip.notes, *inputs.reader.notes]:
            self._warn(note)
        saved = self.out.restore()
        state, self.frames = (saved[0], int(saved[1]["frames"])) if saved else (None, 0)
        if saved and settings.flat:
            self._kept = {name: int(saved[1].get(name, 0)) for name in self._kept}
        filler = self._flat_filler(state) if settings.flat else None
        own = inputs.reference_lines(inputs.size, settings.drawing)
        for chunk in pipeline.stream(
            inputs.reference[None],
            lambda frame: resize(self._drawing(frame).sketch, inputs.size)[None],
            len(clip),
            pipeline.sampling_config(settings.steps, settings.overlap),
            generator=torch.Generator().manual_seed(settings.seed),
            reference_sketch=None if own is None else own[None],
            reference_frame=settings.reference_frame,
            on_step=self._on_step,
            state=state,
        ):
            for frame in chunk.frames[0]:
                self._write((frame + 1) / 2, filler)
            if chunk.state is not None:
                tensors = {k: v.cpu() for k, v in chunk.state.items()} | (filler.state() if filler else {})
                counts = {name: str(count) for name, count in self._kept.items()} if filler else {}
                self.out.checkpoint(tensors, {"frames": str(self.frames), **counts})
        if self._kept["kept"]:
            kept, regions, frames = self._kept.values()
            self._warn(f"flat: {kept} of {regions} regions, in {frames} of {len(clip)} frames, keep what the model "
                       "painted: lines enclose nothing there, or nothing in the reference matches")  # fmt: skip
        return self.out.finish()

    def _write(self, frame: Tensor, filler: Any) -> None:
        """Write the next frame (3 h w) in [0, 1]."""
        number = self.frames
        if filler is not None:
            drawing = self._drawing(number)
            keep = self.settings.trace == "keep" and drawing.traces
            filled = filler(drawing, frame, self.clip[number] if keep else None)
            is_reference = number == self.settings.reference_frame and self._own is not None
            if not is_reference:
                self._kept["kept"] += filler.kept
                self._kept["regions"] += filler.regions
                self._kept["kept_frames"] += filler.kept > 0
            frame = self._own if is_reference else filled.clamp(0, 1)  # type: ignore[assignment]
        self.out.write(number, array(frame))
        self.frames += 1
        self._report()

    def _flat_filler(self, state: dict[str, Tensor] | None) -> Any:
        from .paint import FlatFiller

        inputs, settings, size = self.inputs, self.settings, self.clip.size
        reference = color(inputs.picture, size, inputs.reference_name)
        self._own = reference / 2 + 0.5
        exact = color(_nearest(inputs.picture, size), size, inputs.reference_name) / 2 + 0.5
        of = 0 if settings.reference_frame is None else settings.reference_frame
        lines: Tensor | Drawing
        if settings.reference_frame is not None:
            lines = self._drawing(of)
        elif inputs.drawing is not None:
            lines = read_drawing(_nearest(inputs.drawing, size), settings.drawing)
        else:
            lines = xdog(reference[None])[0]
        ink_color = None if inputs.reader.lines == "extract" else _ink_color(self.clip[of], self._drawing(of).ink)
        filler = FlatFiller(exact, lines, settings.gap, settings.trace, ink_color)
        if state and self.frames:
            filler.resume(self._drawing(self.frames - 1), state)
        return filler

    def _drawing(self, number: int) -> Drawing:
        """Read a sketch, at the sketches' own size."""
        return self.inputs.reader(self.clip[number])

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
        return RenderProgress(self.frames, len(self.clip), self.steps, self.total_steps, self.out.partial)


def _nearest(picture: Any, size: tuple[int, int]) -> Any:
    """Resize an image to uint8 (H W c) that has only colors of the image."""
    pixels = array(picture)
    (h, w), (height, width) = pixels.shape[:2], size
    rows, columns = ((np.arange(n) + 0.5) * old / n for n, old in ((height, h), (width, w)))
    return pixels[rows.astype(int)][:, columns.astype(int)]


def _ink_color(picture: Any, ink: Any) -> Any:
    """Return the color (3) in [0, 1] of the ink of a drawing, an image; None without ink."""
    strong = array(picture)[..., :3][ink > 0.9]
    return np.median(strong, 0).astype(np.float32) / np.float32(255) if len(strong) else None


def _check_places(output: Path, *inputs: Path | None) -> None:
    """InputError: the output would replace one of its inputs."""
    for path in inputs:
        if path is not None and path.resolve().is_relative_to(output.resolve()):
            raise InputError(f"{output} is the output, and {path} is to be read from it: choose another output")


def _changed_at(path: Path) -> float:
    """Return the time of the last change of a file, or of the newest image of a folder."""
    return max(file.stat().st_mtime for file in (frame_files(path) if path.is_dir() else [path]))


def _job(
    sketches: Path, reference: Path, reference_sketch: Path | None, model: Path, lines: str, settings: RenderSettings
) -> dict[str, Any]:
    """Return all that the frames depend on: a rendering is only resumed as the same job."""
    weights = sorted(f for f in model.rglob("*") if f.is_file()) if model.is_dir() else []
    stamps = [(str(f.relative_to(model)), f.stat().st_size, f.stat().st_mtime_ns) for f in weights]
    return {
        "sketches": digest(sketches),
        "reference": digest(reference),
        "reference_sketch": digest(reference_sketch) if reference_sketch else None,
        "model": hashlib.sha256(json.dumps(stamps).encode()).hexdigest(),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in asdict(settings).items()},
        "lines": lines,
    }
