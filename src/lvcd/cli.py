"""`lvcd`: what a studio types. One line and exit code 2 for input that cannot be used; 130 when interrupted."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError

if TYPE_CHECKING:
    from .pipeline import LineartVideoPipeline

# torch, diffusers and transformers take seconds to import: only the commands that need them do.


def main(argv: Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is ever fetched
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        arguments.run(arguments)
    except InputError as error:
        print(f"lvcd {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="lvcd", description="Reference-based lineart video colorization.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    c = commands.add_parser("colorize", help="paint a line-art clip with the colors of a reference frame")
    c.set_defaults(run=colorize)
    c.add_argument("--sketches", required=True, type=Path, help="folder of images, or a movie, with the line art")
    c.add_argument("--reference", required=True, type=Path, help="the colored frame")
    c.add_argument("--output", required=True, type=Path, help="folder for PNG frames, or a .mp4, .webm or .gif")
    c.add_argument("--model", required=True, type=Path, help="folder of a model (lvcd convert or train.py made it)")
    own = c.add_mutually_exclusive_group()
    own.add_argument("--reference-sketch", type=Path, help="the reference's line art (default: extracted from it)")
    own.add_argument("--reference-frame", type=int, help="the reference is the colored version of this sketch, from 0")
    c.add_argument("--lines", choices=("auto", "dark", "light", "alpha"), default="auto",
                   help="dark on light, light on dark, or on transparency (default: recognized)")  # fmt: skip
    c.add_argument("--size", type=_size, help="paint at this size, as WIDTHxHEIGHT (default: the sketches')")
    c.add_argument("--steps", type=int, help="denoising steps of each segment (default: the model's own)")
    c.add_argument("--overlap", type=int, default=4, help="frames that segments share (default: 4)")
    c.add_argument("--seed", type=int, default=0)
    c.add_argument("--fps", type=float, help="of the output movie (default: the sketches')")
    c.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, mps (default: the best there is)")
    c.add_argument("--dtype", choices=("auto", "float32", "float16", "bfloat16"), default="auto",
                   help="default: float16 on a GPU, float32 on a CPU")  # fmt: skip
    c.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    c.add_argument("--overwrite", action="store_true", help="replace an existing output")

    c = commands.add_parser("convert", help="turn the released checkpoints into a model folder, or back")
    c.set_defaults(run=convert)
    c.add_argument("--svd", type=Path, help="svd.safetensors, or a diffusers-style SVD folder")
    c.add_argument("--lvcd", type=Path, help="lvcd.ckpt")
    c.add_argument("--out", required=True, type=Path, help="folder of the model")
    c.add_argument("--to-original", action="store_true", help="the way back: read --out, write --svd and --lvcd")
    c.add_argument("--head-channels", type=int, default=64, help="channels of an attention head (default: 64, SVD's)")
    c.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="default: as in the files")

    c = commands.add_parser("prepare", help="cut films into clips with line art, and write them as shards to train on")
    c.set_defaults(run=prepare)
    c.add_argument("films", nargs="+", type=Path, metavar="FILM_OR_FOLDER",
                   help="a movie, a folder of images, or a folder of these")  # fmt: skip
    c.add_argument("--out", required=True, type=Path, help="folder of the shards")
    c.add_argument("--extractor", choices=("xdog", "given"), default="xdog", help="of the line art (default: xdog)")
    c.add_argument("--sketches", type=Path, help="given: a folder with each film's line art, of the film's name")
    c.add_argument("--shortest", type=int, default=15, help="frames; shorter clips are dropped (default: 15)")
    c.add_argument("--longest", type=int, default=200, help="frames; longer shots are split (default: 200)")
    c.add_argument("--cut", type=float, default=30.0, help="histogram difference that makes a new shot (default: 30)")
    c.add_argument("--cut-resolution", type=int, default=64,
                   help="at so many pixels squared (default: 64); more finds more cuts")  # fmt: skip
    c.add_argument("--short-side", type=int, help="shrink frames to this shorter side (default: as they are)")
    c.add_argument("--shard-mb", type=float, default=256, help="size of a shard in MiB (default: 256)")
    return parser


def _size(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT => (height, width)"""
    try:
        width, height = (int(n) for n in text.lower().split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not WIDTHxHEIGHT, such as 576x320") from None
    if min(width, height) < 16:
        raise argparse.ArgumentTypeError(f"{text} is too small: at least 16x16")
    return height, width


# --- colorize ---------------------------------------------------------------------------------------------------------


def colorize(a: argparse.Namespace) -> None:
    if a.overlap < 0:
        raise InputError(f"--overlap {a.overlap} is negative: give 0 or more")
    if a.steps is not None and a.steps < 1:
        raise InputError(f"--steps {a.steps}: at least 1 step is needed")
    if not -(2**63) <= a.seed < 2**64:
        raise InputError(f"--seed {a.seed} is not a 64-bit number")

    import torch

    from .images import array, color, line_mode, sketch
    from .video.files import open_frames
    from .video.images import read_image
    from .video.output import ResumableOutput

    with open_frames(a.sketches) as clip:
        size = a.size or clip.size
        reference = color(read_image(a.reference), size, str(a.reference))
        lines = line_mode(clip, a.lines)
        own = None
        if a.reference_sketch:
            drawing = read_image(a.reference_sketch)
            own = sketch(drawing, line_mode([drawing], a.lines), size)[None]
        if a.reference_frame is not None and not 0 <= a.reference_frame < len(clip):
            raise InputError(f"--reference-frame {a.reference_frame}: {a.sketches} has sketches 0 to {len(clip) - 1}")

        output = ResumableOutput(a.output, _job(a, lines), len(clip), a.fps or clip.fps, a.resume, a.overwrite)
        with output:
            if output.done:
                print(f"{a.output} is finished already: {len(clip)} frames")
                return
            pipeline = _load(a)
            if a.overlap >= pipeline.config.window:
                raise InputError(f"--overlap {a.overlap}: this model's window allows 0 to {pipeline.config.window - 1}")
            print(f"colorizing {len(clip)} sketches of {a.sketches} ({size[1]}x{size[0]}, {lines} lines)"
                  f" on {pipeline.device}", file=sys.stderr)  # fmt: skip
            saved = output.restore()
            state, done = (saved[0], int(saved[1]["frames"])) if saved else (None, 0)

            def sketch_of(frame: int) -> torch.Tensor:
                return sketch(clip[frame], lines, size)[None]

            try:
                for piece in pipeline.stream(
                    reference[None],
                    sketch_of,
                    len(clip),
                    pipeline.scheme(a.steps, a.overlap),
                    generator=torch.Generator().manual_seed(a.seed),
                    reference_sketch=own,
                    reference_frame=a.reference_frame,
                    state=state,
                ):
                    for frame in piece.frames[0]:
                        output.write(done, array((frame + 1) / 2))
                        done += 1
                    if piece.state is not None:
                        output.checkpoint({k: v.cpu() for k, v in piece.state.items()}, {"frames": str(done)})
                print(output.finish())
            except KeyboardInterrupt:
                print(f"{done} of {len(clip)} frames are finished, in {output.partial}: the same command with --resume "
                      "goes on", file=sys.stderr)  # fmt: skip
                raise
            except torch.OutOfMemoryError as error:
                raise InputError(f"{pipeline.device} has too little memory for {size[1]}x{size[0]}: lower --size, or "
                                 "use --dtype float16 or --device cpu") from error  # fmt: skip


def _load(a: argparse.Namespace) -> LineartVideoPipeline:
    """The model, on its device. Raises InputError if the folder is not one, or the device not there."""
    import torch

    from .nn.convert import verify
    from .pipeline import LineartVideoPipeline, quiet

    quiet()
    verify(a.model)
    device = a.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device} cannot be used ({str(error).splitlines()[0]})") from error
    dtype = a.dtype if a.dtype != "auto" else "float32" if device == "cpu" else "float16"
    pipeline = LineartVideoPipeline.from_pretrained(a.model, torch_dtype=getattr(torch, dtype), local_files_only=True)
    pipeline.set_progress_bar_config(desc="denoising steps", unit="step", file=sys.stderr)
    return pipeline.to(device)


