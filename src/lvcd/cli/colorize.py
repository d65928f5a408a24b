"""`lvcd colorize`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lvcd.errors import InputError
from lvcd.system import DEVICES
from lvcd.weights import MINI, model_folder

if TYPE_CHECKING:
    from lvcd.pipeline import RenderProgress, RenderStart

HELP = "paint a line-art clip with the colors of a reference frame"
BUNDLED = (
    "with the bundled model: it is small, trained on drawn cartoons, and for trying things out at about 256x144; "
    "for film use give a model of lvcd convert (--model)"
)


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("--sketches", required=True, type=Path, help="folder of images, or a movie, with the line art")
    c.add_argument("--reference", type=Path, help="a colored frame")
    c.add_argument("--key", type=picture_key, action="append", default=[], metavar="N=FILE",
                   help="the drawing of number N (as its file has it) in color, which comes out as it is; may be "
                        "repeated")  # fmt: skip
    c.add_argument("--sheet", type=Path, action="append", default=[], metavar="FILE",
                   help="a colored picture of any size that is no frame, as a model sheet; repeatable")  # fmt: skip
    c.add_argument("--correct", type=picture_key, action="append", default=[], metavar="N=FILE",
                   help="of a finished output, which the same command painted: drawing N in color, as it should be; "
                        "what it reaches is painted again, up to the next key; repeatable")  # fmt: skip
    c.add_argument("--scribble", type=picture_key, action="append", default=[], metavar="N=FILE",
                   help="the same with --flat: strokes of color over drawing N, on a transparent picture; each region "
                        "that they touch takes their color; repeatable")  # fmt: skip
    c.add_argument(
        "--output", required=True, type=Path, help="folder for frames, or a movie, or for one sketch an image"
    )
    c.add_argument("--model", type=model_folder, default=MINI,
                   help="folder of lvcd convert, train or export (default: mini, the bundled model)")  # fmt: skip
    c.add_argument("--adapter", type=lambda path: Path(path), action="append", default=[], metavar="DIR",
                   help="adapter of lvcd export --adapter or lvcd adapt, or a LoRA of diffusers or peft; may be "
                        "repeated")  # fmt: skip
    c.add_argument("--adapter-weight", type=_adapter_weight, action="append", dest="adapter", metavar="W",
                   help="what the adapter before it adds is multiplied by this (default: 1)")  # fmt: skip
    own = c.add_mutually_exclusive_group()
    own.add_argument("--reference-sketch", type=Path, help="the reference's line art (default: extracted from it)")
    own.add_argument("--reference-frame", type=int, help="the reference is the colored version of this sketch, from 0")
    c.add_argument("--lines", choices=("auto", "dark", "light", "alpha", "extract"),
                   default="auto", help="dark on light, light on dark, on transparency, or extract: the sketches are "
                   "colored frames, whose lines are drawn first (default: recognized)")  # fmt: skip
    c.add_argument("--paper", choices=("auto", "white"), default="auto",
                   help="white: what is not pure white is drawn (default: the paper's tone and light are estimated, so "
                        "that grey fills may count as shadows on it)")  # fmt: skip
    c.add_argument("--level", metavar="A", help="of a folder with several levels (A0001, B0001), the one to paint")
    c.add_argument("--psd-layer", metavar="NAME",
                   help="of sketches in Photoshop files, the layer with the lines (default: all layers)")  # fmt: skip
    c.add_argument("--size", type=picture_size, help="paint at this size, as WIDTHxHEIGHT (default: the sketches')")
    c.add_argument("--flat", action="store_true",
                   help="one flat color of the reference between lines, at the sketches' own size: for cel animation "
                        "with closed lines, not for shading")  # fmt: skip
    c.add_argument("--gap", type=_gap, default="auto", metavar="PX",
                   help="with --flat: gaps in lines that fills do not run through, px of the sketches; 0 = none "
                        "(default: auto, open ends of lines are joined)")  # fmt: skip
    c.add_argument("--trace", choices=("darker", "lighter", "keep"), default="darker",
                   help="with --flat: colored trace lines become the darker or the lighter of the fills beside them, "
                        "or are kept (default: darker)")  # fmt: skip
    c.add_argument("--alpha", action="store_true",
                   help="with --flat: clear paper: what is transparent in the reference, or white up to its border, is "
                        "transparent")  # fmt: skip
    c.add_argument("--layers", action="store_true",
                   help="with --flat: line, color, trace and ground come apart: in folders, or with --format psd as "
                        "layers, with --format tiff as pages")  # fmt: skip
    c.add_argument(
        "--aliased",
        action="store_true",
        help="with --flat: hard lines, and no color that is not the reference's (or the palette's)",
    )
    c.add_argument("--format", choices=("png", "tga", "tiff", "psd"),
                   help="of the frames in a folder, which keep the names of the sketches (default: png)")  # fmt: skip
    c.add_argument("--palette", type=Path, metavar="FILE",
                   help="with --flat: only the colors of this palette come out (.gpl, .aco, .ase, .act or .json), and "
                        "index maps for lvcd recolor lie beside the frames")  # fmt: skip
    c.add_argument("--show-regions", action="store_true",
                   help="paint nothing: show the regions between lines, and closed gaps in red")  # fmt: skip
    c.add_argument(
        "--timesheet",
        type=Path,
        metavar="FILE",
        help="XDTS, or CSV of TVPaint or Krita: paint what is on it; a movie gets its holds",
    )
    c.add_argument("--steps", type=int, help="denoising steps of each segment (default: the model's own)")
    c.add_argument("--overlap", type=int, default=4, help="frames that segments share (default: 4)")
    c.add_argument("--steady", action="store_true",
                   help="where lines stand still keep the reference's pixels, and fit colors to it there: for film and "
                        "painted grounds")  # fmt: skip
    c.add_argument("--seed", type=int, default=0, help="of the noise (default: 0)")
    c.add_argument("--fps", type=float, help="of the output movie (default: the sketches')")
    c.add_argument("--device", default="auto", help=DEVICES)
    c.add_argument("--dtype", choices=("auto", "float32", "float16", "bfloat16"), default="auto",
                   help="default: float16 on a GPU, float32 on a CPU")  # fmt: skip
    c.add_argument("--offload", choices=("model", "sequential", "group"),
                   help="keep weights off the GPU until they are used: the later, the slower and the smaller "
                        "(group: with layers fetched ahead)")  # fmt: skip
    c.add_argument("--storage", choices=("fp8",), help="keep weights in 8 bits between uses; colors change a little")
    c.add_argument("--decode-chunk", type=int, metavar="N", help="frames decoded at once (default: 10)")
    c.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    c.add_argument("--overwrite", action="store_true", help="replace an existing output")


def picture_key(text: str) -> tuple[int, Path]:
    """Read N=FILE."""
    number, _, file = text.partition("=")
    if not number.isdecimal() or not file:
        raise argparse.ArgumentTypeError(f"{text!r} is not N=FILE, such as 24=key.png")
    return int(number), Path(file)


def _adapter_weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no number, such as 0.8") from None


def weighted_adapters(words: list[Path | float]) -> list[tuple[Path, float]]:
    """Return adapters with their weights, of --adapter and --adapter-weight in the order in which they were typed.

    A weight belongs to the adapter before it, or to the one after it if there is only that one.
    InputError: it belongs to none, or an adapter has two.
    """
    if len(words) == 2 and isinstance(words[0], float):
        words = words[::-1]
    found: list[tuple[Path, float]] = []
    for before, word in zip([None, *words], words):
        if isinstance(word, Path):
            found.append((word, 1.0))
        elif isinstance(before, Path):
            found[-1] = before, word
        else:
            raise InputError(f"an adapter's weight of {word:g} is of no adapter: give it after --adapter DIR")
    return found


def picture_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT => (height, width), for argparse."""
    from lvcd.pipeline.render_settings import read_size

    try:
        return read_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _gap(text: str) -> float | Literal["auto"]:
    """Read a number of px, or auto."""
    if text == "auto":
        return "auto"
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither auto nor a number of px") from None


