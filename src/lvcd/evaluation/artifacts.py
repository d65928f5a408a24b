"""Movies and sheets of an evaluation: painted clips, and what they were painted from.

letters: n frames, H W pixels
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lvcd.io.disk import atomic, writing
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.lineart.sketch import picture_from_sketch
from lvcd.pipeline.image_forms import array
from lvcd.report.sheets import contact_sheet
from lvcd.spacing import evenly_spaced

from .testset import TestClip

FRAMES_PER_SHEET = 6
SMALL_WIDTH_PX = 200
"""Narrower frames are shown twice as large."""


def write_painted(folder: Path, clip: TestClip, painted: Tensor) -> Path:
    """Write painted frames (n 3 H W) in [0, 1] as KEY.webm in `folder`, and return its path."""
    return _movie(folder / f"{clip.key}.webm", painted, clip.fps)


def write_source(folder: Path, clip: TestClip) -> None:
    """Write KEY.reference.png, KEY.sketch.webm and KEY.original.webm in `folder`, but for those that exist."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if not (file := folder / f"{clip.key}.reference.png").exists():
        write_png(file, array(clip.reference))
    line_art = picture_from_sketch(clip.sketches.expand(-1, 3, -1, -1))
    for kind, frames in (("sketch", line_art), ("original", clip.original)):
        if not (file := folder / f"{clip.key}.{kind}.webm").exists():
            _movie(file, frames, clip.fps)


def write_sheet(file: Path, clip: TestClip, painted: Tensor) -> None:
    """Write a PNG with a few frames of a clip, painted (n 3 H W) in [0, 1], beside line art and originals."""
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    columns = evenly_spaced(len(painted), FRAMES_PER_SHEET)
    rows = {
        "reference": [array(clip.reference)],
        "line art": [array(picture_from_sketch(clip.sketches[n].expand(3, -1, -1))) for n in columns],
        "painted": [array(painted[n]) for n in columns],
        "original": [array(clip.original[n]) for n in columns],
    }
    with atomic(file) as temp:
        contact_sheet(rows, scale=2 if clip.reference.shape[-1] < SMALL_WIDTH_PX else 1).save(temp, format="PNG")


def _movie(file: Path, frames: Tensor, fps: float) -> Path:
    with writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    pixels: np.ndarray = (frames * 255).round().to(torch.uint8).movedim(1, -1).contiguous().numpy()
    write_movie(file, pixels, fps)
    return file
