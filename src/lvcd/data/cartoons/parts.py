"""The parts of figures, the poses that move them, and their outlines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .art import Array, Art

Rng = np.random.Generator

INK, WHITE = -1, -2
"""Slots of a part that are not the palette's: the clip's ink, and the white of an eye."""

TAU = 2 * np.pi


@dataclass
class Part:
    """A polygon that moves as a whole."""

    points: Array
    """(n 2) in its own coordinates."""
    slot: int
    """The number of its fill in the palette, or INK, or WHITE."""
    pose: Array
    """(t 3 3) from its coordinates to those of its figure; in a `Scene`, to pixels of the frame."""
    closed: bool = True
    """False: a bare stroke of ink."""
    art: Art | None = None
    """A drawing instead of the polygon; it owns as many parts as it has colors, this one and those after it."""


def drawn(art: Art, slots: Sequence[int], pose: Array) -> list[Part]:
    """Return the parts of a drawing, one for each color, with the slot of each."""
    nothing = np.zeros((0, 2))
    return [Part(nothing, slot, pose, art=None if k else art) for k, slot in enumerate(slots)]


# --------------------------------------------------------------------------------------------------------------- poses


def place(time: Array, x: Any = 0.0, y: Any = 0.0, angle: Any = 0.0, sx: Any = 1.0, sy: Any = 1.0) -> Array:
    """Return a pose (t 3 3): scale, rotate by `angle` radians, move to (x, y); each a number, or one for each frame."""
    pose = np.zeros((len(time), 3, 3))
    cos, sin = np.cos(angle), np.sin(angle)
    pose[:, 0, 0], pose[:, 0, 1], pose[:, 0, 2] = sx * cos, -sy * sin, x
    pose[:, 1, 0], pose[:, 1, 1], pose[:, 1, 2] = sx * sin, sy * cos, y
    pose[:, 2, 2] = 1
    return pose


def wave(rng: Rng, time: Array, period: tuple[float, float]) -> Array:
    """Return a sine (t) in [-1, 1] of random phase, whose period in frames is drawn from a range."""
    return np.sin(TAU * (time / rng.uniform(*period) + rng.random()))


# -------------------------------------------------------------------------------------------------------------- shapes


def ellipse(rx: float, ry: float, x: float = 0.0, y: float = 0.0, power: float = 2.0, num: int = 36) -> Array:
    """Return the outline (n 2) of an ellipse, or for a power over 2 a superellipse (a rounded box)."""
    a = np.arange(num) * (TAU / num)
    cos, sin = np.cos(a), np.sin(a)
    return np.stack(
        [x + rx * np.sign(cos) * np.abs(cos) ** (2 / power), y + ry * np.sign(sin) * np.abs(sin) ** (2 / power)], 1
    )


def box(x0: Any, y0: Any, x1: Any, y1: Any) -> Array:
    """Return the outline (4 2) of a rectangle."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def blob(rng: Rng, radius: float, num: int = 40) -> Array:
    """Return a smooth closed curve (n 2) around the origin."""
    a = np.arange(num) * (TAU / num)
    r = np.ones(num)
    for k in (2, 3, 4, 5):
        r += rng.uniform(0, 0.42 / k) * np.cos(k * a + rng.uniform(0, TAU))
    return radius * r[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def polygon(rng: Rng, radius: float) -> Array:
    """Return an outline (n 2) of 3 to 7 corners at uneven angles."""
    num = int(rng.integers(3, 8))
    a = (np.arange(num) + rng.uniform(-0.28, 0.28, num)) * (TAU / num)
    return radius * rng.uniform(0.75, 1.15, (num, 1)) * np.stack([np.cos(a), np.sin(a)], 1)


def star(rng: Rng, radius: float) -> Array:
    """Return the outline (n 2) of a star of 4 to 8 points."""
    num = int(rng.integers(4, 9))
    a = np.arange(2 * num) * (TAU / 2 / num) - TAU / 4
    r = np.where(np.arange(2 * num) % 2, radius * rng.uniform(0.4, 0.65), radius * 1.1)
    return r[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def limb(length: float, top: float, bottom: float) -> Array:
    """Return the outline (n 2) of a capsule from the origin down to (0, length), `top` and `bottom` wide."""
    a = np.linspace(0, np.pi, 8)
    head = np.stack([-np.cos(a), -np.sin(a)], 1) * top / 2
    foot = np.stack([np.cos(a), np.sin(a)], 1) * bottom / 2 + [0, length]
    return np.concatenate([head, foot])


def arc(rx: float, ry: float, start: float, stop: float, x: float = 0.0, y: float = 0.0, num: int = 9) -> Array:
    """Return a piece (n 2) of an ellipse between two angles in radians, for mouths and brows."""
    a = np.linspace(start, stop, num)
    return np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], 1)


def between(points: Array, low: float, high: float) -> Array:
    """Return the part (n 2) of a convex polygon that lies in low <= y <= high."""
    for limit, sign in ((low, 1), (high, -1)):
        inside = []
        for p, q in zip(points, np.roll(points, -1, 0)):
            a, b = sign * (p[1] - limit), sign * (q[1] - limit)
            if a >= 0:
                inside.append(p)
            if a * b < 0:
                inside.append(p + (q - p) * a / (a - b))
        points = np.array(inside)
    return points