def run(a: argparse.Namespace) -> None:
    from lvcd.pipeline.render import RenderSettings, render_clip

    for what, given in (("keys", a.key), ("corrections", a.correct), ("scribbles", a.scribble)):
        numbers = [number for number, _ in given]
        if twice := [number for number in numbers if numbers.count(number) > 1]:
            raise InputError(f"there are several {what} for drawing {twice[0]}: give one")
    if a.show_regions and (a.correct or a.scribble):
        raise InputError("--show-regions paints nothing: leave --correct and --scribble out")
    if a.reference is None and a.reference_sketch is not None:
        raise InputError(f"{a.reference_sketch} is the line art of no reference: give --reference with it")
    settings = RenderSettings(
        reference_frame=a.reference_frame,
        lines=a.lines,
        paper=a.paper,
        level=a.level,
        psd_layer=a.psd_layer,
        size=a.size,
        flat=a.flat or a.show_regions,
        gap=a.gap,
        trace=a.trace,
        alpha=a.alpha,
        layers=a.layers,
        aliased=a.aliased,
        format=a.format,
        steps=a.steps,
        overlap=a.overlap,
        steady=a.steady,
        seed=a.seed,
        dtype=a.dtype,
        offload=a.offload,
        storage=a.storage,
        decode_chunk=a.decode_chunk,
    )
    if a.show_regions:
        from lvcd.pipeline.show_regions import show_regions

        no_drawings = () if a.lines == "extract" or a.reference is None else (a.reference,)
        path, words = show_regions(a.sketches, a.output, settings, no_drawings, a.fps, a.resume, a.overwrite,
                                   on_warning=lambda line: print(line, file=sys.stderr))  # fmt: skip
        print(f"{path}: {words}")
        return
    terminal = _Terminal(a.sketches, a.model == MINI, bool(a.correct or a.scribble))
    try:
        result = render_clip(
            a.sketches,
            a.reference,
            a.output,
            a.model,
            a.reference_sketch,
            settings,
            a.fps,
            a.device,
            a.resume,
            a.overwrite,
            on_start=terminal.start,
            on_progress=terminal.progress,
            on_warning=terminal.warn,
            palette=a.palette,
            timesheet=a.timesheet,
            keys=dict(a.key),
            sheets=a.sheet,
            adapters=weighted_adapters(a.adapter),
            corrections=dict(a.correct),
            scribbles=dict(a.scribble),
        )
    except KeyboardInterrupt:
        terminal.interrupted()
        raise
    finally:
        terminal.close()
    if result.already_finished:
        print(f"{result.path} is finished already, with {result.frames} frames; --overwrite would paint it again, "
              "with other settings say")  # fmt: skip
    elif result.painted_again:
        print(f"{result.path}: {result.painted_again} of {result.frames} frames painted again")
    else:
        print(result.path)


