"""`lvcd colorize`."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lvcd.errors import InputError, on_out_of_memory
from lvcd.weights import MINI, model_folder

from .device import HELP as DEVICES
from .device import usable

if TYPE_CHECKING:
    import numpy as np
    import torch

    from lvcd.pipeline import LineartVideoPipeline


HELP = "paint a line-art clip with the colors of a reference frame"
ABOUT = (
    "with the bundled model: small, trained on drawn cartoons, for trying things out at about 256x144; "
    "for film use one of lvcd convert (--model)"
)


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("--sketches", required=True, type=Path, help="folder of images, or a movie, with the line art")
    c.add_argument("--reference", required=True, type=Path, help="the colored frame")
    c.add_argument("--output", required=True, type=Path, help="folder for PNG frames, or a .mp4, .webm or .gif")
    c.add_argument("--model", type=model_folder, default=MINI,
                   help="folder of lvcd convert, train or export (default: mini, the bundled model)")  # fmt: skip
    own = c.add_mutually_exclusive_group()
    own.add_argument("--reference-sketch", type=Path, help="the reference's line art (default: extracted from it)")
    own.add_argument("--reference-frame", type=int, help="the reference is the colored version of this sketch, from 0")
    c.add_argument("--lines", choices=("auto", "dark", "light", "alpha"), default="auto",
                   help="dark on light, light on dark, or on transparency (default: recognized)")  # fmt: skip
    c.add_argument("--size", type=_size, help="paint at this size, as WIDTHxHEIGHT (default: the sketches')")
    c.add_argument("--flat", action="store_true",
                   help="one flat color of the reference between lines, at the sketches' own size: for cel animation "
                        "with closed lines, not for shading")  # fmt: skip
    c.add_argument("--gap", type=float, default=0.0, metavar="PX",
                   help="with --flat: gaps in lines that fills do not run through, px of the sketches "
                        "(default: 0)")  # fmt: skip
    c.add_argument("--steps", type=int, help="denoising steps of each segment (default: the model's own)")
    c.add_argument("--overlap", type=int, default=4, help="frames that segments share (default: 4)")
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--fps", type=float, help="of the output movie (default: the sketches')")
    c.add_argument("--device", default="auto", help=DEVICES)
    c.add_argument("--dtype", choices=("auto", "float32", "float16", "bfloat16"), default="auto",
                   help="default: float16 on a GPU, float32 on a CPU")  # fmt: skip
    c.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    c.add_argument("--overwrite", action="store_true", help="replace an existing output")


def _size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT => (height, width)"""
    try:
        width, height = (int(n) for n in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 576x320") from None
    if min(width, height) < 16:
        raise argparse.ArgumentTypeError(f"{text} is too small: at least 16x16")
    return height, width


def run(a: argparse.Namespace) -> None:
    if a.overlap < 0:
        raise InputError(f"--overlap {a.overlap} is negative: give 0 or more")
    if not 0 <= a.gap <= 1000 or (a.gap and not a.flat):
        raise InputError(f"--gap {a.gap:g}: give px, 0 to 1000, and --flat with it")
    if a.steps is not None and a.steps < 1:
        raise InputError(f"--steps {a.steps}: at least 1 step is needed")
    if not -(2**63) <= a.seed < 2**64:
        raise InputError(f"--seed {a.seed} is not a 64-bit number")
    if a.fps is not None and not 0 < a.fps <= 1000:
        raise InputError(f"--fps {a.fps:g}: give more than 0, up to 1000")
    advice = "lower --size, or use --dtype float16 or --device cpu"
    with on_out_of_memory(f"there is too little memory for frames of this size: {advice}"):
        _colorize(a)


def _colorize(a: argparse.Namespace) -> None:
    import torch

    from lvcd.io.images import read_image
    from lvcd.io.output import ResumableOutput
    from lvcd.io.reader import open_frames
    from lvcd.pipeline.inputs import array, color, line_mode, same_shape, size_of, sketch

    with open_frames(a.sketches) as clip:
        size = a.size or clip.size
        if not same_shape(size, clip.size):
            (height, width), (h, w) = clip.size, size
            raise InputError(f"--size {w}x{h} has another aspect ratio than the sketches, which are {width}x{height}: "
                             f"give one like {w}x{max(16, round(w * height / width))}")  # fmt: skip
        picture = read_image(a.reference)
        reference = color(picture, size, str(a.reference))
        lines = line_mode(clip, a.lines)
        drawing = read_image(a.reference_sketch) if a.reference_sketch else None
        if drawing is not None and not same_shape(size_of(drawing), size_of(picture)):
            raise InputError(f"{a.reference_sketch} has another aspect ratio than {a.reference}: give the lines of "
                             "that very frame")  # fmt: skip

        def own_sketch(size: tuple[int, int]) -> torch.Tensor | None:
            return None if drawing is None else sketch(drawing, line_mode([drawing], a.lines), size)

        own = own_sketch(size)
        if a.reference_frame is not None and not 0 <= a.reference_frame < len(clip):
            raise InputError(f"--reference-frame {a.reference_frame}: {a.sketches} has sketches 0 to {len(clip) - 1}")

        fps = clip.fps if a.fps is None else a.fps
        output = ResumableOutput(a.output, _job(a, lines), len(clip), fps, a.resume, a.overwrite)
        with output:
            if output.done:
                inputs = [a.sketches, a.reference, *([a.reference_sketch] if a.reference_sketch else [])]
                if max(map(_time, inputs)) > _time(a.output):
                    raise InputError(f"{a.output} is finished, and older than its sketches or its reference: "
                                     "add --overwrite to paint it again")  # fmt: skip
                print(f"{a.output} is finished already, with {len(clip)} frames; --overwrite would paint it again, "
                      "with other settings say")  # fmt: skip
                return
            pipeline = _load(a)
            if a.model == MINI:
                print(ABOUT, file=sys.stderr)
            if a.overlap >= pipeline.config.window:
                raise InputError(f"--overlap {a.overlap}: this model's window allows 0 to {pipeline.config.window - 1}")
            print(f"colorizing {len(clip)} sketches of {a.sketches} ({size[1]}x{size[0]}, {lines} lines)"
                  f" on {pipeline.device}", file=sys.stderr)  # fmt: skip
            saved = output.restore()
            state, done = (saved[0], int(saved[1]["frames"])) if saved else (None, 0)

            def sketch_of(frame: int) -> torch.Tensor:
                return sketch(clip[frame], lines, size)[None]

            flats = None
            if a.flat:
                flats = _Flats(
                    color(picture, clip.size, str(a.reference)),
                    own_sketch(clip.size),
                    lambda frame: sketch(clip[frame], lines, clip.size),
                    a.reference_frame,
                    a.gap,
                )
                if state and done:
                    flats.go_on(done, state)
            try:
                for piece in pipeline.stream(
                    reference[None],
                    sketch_of,
                    len(clip),
                    pipeline.scheme(a.steps, a.overlap),
                    generator=torch.Generator().manual_seed(a.seed),
                    reference_sketch=None if own is None else own[None],
                    reference_frame=a.reference_frame,
                    state=state,
                ):
                    for frame in piece.frames[0]:
                        frame = (frame + 1) / 2
                        output.write(done, array(flats(done, frame) if flats else frame))
                        done += 1
                    if piece.state is not None:
                        state = {k: v.cpu() for k, v in piece.state.items()} | (flats.state() if flats else {})
                        output.checkpoint(state, {"frames": str(done)})
                print(output.finish())
            except KeyboardInterrupt:
                print(f"{done} of {len(clip)} frames are finished, in {output.partial}: the same command with --resume "
                      "goes on", file=sys.stderr)  # fmt: skip
                raise


class _Flats:
    """The paint bucket at the sketches' own size, whatever size the model paints at."""

    def __init__(
        self,
        reference: torch.Tensor,  # (3 H W) in [-1, 1]
        own: torch.Tensor | None,  # its line art (1 H W) in [0, 1]; None = a sketch, or extracted
        sketch_of: Callable[[int], torch.Tensor],  # number of a sketch => (1 H W)
        reference_frame: int | None,
        gap: float,
    ):
        from lvcd.flats import PaintBucket
        from lvcd.lineart.xdog import xdog

        if reference_frame is not None:
            own = sketch_of(reference_frame)
        elif own is None:
            own = xdog(reference[None])[0]
        self.sketch_of, self.reference, self.reference_frame = sketch_of, reference / 2 + 0.5, reference_frame
        self.bucket = PaintBucket(self.reference.movedim(0, -1).numpy(), own[0].numpy(), gap)
        self.warned = False

    def go_on(self, done: int, state: dict[str, torch.Tensor]) -> None:
        """As after so many frames, with the `state` of then."""
        self.bucket.go_on(self._sketch(done - 1), state["flats"].numpy())

    def _sketch(self, number: int) -> np.ndarray:
        return self.sketch_of(number)[0].numpy()

    def __call__(self, number: int, painted: torch.Tensor) -> torch.Tensor:
        """(3 h w) => (3 H W), both in [0, 1]"""
        import torch
        import torch.nn.functional as F

        large = F.interpolate(painted[None].float().cpu(), self.reference.shape[1:], mode="bilinear")[0]
        filled = self.bucket(self._sketch(number), large.movedim(0, -1).numpy())
        if len(self.bucket.before.area) < 2 and not self.warned:
            print(f"--flat: the lines of sketch {number} enclose nothing, so all of it gets one color: give --gap, or "
                  "leave --flat out", file=sys.stderr)  # fmt: skip
            self.warned = True
        if number == self.reference_frame:
            return self.reference
        return torch.from_numpy(filled).float().movedim(-1, 0).clamp(0, 1)

    def state(self) -> dict[str, torch.Tensor]:
        import torch

        return {"flats": torch.from_numpy(self.bucket.colors).float().contiguous()}


def _load(a: argparse.Namespace) -> LineartVideoPipeline:
    """The model, on its device. Raises InputError if the folder is not one, or the device not there."""
    import torch

    from lvcd.checkpoints.convert import verify
    from lvcd.pipeline import LineartVideoPipeline, quiet

    quiet()
    verify(a.model)
    device = usable(a.device)
    dtype = a.dtype if a.dtype != "auto" else "float32" if device == "cpu" else "float16"
    pipeline = LineartVideoPipeline.from_pretrained(a.model, torch_dtype=getattr(torch, dtype), local_files_only=True)
    pipeline.set_progress_bar_config(desc="denoising steps", unit="step", file=sys.stderr)
    return pipeline.to(device)


def _time(path: Path) -> float:
    """Of the last change of a file, or of the newest image of a folder."""
    from lvcd.io.reader import frame_files

    return max(file.stat().st_mtime for file in (frame_files(path) if path.is_dir() else [path]))


def _job(a: argparse.Namespace, lines: str) -> dict[str, Any]:
    """What the result depends on: a run is only resumed as the same job."""
    from lvcd.io.reader import digest

    weights = sorted(f for f in a.model.rglob("*") if f.is_file()) if a.model.is_dir() else []
    return {
        "sketches": digest(a.sketches),
        "reference": digest(a.reference),
        "reference_sketch": digest(a.reference_sketch) if a.reference_sketch else None,
        "reference_frame": a.reference_frame,
        "model": hashlib.sha256(
            json.dumps(
                [(str(f.relative_to(a.model)), f.stat().st_size, f.stat().st_mtime_ns) for f in weights]
            ).encode()
        ).hexdigest(),
        "lines": lines,
        "size": list(a.size) if a.size else None,
        "steps": a.steps,
        "overlap": a.overlap,
        "seed": a.seed,
        "flat": a.flat,
        "gap": a.gap,
        "dtype": a.dtype,
    }
