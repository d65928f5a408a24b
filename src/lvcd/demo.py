"""`python -m lvcd.demo MODEL OUT`: color two clips with `lvcd colorize` and show them.

One is a held-out cartoon, the other a walk cycle that this project did not draw (data/walk, by Kenney, CC0), whose line
art is extracted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from .cli import main as lvcd
from .data.cartoons import draw
from .data.datamodule import TEST_SEED
from .data.lineart import xdog
from .images import color
from .sheets import contact_sheet, pick
from .video.files import open_frames
from .video.images import read_image, write_png

HEIGHT, WIDTH, FRAMES = 64, 96, 24
CARTOON_SEED = TEST_SEED + 100


def cartoon() -> tuple[np.ndarray, np.ndarray]:
    """=> frames (t H W 3) and line art (t H W), dark on white; uint8."""
    clip = draw(CARTOON_SEED, FRAMES, HEIGHT, WIDTH)
    return clip.frames, 255 - clip.lines


def walk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The walk cycle three times over a white ground, fitted into the size the mini model knows."""
    with open_frames(folder) as reader:
        drawings = [reader[i] for i in range(len(reader))]
    h, w = drawings[0].shape[:2]
    tall = [np.pad(d, ((0, 0), ((h * 3 // 2 - w) // 2,) * 2, (0, 0))) for d in drawings]
    frames = torch.stack([color(d, (HEIGHT, WIDTH)) for d in tall])
    lines = 1 - xdog(frames)[:, 0]
    frames = ((frames + 1) * 127.5).round().byte().movedim(1, -1)
    return frames.repeat(3, 1, 1, 1).numpy(), (lines * 255).round().byte().repeat(3, 1, 1).numpy()


def show(name: str, frames: np.ndarray, lines: np.ndarray, model: Path, out: Path) -> None:
    """Write the clip as a studio would have it, colorize it with the command line, and lay out what came of it."""
    work = out / name
    shutil.rmtree(work, ignore_errors=True)
    (work / "sketches").mkdir(parents=True)
    for i, drawing in enumerate(lines):
        write_png(work / "sketches" / f"{i:03d}.png", np.repeat(drawing[..., None], 3, axis=-1))
    write_png(work / "reference.png", frames[0])
    movie = out / f"{name}.mp4"
    shutil.rmtree(f"{movie}.partial", ignore_errors=True)  # of a demo that was stopped, by another model
    command = ["colorize", "--model", model, "--sketches", work / "sketches", "--reference", work / "reference.png",
               "--reference-frame", 0, "--output", movie, "--fps", 12, "--overwrite"]  # fmt: skip
    print("lvcd", *command, flush=True)
    if code := lvcd([str(word) for word in command]):
        sys.exit(code)
    with open_frames(movie) as painted:
        columns = [1 + n for n in pick(len(frames) - 1, 6)]
        rows = {
            "reference": [read_image(work / "reference.png")],
            "sketches": [lines[n] for n in columns],
            "ours": [painted[n] for n in columns],
            "original": [frames[n] for n in columns],
        }
        contact_sheet(rows, scale=2).save(out / f"{name}.png")
    print(out / f"{name}.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--walk", type=Path, default=Path("data/walk"))
    a = parser.parse_args()
    show("cartoon", *cartoon(), a.model, a.out)
    show("walk", *walk(a.walk), a.model, a.out)


if __name__ == "__main__":
    main()
