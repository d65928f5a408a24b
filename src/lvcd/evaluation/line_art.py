"""Line art that is extracted from the colored frames of a test set and shown in place of its own.

Drawn cartoons come with line art that is closed, clean and exactly where the outlines are. What people have is not: it
is extracted from film, drawn with a pencil on paper, thin, or broken.

xdog      as `lvcd prepare` and `lvcd colorize --lines extract` draw it
pencil    the same lines, gray and grainy on paper that is neither white nor even, then read as any drawings are
thin      the same lines, 1 to 3 px wide, in pure black and white, with gaps

letters: t frames, the reference at 0; H W pixels
"""

from __future__ import annotations

import hashlib

import cv2
import numpy as np
import torch

from lvcd.data.augment.line_style import breaks
from lvcd.lineart.extract import make_extractor
from lvcd.lineart.reading import DrawingReader
from lvcd.lineart.sketch import Array, png_from_sketch

GIVEN = "given"
"""The line art of the test set."""
EXTRACTED = ("xdog", "pencil", "thin")
"""Ways of drawing what is extracted."""
LINE_ART = (GIVEN, *EXTRACTED, "extracted")
"""What a protocol may show. "extracted": each clip in one of the ways, chosen by its name."""
LINE_THRESHOLD = 0.5
"""Coverage above which a pixel of an extracted line belongs to what is thinned."""
PENCIL = (0.3, 0.6)
"""Range of darkness of a pencil's strokes on their paper; 0.33 on white paper is gray 170."""
PAPER = (0.9, 1.0)
"""Range of the tone of paper where it is lightest."""
SHADOW = 0.1
"""By so much paper may be darker at its darkest corner."""


def kind_of(line_art: str, key: str) -> str:
    """Return the way, given or one of EXTRACTED, in which the line art of a clip is drawn. key: the clip's name."""
    if line_art != "extracted":
        return line_art
    return EXTRACTED[int(hashlib.sha256(f"line art {key}".encode()).hexdigest(), 16) % len(EXTRACTED)]


def extract_line_art(frames: Array, kind: str, rng: np.random.Generator) -> Array:
    """Draw the lines of a clip's frames, uint8 (t H W 3) RGB => drawings, uint8 (t H W), 0 on a line, 255 on paper.

    kind: one of EXTRACTED. rng: of the paper, the grain, the width and the gaps.
    """
    lines = np.stack(make_extractor("xdog")(0, list(frames)))
    if kind == "pencil":
        return _pencil(lines, rng)
    if kind == "thin":
        return _thin(lines, rng)
    return lines


def _pencil(drawings: Array, rng: np.random.Generator) -> Array:
    """Draw the lines (t H W) with a pencil on one kind of paper, and read them as any drawings are read => (t H W)."""
    H, W = drawings.shape[1:]
    tint = rng.uniform(*PAPER) * np.array([1, rng.uniform(0.98, 1), rng.uniform(0.94, 1)])
    y, x = np.mgrid[-1 : 1 : H * 1j, -1 : 1 : W * 1j]
    angle = rng.uniform(0, 2 * np.pi)
    light = 1 - SHADOW * (1 + (x * np.cos(angle) + y * np.sin(angle)) / 2**0.5) / 2
    paper, darkness = tint * light[..., None], rng.uniform(*PENCIL)
    sheets = []
    for drawing in drawings:
        grain = cv2.GaussianBlur(rng.normal(0, 1, (H, W)), (0, 0), 0.7)
        grain = np.clip(0.85 + 0.2 * grain / grain.std(), 0, 1)
        covered = darkness * grain * (1 - drawing / 255)
        sheet = paper * (1 - covered[..., None]) + rng.normal(0, 1.5 / 255, (H, W, 1))
        sheets.append((sheet * 255).round().clip(0, 255).astype(np.uint8))
    read = DrawingReader(sheets)
    return np.stack([png_from_sketch(read(sheet).sketch[0]).numpy() for sheet in sheets])


def _thin(drawings: Array, rng: np.random.Generator) -> Array:
    """Draw the lines (t H W) 1, 2 or 3 px wide, the same in all drawings, and with gaps => (t H W), 0 or 255."""
    width = int(rng.integers(1, 4))
    brush = np.ones((width, width), np.uint8) if width < 3 else cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    lines = [cv2.dilate(centerlines(1 - drawing / 255 > LINE_THRESHOLD), brush) for drawing in drawings]
    sketches = breaks(torch.from_numpy(np.stack(lines)).float()[:, None], rng)
    return png_from_sketch((sketches > LINE_THRESHOLD).float())[:, 0].numpy()


def centerlines(lines: Array) -> Array:
    """Thin lines (H W) bool to one pixel, joined as before => (H W) uint8, 1 on a line.

    Sequential thinning with the L elements of Golay's alphabet (Serra, Image Analysis and Mathematical Morphology,
    1982): a pixel goes where a hit-or-miss transform finds it on an edge of a line and not needed to hold it together.
    """
    thin = np.pad(lines.astype(np.uint8), 2)
    straight, corner = np.array([[-1, -1, -1], [0, 1, 0], [1, 1, 1]]), np.array([[0, -1, -1], [1, 1, -1], [0, 1, 0]])
    elements = [np.rot90(element, turn) for turn in range(4) for element in (straight, corner)]
    while True:
        before = thin
        for element in elements:
            thin = thin & ~cv2.morphologyEx(thin, cv2.MORPH_HITMISS, element.astype(np.int32)).astype(bool)
        if np.array_equal(thin, before):
            return thin[2:-2, 2:-2]
