"""Flats of drawings as people bring them: the fills are exactly the reference's, whatever the paper and the pencil."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from lvcd.lineart.reading import DrawingReader
from lvcd.pipeline import FlatFiller

SKY, BALL, BOX, SHADOW = (150, 200, 240), (220, 60, 50), (60, 160, 80), (30, 90, 50)


def shot(trace: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the key (72 128 3), ink and trace lines (72 128) in [0, 1] of a ball and a box."""
    key, ink, line = (
        np.full((72, 128, 3), SKY, np.uint8),
        np.zeros((72, 128), np.uint8),
        np.zeros((72, 128), np.float32),
    )
    cv2.circle(key, (90, 30), 14, BALL, -1)
    cv2.circle(ink, (90, 30), 14, 1, 2)
    cv2.rectangle(key, (12, 32), (36, 60), BOX, -1)
    cv2.rectangle(ink, (12, 32), (36, 60), 1, 2)
    if trace:
        key[48:60, 14:35] = SHADOW
        line[47, 14:35] = 1
    key[ink > 0] = 0
    return key, ink.astype(np.float32), line * (ink == 0)


def drawn(kind: str, ink: np.ndarray, trace: np.ndarray) -> np.ndarray:
    """Draw lines as an image, uint8 (72 128 3)."""
    if kind == "sepia":
        light = np.linspace(1, 0.7, 128)[None, :, None] * np.float32([235, 220, 185])
        grain = np.random.default_rng(0).normal(0, 1.5, (72, 128, 1))
        return (light * (1 - 0.9 * ink[..., None]) + grain).clip(0, 255).astype(np.uint8)
    paper, tone = {"white": (255, 0), "paper 250": (250, 0), "pencil": (255, 170)}[kind]
    image = np.repeat((paper + ink * (tone - paper)).astype(np.uint8)[..., None], 3, 2)
    image[trace > 0] = (0, 220, 0)
    return image


@pytest.mark.parametrize("kind", ["white", "paper 250", "pencil", "sepia"])
def test_fills_are_the_references(kind):
    key, ink, trace = shot()
    image = drawn(kind, ink, trace)
    drawing = DrawingReader([image])(image)
    reference = torch.from_numpy(key).movedim(-1, 0) / 255
    filled = FlatFiller(reference, drawing)(drawing, torch.full((3, 36, 64), 0.5))
    assert np.array_equal((filled * 255).round().byte().movedim(0, -1).numpy()[ink == 0], key[ink == 0])


def test_a_trace_line_parts_a_shadow_and_is_painted_over():
    key, ink, trace = shot(trace=True)
    image = drawn("white", ink, trace)
    drawing = DrawingReader([image])(image)
    assert list(drawing.traces) == ["green"]
    reference = torch.from_numpy(key).movedim(-1, 0) / 255
    painted = torch.full((3, 36, 64), 0.5)
    out = {
        name: (FlatFiller(reference, drawing, trace=name)(drawing, painted, image) * 255).round().byte().movedim(0, -1)
        for name in ("darker", "lighter", "keep")
    }
    for pixels in out.values():
        assert tuple(pixels[40, 24]) == BOX and tuple(pixels[55, 24]) == SHADOW
    assert tuple(out["darker"][47, 24]) == SHADOW and tuple(out["lighter"][47, 24]) == BOX
    assert tuple(out["keep"][47, 24]) == (0, 220, 0)