class _Terminal:
    """Shows on stderr what a rendering does."""

    def __init__(self, sketches: Path, bundled: bool, again: bool):
        """again: frames of a finished output are painted again."""
        self.sketches, self.bundled, self.again = sketches, bundled, again
        self.bar: Any = None
        self.last: RenderProgress | None = None

    def start(self, start: RenderStart) -> None:
        if self.bundled:
            print(BUNDLED, file=sys.stderr)
        height, width = start.size
        print(f"colorizing {start.total_frames} sketches of {self.sketches} ({width}x{height}, {start.lines} lines)"
              f" on {start.device}", file=sys.stderr)  # fmt: skip

    def progress(self, progress: RenderProgress) -> None:
        from tqdm import tqdm

        self.last = progress
        if self.bar is None:
            self.bar = tqdm(total=progress.total_steps, desc="denoising steps", unit="step", file=sys.stderr)
        self.bar.total = progress.total_steps  # one correction after the other adds its steps
        self.bar.update(progress.steps - self.bar.n)

    def warn(self, message: str) -> None:
        if self.bar is not None:
            self.bar.clear()
        print(message, file=sys.stderr)

    def interrupted(self) -> None:
        if self.last is not None:
            self.close()
            print(f"{self.last.frames} of {self.last.total_frames} frames are finished, in {self.last.partial}: "
                  f"the same command{'' if self.again else ' with --resume'} goes on", file=sys.stderr)  # fmt: skip

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
