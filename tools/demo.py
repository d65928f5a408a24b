"""`python tools/demo.py OUT --pictures DIR`: color two clips with `lvcd colorize` and show them.

One is a cartoon of styles that training never shows, the other a walk cycle that this project did not draw (data/walk,
by Kenney, CC0), whose line art is extracted.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import numpy as np
import torch

from lvcd.cli import main as lvcd
from lvcd.data.cartoons import draw
from lvcd.data.cartoons.splits import STYLE_TEST_SEED
from lvcd.io.images import read_image, write_png
from lvcd.io.reader import open_frames
from lvcd.lineart.sketch import png_from_ink, png_from_sketch
from lvcd.lineart.xdog import xdog
from lvcd.pipeline.inputs import color
from lvcd.pixel_values import uint8_from_signed
from lvcd.report.sheets import contact_sheet
from lvcd.spacing import evenly_spaced

HEIGHT, WIDTH, FRAMES = 144, 256, 24
CARTOON, STYLE = STYLE_TEST_SEED + 204, "heldout_characters"
COLUMNS = 4


def cartoon() -> tuple[np.ndarray, np.ndarray]:
    """Return frames (t H W 3) and line art (t H W), dark on white, uint8, of a drawn clip that is in no test set."""
    clip = draw(CARTOON, FRAMES, HEIGHT, WIDTH, STYLE)
    return clip.frames, png_from_ink(clip.lines)


def walk(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return frames and line art of three turns of the walk cycle, centered in a frame of the model's size."""
    with open_frames(folder) as reader:
        drawings = [reader[i] for i in range(len(reader))]
    h, w = drawings[0].shape[:2]
    wide = [np.pad(d, ((0, 0), ((h * WIDTH // HEIGHT - w) // 2,) * 2, (0, 0))) for d in drawings]
    frames = torch.stack([color(d, (HEIGHT, WIDTH)) for d in wide])
    lines = png_from_sketch(xdog(frames)[:, 0])
    return uint8_from_signed(frames).movedim(1, -1).repeat(3, 1, 1, 1).numpy(), lines.repeat(3, 1, 1).numpy()


def show(
    name: str, frames: np.ndarray, lines: np.ndarray, out: Path, *more: str, flat: tuple[str, ...] = ("--flat",)
) -> Path:
    """Write the clip as sketches and a reference, colorize it by the command line, and return the contact sheet.

    more    options of `lvcd colorize`
    flat    those of the flat frames
    """
    work = out / name
    shutil.rmtree(work, ignore_errors=True)
    (work / "sketches").mkdir(parents=True)
    for i, drawing in enumerate(lines):
        write_png(work / "sketches" / f"{i:03d}.png", np.repeat(drawing[..., None], 3, axis=-1))
    write_png(work / "reference.png", frames[0])
    others = [n for n in range(len(lines)) if not np.array_equal(lines[n], lines[0])]  # those come out as the reference
    columns = [others[n] for n in evenly_spaced(len(others), COLUMNS)]
    rows = {"reference": [read_image(work / "reference.png")], "line art": [lines[n] for n in columns]}
    for row, words in (("ours", ()), ("ours, flat", flat)):
        movie = out / f"{name}{'_flat' if words else ''}.mp4"
        shutil.rmtree(f"{movie}.partial", ignore_errors=True)  # of a demo that was stopped, by another model
        command = ["colorize", "--sketches", work / "sketches", "--reference", work / "reference.png",
                   "--reference-frame", 0, "--output", movie, "--fps", 12, "--overwrite", *words, *more]  # fmt: skip
        print("lvcd", *command, flush=True)
        if code := lvcd([str(word) for word in command]):
            sys.exit(code)
        with open_frames(movie) as painted:
            rows[row] = [painted[n] for n in columns]
    rows["original"] = [frames[n] for n in columns]
    sheet = out / f"{name}.png"
    contact_sheet(rows).quantize().save(sheet, optimize=True)
    print(sheet)
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="folder for copies of the sheets, the README's")
    parser.add_argument("--walk", type=Path, default=Path("data/walk"))
    a = parser.parse_args()
    torch.set_num_threads(1)  # sums of several threads differ in their last bits, and so would the committed pictures
    cartoons = show("cartoon", *cartoon(), a.out)
    walks = show("walk", *walk(a.walk), a.out, flat=("--flat", "--gap", "7"))  # its lines have wide gaps
    for sheet in (cartoons, walks):
        shutil.copyfile(sheet, a.pictures / sheet.name)


if __name__ == "__main__":
    main()