def _job(a: argparse.Namespace, lines: str) -> dict[str, Any]:
    """What the result depends on: a run is only resumed as the same job."""
    weights = sorted(f for f in a.model.rglob("*") if f.is_file()) if a.model.is_dir() else []
    return {
        "sketches": _digest(a.sketches),
        "reference": _digest(a.reference),
        "reference_sketch": _digest(a.reference_sketch) if a.reference_sketch else None,
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
        "dtype": a.dtype,
    }


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    digest = hashlib.sha256()
    for file in sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]:
        digest.update(file.name.encode() if path.is_dir() else b"")
        with open(file, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


# --- convert ----------------------------------------------------------------------------------------------------------


def convert(a: argparse.Namespace) -> None:
    import torch

    from .nn.convert import to_diffusers, to_original

    if not (a.svd and a.lvcd):
        raise InputError("give both --svd and --lvcd")
    if a.to_original:
        to_original(a.out, a.svd, a.lvcd)
        return
    to_diffusers(a.svd, a.lvcd, a.out, a.head_channels, getattr(torch, a.dtype) if a.dtype else None)


# --- prepare ----------------------------------------------------------------------------------------------------------


def prepare(a: argparse.Namespace) -> None:
    if (a.extractor == "given") != bool(a.sketches):
        raise InputError("--sketches and --extractor given belong together: give both or neither")
    if not 0 < a.shard_mb < 2**20:
        raise InputError(f"--shard-mb {a.shard_mb:g}: choose more than 0 and less than a million")

    from .data.shots import ShotRule
    from .prepare import Settings
    from .prepare import prepare as run

    rule = ShotRule(cut=a.cut, resolution=a.cut_resolution, shortest=a.shortest, longest=a.longest)
    try:
        manifest = run(a.films, a.out, Settings(rule, a.short_side, int(a.shard_mb * 2**20)), a.sketches)
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    counts = manifest["counts"]
    dropped = ", ".join(f"{n['clips']} {why}" for why, n in counts["dropped"].items()) or "none"
    kept = f"{counts['kept']['clips']} clips, {counts['kept']['frames']} frames"
    left_out = f"{counts['left_out']} of {counts['films']} films left out"
    print(f"{a.out}: {kept}, {len(manifest['shards'])} shards; clips dropped: {dropped}; {left_out}")


if __name__ == "__main__":
    sys.exit(main())
