"""Cartoon clips drawn on the fly, with exact line art, segments and optical flow.

A scene is a list of parts, back to front. A part is a polygon in its own coordinates, one flat color and one 3 x 3
pose a frame, so what every pixel does is known exactly. One pass draws part i into an index canvas as 2i (fill) and
2i + 1 (ink); colors, line art and segments are three readings of that canvas and cannot disagree.
Characters by others (DiceBear) are rastered once into an index map of their own and moved as one part a color.

Scene coordinates: the frame is [0, width / height] x [0, 1], y points down; the unit is the height of the frame, so a
seed draws the same scene at any size. Time is counted in frames and unbounded: a longer clip starts with the shorter.

letters: t frames, p parts, n points of a polygon, s slots of a palette, H W pixels
"""

from __future__ import annotations

import colorsys
import functools
import io
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import cv2
import numpy as np
import resvg_py
from dicebear import Avatar, Style
from PIL import Image

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]
Rng = np.random.Generator

INK, WHITE = -1, -2
"""Slots of a part that are not the palette's: the clip's ink, and the white of an eye."""

MAX_PARTS = 120
"""Index 2i + 1 of the last part must fit a byte."""

TAU = 2 * np.pi


@dataclass
class Cartoon:
    """One clip and everything known about it."""

    frames: Array
    """(t H W 3) uint8, RGB."""
    lines: Array
    """(t H W) uint8, coverage of the pixel by visible ink: 255 on a line, 0 on paper, grey on a line's edge."""
    credit: str
    """Who made the drawings this clip is composed of, and their licence."""
    segments: Array | None = None
    """(t H W) int32, the part seen at each pixel's center, 0 for the sky; ids are constant over the clip. A part owns
    its outline: mask with `lines` to keep only fills. None unless labels were asked for."""
    flow: Array | None = None
    """(t-1 H W 2) float32, forward flow (x, y) in px of what is seen in frame t. None unless labels were asked for."""

    @property
    def moving(self) -> Array:
        """(t-1 H W) bool, pixels whose color changes visibly (over 16 of 255) between frame t and frame t + 1."""
        a, b = self.frames[:-1], self.frames[1:]
        return (np.maximum(a, b) - np.minimum(a, b)).max(-1) > 16

    @property
    def visible(self) -> Array:
        """(t-1 H W) bool, pixels of frame t whose target in frame t + 1 is inside the frame and shows the same part."""
        assert self.segments is not None and self.flow is not None, "draw(..., labels=True) first"
        _, height, width = self.segments.shape
        y, x = np.mgrid[:height, :width]
        to_x = np.rint(x + self.flow[..., 0]).astype(np.int64)
        to_y = np.rint(y + self.flow[..., 1]).astype(np.int64)
        inside = (to_x >= 0) & (to_x < width) & (to_y >= 0) & (to_y < height)
        t = np.arange(len(self.flow))[:, None, None]
        found = self.segments[1:][t, to_y.clip(0, height - 1), to_x.clip(0, width - 1)]
        return inside & (found == self.segments[:-1])


def draw(
    seed: int,
    num_frames: int,
    height: int,
    width: int,
    style: str = "shapes",
    *,
    labels: bool = False,  # also segments and flow
    times: Sequence[float] | None = None,  # when, in frames; None = 0 .. num_frames-1
    color_seed: int | None = None,  # the same drawing in other colors; None = seed
) -> Cartoon:
    """The clip of a seed: the same arguments give the same bytes.

    Lines, segments and flow depend on `seed` alone, colors on `color_seed` alone: only a colored frame can tell them.
    Raises InputError for an unknown style, a negative seed, or less than one frame or 16 px.
    """
    if style not in STYLES:
        raise InputError(f"no cartoon style named {style!r}: choose one of {', '.join(STYLES)}")
    if num_frames < 1 or min(height, width) < 16:
        raise InputError(f"cannot draw {num_frames} frames of {width}x{height}: at least 1 frame of 16x16 is needed")
    if seed < 0 or (color_seed is not None and color_seed < 0):
        raise InputError("the seed of a cartoon must not be negative")
    if times is None:
        times = range(num_frames)
    elif len(times) != num_frames:
        raise InputError(f"{num_frames} frames were asked for at {len(times)} times")
    time = np.asarray(times, np.float64)
    scene_rng = np.random.default_rng([seed, 0])
    color_rng = np.random.default_rng([seed if color_seed is None else color_seed, 1])
    figures, most = STYLES[style]
    scene = _scene(scene_rng, color_rng, time, height, width, figures, most)
    return _render(scene, num_frames, height, width, labels)


# --------------------------------------------------------------------------------------------------------------- poses


def _pose(time: Array, x: Any = 0.0, y: Any = 0.0, angle: Any = 0.0, sx: Any = 1.0, sy: Any = 1.0) -> Array:
    """(t 3 3): scale, then rotate by `angle` radians, then move to (x, y); each a number or one number a frame."""
    pose = np.zeros((len(time), 3, 3))
    cos, sin = np.cos(angle), np.sin(angle)
    pose[:, 0, 0], pose[:, 0, 1], pose[:, 0, 2] = sx * cos, -sy * sin, x
    pose[:, 1, 0], pose[:, 1, 1], pose[:, 1, 2] = sx * sin, sy * cos, y
    pose[:, 2, 2] = 1
    return pose


def _wave(rng: Rng, time: Array, period: tuple[float, float]) -> Array:
    """(t) in [-1, 1]: a sine of random phase whose period in frames is drawn from a range."""
    return np.sin(TAU * (time / rng.uniform(*period) + rng.random()))


# -------------------------------------------------------------------------------------------------------------- shapes


def _ellipse(rx: float, ry: float, x: float = 0.0, y: float = 0.0, power: float = 2.0, num: int = 36) -> Array:
    """(n 2): an ellipse; a superellipse (a rounded box) for a power over 2."""
    a = np.arange(num) * (TAU / num)
    cos, sin = np.cos(a), np.sin(a)
    return np.stack(
        [x + rx * np.sign(cos) * np.abs(cos) ** (2 / power), y + ry * np.sign(sin) * np.abs(sin) ** (2 / power)], 1
    )


def _box(x0: Any, y0: Any, x1: Any, y1: Any) -> Array:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _blob(rng: Rng, radius: float, num: int = 40) -> Array:
    """(n 2): a smooth closed curve around the origin."""
    a = np.arange(num) * (TAU / num)
    r = np.ones(num)
    for k in (2, 3, 4, 5):
        r += rng.uniform(0, 0.42 / k) * np.cos(k * a + rng.uniform(0, TAU))
    return radius * r[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def _polygon(rng: Rng, radius: float) -> Array:
    """(n 2): 3 to 7 corners at uneven angles."""
    num = int(rng.integers(3, 8))
    a = (np.arange(num) + rng.uniform(-0.28, 0.28, num)) * (TAU / num)
    return radius * rng.uniform(0.75, 1.15, (num, 1)) * np.stack([np.cos(a), np.sin(a)], 1)


def _star(rng: Rng, radius: float) -> Array:
    num = int(rng.integers(4, 9))
    a = np.arange(2 * num) * (TAU / 2 / num) - TAU / 4
    r = np.where(np.arange(2 * num) % 2, radius * rng.uniform(0.4, 0.65), radius * 1.1)
    return r[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def _limb(length: float, top: float, bottom: float) -> Array:
    """(n 2): a capsule from the origin down to (0, length), `top` and `bottom` wide."""
    a = np.linspace(0, np.pi, 8)
    head = np.stack([-np.cos(a), -np.sin(a)], 1) * top / 2
    foot = np.stack([np.cos(a), np.sin(a)], 1) * bottom / 2 + [0, length]
    return np.concatenate([head, foot])


def _arc(rx: float, ry: float, start: float, stop: float, x: float = 0.0, y: float = 0.0, num: int = 9) -> Array:
    """(n 2): a piece of an ellipse between two angles in radians, for mouths and brows."""
    a = np.linspace(start, stop, num)
    return np.stack([x + rx * np.cos(a), y + ry * np.sin(a)], 1)


def _between(points: Array, low: float, high: float) -> Array:
    """(n 2): what of a convex polygon lies in low <= y <= high."""
    for limit, sign in ((low, 1), (high, -1)):
        kept = []
        for p, q in zip(points, np.roll(points, -1, 0)):
            a, b = sign * (p[1] - limit), sign * (q[1] - limit)
            if a >= 0:
                kept.append(p)
            if a * b < 0:
                kept.append(p + (q - p) * a / (a - b))
        points = np.array(kept)
    return points


# ------------------------------------------------------------------------------------------------------------- figures


@dataclass
class _Part:
    """A polygon that moves as a whole."""

    points: Array
    """(n 2) in its own coordinates."""
    slot: int
    """Which color of the palette fills it, or INK, or WHITE."""
    pose: Array
    """(t 3 3) its coordinates -> its figure's; after `_Scene.place`, the scene's."""
    closed: bool = True
    """False: a bare stroke of ink."""
    art: _Art | None = None
    """A drawing instead of the polygon; it owns as many parts as it has colors, this one and those after it."""


Figure = Callable[[Rng, Array], list[_Part]]
"""(rng, time (t)) -> parts of a figure about 1 high around the origin."""


def _eyes(rng: Rng, time: Array, head: Array, x: float, y: float, gap: float, size: float, num: int = 2) -> list[_Part]:
    """Eyes that look about and blink, on a head whose pose is given."""
    period, phase = rng.uniform(14, 40), rng.uniform(0, 40)
    lid = np.where((time + phase) % period < 2, 0.15, 1.0)
    look = 0.3 * size * _wave(rng, time, (20, 50))
    plain = rng.random() < 0.35
    parts = []
    for side in (-1, 1)[:num]:
        at = head @ _pose(time, x + side * gap * (num > 1), y, sy=lid)
        if plain:
            parts.append(_Part(_ellipse(0.55 * size, 0.8 * size, num=14), INK, at))
            continue
        parts.append(_Part(_ellipse(size, 1.15 * size, num=20), WHITE, at))
        parts.append(_Part(_ellipse(0.42 * size, 0.5 * size, num=12), INK, at @ _pose(time, look, 0.1 * size)))
    return parts


def _mouth(rng: Rng, time: Array, head: Array, y: float, size: float, slot: int) -> list[_Part]:
    """A smile, or a mouth that opens and closes."""
    if rng.random() < 0.4:
        return [_Part(_arc(size, 0.6 * size, 0.15 * np.pi, 0.85 * np.pi, 0, y), INK, head, closed=False)]
    talk = 0.62 + 0.38 * _wave(rng, time, (5, 12))
    return [_Part(_ellipse(size, 0.7 * size, num=18), slot, head @ _pose(time, 0, y + 0.4 * size, sy=talk))]


def _biped(rng: Rng, time: Array, cast: Sequence[str] = ()) -> list[_Part]:
    """Hair, head, shirt, trousers, arms and legs with elbows and knees; walks, or waves. A cast: the head is theirs."""
    skin, hair, shirt, pants, shoe, mouth = range(6)
    period = rng.uniform(8, 20)
    step = np.sin(TAU * (time / period + rng.random()))
    swing, knee = rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.7)
    wide, head_r = rng.uniform(0.11, 0.19), rng.uniform(0.15, 0.22)
    arm, leg = rng.uniform(0.13, 0.18), rng.uniform(0.11, 0.16)
    thick = rng.uniform(0.07, 0.11)
    body = _pose(time, 0, 0.012 * np.abs(step) * swing, 0.05 * step)
    hip, shoulder, sleeve = 0.15, -0.1, rng.random() < 0.5

    def make_leg(side: int, phase: Array) -> list[_Part]:
        upper = body @ _pose(time, side * 0.45 * wide, hip, -swing * phase)
        lower = upper @ _pose(time, 0, leg, knee * (1 + phase) / 2)
        return [
            _Part(_ellipse(0.075, 0.045, 0.025, 0.01, num=18), shoe, lower @ _pose(time, 0, leg)),
            _Part(_limb(leg, 0.9 * thick, 0.75 * thick), pants, lower),
            _Part(_limb(leg, 1.1 * thick, 0.9 * thick), pants, upper),
        ]

    def make_arm(side: int, phase: Array, raised: float) -> list[_Part]:
        upper = body @ _pose(time, side * 0.85 * wide, shoulder, swing * phase - side * raised - side * 0.15)
        lower = upper @ _pose(time, 0, arm, -side * abs(raised) * 0.3 - 0.5 * knee * (1 + phase))
        return [
            _Part(_limb(arm, 0.75 * thick, 0.6 * thick), skin if sleeve else shirt, lower),
            _Part(_ellipse(0.042, 0.042, num=14), skin, lower @ _pose(time, 0, arm + 0.02)),
            _Part(_limb(arm, 0.95 * thick, 0.8 * thick), shirt, upper),
        ]

    head = body @ _pose(time, 0, shoulder - 0.06 - 0.8 * head_r, 0.14 * _wave(rng, time, (12, 30)))
    square = rng.uniform(2, 3.2)
    face = _ellipse(head_r * rng.uniform(0.85, 1.05), head_r, power=square)
    wig = _ellipse(1.16 * head_r, 1.16 * head_r, 0, -0.1 * head_r, power=square)
    torso = _ellipse(wide, 0.2, 0, 0.02, power=rng.uniform(2.2, 4))
    raised = rng.uniform(1.6, 2.6) if rng.random() < 0.35 else 0.0
    parts = make_arm(-1, -step, 0.0) + make_leg(-1, step) + make_leg(1, -step)
    if cast:
        parts += [_Part(torso, shirt, body), _Part(_between(torso, 0.1, 1), pants, body)]
        return parts + make_arm(1, step, raised) + _character(rng, time, cast, head, 3.4 * head_r, mouth + 1)
    if rng.random() < 0.5:  # long hair hangs behind the face
        parts.append(_Part(_limb(rng.uniform(0.1, 0.24), 2.3 * head_r, 1.7 * head_r), hair, head))
    parts += [_Part(torso, shirt, body), _Part(_between(torso, 0.1, 1), pants, body)]
    parts += [_Part(wig, hair, head), _Part(face, skin, head)]
    fringe = _between(wig, -9, rng.uniform(-0.6, -0.3) * head_r)
    parts.append(_Part(fringe, hair, head))
    parts += _eyes(rng, time, head, 0.1 * head_r, 0.05 * head_r, 0.42 * head_r, rng.uniform(0.17, 0.27) * head_r)
    parts += _mouth(rng, time, head, 0.45 * head_r, rng.uniform(0.2, 0.35) * head_r, mouth)
    return parts + make_arm(1, step, raised)


def _beast(rng: Rng, time: Array) -> list[_Part]:
    """Four legs, a tail, ears and a belly, seen from the side."""
    coat, belly, nose, hoof = range(4)
    step = _wave(rng, time, (7, 16))
    swing, leg, thick = rng.uniform(0.3, 0.7), rng.uniform(0.14, 0.26), rng.uniform(0.07, 0.11)
    long, high = rng.uniform(0.26, 0.36), rng.uniform(0.13, 0.2)
    body = _pose(time, 0, -0.02 * np.abs(step), 0.05 * step)

    def make_leg(x: float, phase: Array) -> list[_Part]:
        at = body @ _pose(time, x, 0.6 * high, swing * phase)
        foot = _ellipse(0.6 * thick, 0.4 * thick, 0.02, 0, num=14)
        return [_Part(_limb(leg, thick, 0.8 * thick), coat, at), _Part(foot, hoof, at @ _pose(time, 0, leg))]

    tail = body @ _pose(time, -0.92 * long, -0.3 * high, 2.0 + 0.6 * _wave(rng, time, (6, 14)))
    parts = [_Part(_limb(rng.uniform(0.14, 0.3), 0.06, rng.uniform(0.03, 0.09)), coat, tail)]
    parts += make_leg(-0.6 * long, -step) + make_leg(0.6 * long, step)
    hull = _ellipse(long, high, power=rng.uniform(2, 3))
    parts += [_Part(hull, coat, body), _Part(_between(hull, rng.uniform(0.15, 0.5) * high, 1), belly, body)]
    parts += make_leg(-0.75 * long, step) + make_leg(0.75 * long, -step)
    r = rng.uniform(0.13, 0.18)
    head = body @ _pose(time, 1.05 * long, -0.9 * high - 0.3 * r, 0.2 * _wave(rng, time, (10, 24)))
    ear = rng.uniform(0.6, 1.5) * r
    for side in (-0.55, 0.45):
        flap = head @ _pose(time, side * r, -0.6 * r, side * 0.8 + 0.2 * _wave(rng, time, (8, 20)))
        parts.append(_Part(_ellipse(0.3 * r, 0.6 * ear, 0, -0.45 * ear, num=20), (coat, belly)[side < 0], flap))
    parts.append(_Part(_ellipse(1.05 * r, 0.95 * r), coat, head))
    parts.append(_Part(_ellipse(0.55 * r, 0.42 * r, 0.6 * r, 0.35 * r, num=24), belly, head))
    parts.append(_Part(_ellipse(0.2 * r, 0.16 * r, 0.98 * r, 0.2 * r, num=14), nose, head))
    return parts + _eyes(rng, time, head, 0.2 * r, -0.2 * r, 0.3 * r, 0.22 * r)


def _fish(rng: Rng, time: Array) -> list[_Part]:
    """Striped, with a tail and a fin that beat."""
    skin, stripe, fin = range(3)
    long, high = rng.uniform(0.26, 0.36), rng.uniform(0.15, 0.24)
    beat = _wave(rng, time, (5, 12))
    body = _pose(time, 0, 0, 0.08 * beat)
    tail = body @ _pose(time, -0.85 * long, 0, 0, sx=1 + 0.3 * beat)
    hull = _ellipse(long, high)
    parts = [
        _Part(np.array([[0.0, 0], [-0.2, -0.17], [-0.15, 0], [-0.2, 0.17]]), fin, tail),
        _Part(np.array([[-0.15, -0.8 * high], [-0.1, -1.6 * high], [0.12, -0.85 * high]]), fin, body),
        _Part(hull, skin, body),
    ]
    for x in rng.uniform(-0.7, -0.4) * long + np.arange(int(rng.integers(1, 4))) * 0.42 * long:
        band = _between(hull[:, ::-1], x, x + 0.2 * long)[:, ::-1]
        parts.append(_Part(band, stripe, body))
    flap = body @ _pose(time, 0.1 * long, 0.25 * high, 0.9 + 0.5 * beat)
    parts.append(_Part(_limb(0.13, 0.05, 0.1), fin, flap))
    return parts + _eyes(rng, time, body, 0.62 * long, -0.25 * high, 0, 0.05, num=1)


def _bird(rng: Rng, time: Array) -> list[_Part]:
    """Flaps its wings."""
    coat, belly, wing, beak = range(4)
    flap = _wave(rng, time, (5, 12))
    body = _pose(time, 0, 0.06 * flap, -0.1)
    far = body @ _pose(time, 0, -0.05, 2.9 + 0.8 * flap)
    near = body @ _pose(time, -0.02, -0.03, 2.6 + 1.0 * flap)
    feather = _limb(rng.uniform(0.3, 0.42), rng.uniform(0.14, 0.2), 0.08)
    hull = _ellipse(0.26, rng.uniform(0.14, 0.18))
    head = body @ _pose(time, 0.25, -0.12, 0.1 * flap)
    return [
        _Part(feather, wing, far),
        _Part(np.array([[-0.2, 0.0], [-0.45, -0.1], [-0.4, 0.02], [-0.45, 0.1], [-0.18, 0.08]]), wing, body),
        _Part(hull, coat, body),
        _Part(_between(hull, 0.04, 1), belly, body),
        _Part(np.array([[0.08, -0.04], [0.26, 0.02], [0.08, 0.06]]), beak, head),
        _Part(_ellipse(0.13, 0.12), coat, head),
        *_eyes(rng, time, head, 0.05, -0.02, 0, 0.04, num=1),
        _Part(feather, wing, near),
    ]


def _car(rng: Rng, time: Array) -> list[_Part]:
    """Wheels roll; two windows and a stripe."""
    paint, glass, tyre, hub, trim = range(5)
    body = _pose(time, 0, 0.012 * _wave(rng, time, (4, 9)))
    roof, nose = rng.uniform(0.15, 0.25), rng.uniform(0.06, 0.18)
    hull = np.array([[-0.45, 0.0], [-0.42, -0.13], [0.42 - nose, -0.13], [0.45, -0.04], [0.46, 0.1], [-0.46, 0.1]])
    cabin = np.array([[-0.34, -0.13], [-0.24, -0.13 - roof], [0.1, -0.13 - roof], [0.28 - nose / 2, -0.13]])
    parts = [_Part(cabin, paint, body)]
    center = cabin.mean(0)
    window = center + (cabin - center) * 0.72
    parts += [_Part(window, glass, body), _Part(hull, paint, body), _Part(_between(hull, -0.03, 0.03), trim, body)]
    parts.append(_Part(_ellipse(0.035, 0.035, 0.43, 0.0, num=14), glass, body))
    r, turn = rng.uniform(0.09, 0.13), rng.choice([-1, 1]) * rng.uniform(0.1, 0.45)
    for x in (-0.26, 0.26):
        at = _pose(time, x, 0.12, turn * time)
        parts += [_Part(_ellipse(r, r), tyre, at), _Part(_star_box(0.6 * r), hub, at)]
    return parts


def _star_box(r: float) -> Array:
    """(n 2): a four-pointed hub, so that rolling shows."""
    a = np.arange(8) * (TAU / 8)
    rr = np.where(np.arange(8) % 2, 0.5 * r, r)
    return rr[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def _plant(rng: Rng, time: Array) -> list[_Part]:
    """A flower or a tree that bends in the wind."""
    stem, leaf, petal, heart, pot = range(5)
    sway = _wave(rng, time, (12, 30)) * rng.uniform(0.08, 0.3)
    base = _pose(time, 0, 0.3, sway)
    length, thick = rng.uniform(0.3, 0.5), rng.uniform(0.04, 0.12)
    trunk = _limb(length, thick, 0.7 * thick) * [1, -1]
    top = base @ _pose(time, 0, -length, sway)
    parts = [_Part(trunk, stem, base)]
    for side in (-1, 1):
        at = base @ _pose(time, 0, -0.4 * length, side * 1.1 + sway)
        parts.append(_Part(_ellipse(0.05, 0.1, 0, -0.11, num=20), leaf, at))
    if rng.random() < 0.6:
        num, r, spin = int(rng.integers(5, 9)), rng.uniform(0.1, 0.15), rng.uniform(-0.25, 0.25)
        for k in range(num):
            at = top @ _pose(time, 0, 0, k * TAU / num + spin * time)
            slot = leaf if k % 2 and num % 2 == 0 else petal
            parts.append(_Part(_ellipse(0.6 * r, 0.8 * r, 0, -1.1 * r, num=20), slot, at))
        parts.append(_Part(_ellipse(0.75 * r, 0.75 * r), heart, top))
    else:
        crown = _blob(rng, rng.uniform(0.2, 0.28))
        parts.append(_Part(crown, petal, top))
        for x, y in rng.uniform(-0.13, 0.13, (int(rng.integers(2, 5)), 2)):
            parts.append(_Part(_ellipse(0.035, 0.035, x, y, num=16), heart, top))
    parts.append(_Part(np.array([[-0.13, 0.27], [0.13, 0.27], [0.09, 0.47], [-0.09, 0.47]]), pot, _pose(time)))
    return parts


def _simple(rng: Rng, time: Array) -> list[_Part]:
    """One outlined shape with another inside it: a patch, spots, a ring, a belt, or a face."""
    fill, second, third = range(3)
    r = rng.uniform(0.28, 0.45)
    still = _pose(time)
    kind = int(rng.integers(5))
    if kind == 0:
        hull = _ellipse(r, r * rng.uniform(0.6, 1.0), power=rng.uniform(2, 5))
    elif kind == 1:
        hull = _box(-r, -r * rng.uniform(0.5, 1), r, r * rng.uniform(0.5, 1))
    else:
        hull = (_blob, _polygon, _star)[kind - 2](rng, r)
    parts = [_Part(hull, fill, still)]
    inside = int(rng.integers(6))
    core = r * 0.5
    if inside == 0:
        parts.append(_Part(hull * rng.uniform(0.45, 0.65), second, still))
    elif inside == 1:
        parts += [_Part(_ellipse(core, core), second, still), _Part(_ellipse(core / 2, core / 2), third, still)]
    elif inside == 2:
        angle = rng.uniform(0, TAU)
        for k in range(3):
            x, y = core * np.cos(angle + k * TAU / 3), core * np.sin(angle + k * TAU / 3)
            parts.append(_Part(_ellipse(0.4 * core, 0.4 * core, x, y, num=20), (second, third)[k == 2], still))
    elif inside == 3 and kind < 2:
        parts.append(_Part(_between(hull, -0.35 * core, 0.45 * core), second, still))
    elif inside <= 4:
        parts += _eyes(rng, time, still, 0, -0.25 * core, 0.55 * core, 0.32 * core)
        parts += _mouth(rng, time, still, 0.35 * core, 0.4 * core, second)
    return parts


Figures = Sequence[tuple[float, Figure]]
"""How often a figure is drawn, and by whom."""

FIGURES: Figures = [
    (0.34, _simple), (0.22, _biped), (0.12, _beast), (0.08, _fish), (0.08, _bird), (0.08, _car), (0.08, _plant),
]  # fmt: skip

_WEIGHTLESS = {_simple, _fish, _bird}
"""Figures that turn about and are anywhere; the others stand."""


# ------------------------------------------------------------------------------------------------- characters by others

CAST = ("adventurer", "micah", "lorelei", "croodles", "big-ears", "personas", "big-smile", "miniavs")
"""DiceBear styles to train on; each carries its licence."""

HELD_OUT = ("open-peeps", "toon-head")
"""DiceBear styles that no training clip shows."""

_HEADS = {"adventurer", "croodles", "big-ears", "big-smile"}  # have no shoulders: we give them a body that walks

_INK_NAMES = {"ink", "stroke", "outline", "eyes", "eyebrows", "mouth", "nose", "freckles", "throat"}
_WHITE_NAMES = {"sclera", "teeth"}


@dataclass
class _Art:
    """A character in a few expressions, as flat colors."""

    svgs: list[str]
    """One an expression; color c is shown as `codes[c]`."""
    codes: Array
    """(c 3) uint8."""
    ink: Array
    """(c) bool, whether the color is ink."""
    shown: Array
    """(t) int, which expression."""
    size: float
    """Of the drawing's square, in scene units: how finely to raster it."""
    credit: str

    def index_map(self, expression: int, size: int, thick: int) -> Array:
        """(R R) uint8, R = size + 2 * _margin(size): 0 where nothing is, else 2c + 2 for fill, 2c + 3 for ink.

        Ink is the character's own, at least `thick` px wide, and a line wherever two of its colors meet, or it ends.
        """
        png = resvg_py.svg_to_bytes(
            svg_string=self.svgs[expression], width=size, height=size, skip_system_fonts=True,
            shape_rendering="crisp_edges",
        )  # fmt: skip
        rgba = np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA")) >> 3
        red, green, blue = (rgba[..., c].astype(np.int64) for c in range(3))
        kind = np.where(rgba[..., 3] > 15, self._nearest()[red, green, blue] + 1, 0).astype(np.uint8)
        kind = np.pad(cv2.medianBlur(kind, 3), _margin(size))
        own = np.append(False, self.ink)[kind]
        known = np.where(own, 255, kind).astype(np.uint8)
        high, low = cv2.dilate(known, np.ones((2, 2))), cv2.erode(known, np.ones((2, 2)))
        edge = (high != low) & (high != 255)
        line = _thicker(own, thick - size // 100) | _thicker(edge, thick - 1)
        # a line that reaches outside belongs to the color next to it
        owner = np.where(kind > 0, kind, cv2.dilate(kind, np.ones((2 * thick + 1, 2 * thick + 1))))
        return np.where(line & (owner > 0), 2 * owner + 1, 2 * kind).astype(np.uint8)

    def _nearest(self) -> Array:
        """(32 32 32) int, the color nearest to any, given by the upper five bits of red, green, blue."""
        levels = np.arange(32) * 8 + 4
        r, g, b = ((levels[:, None] - self.codes[:, c].astype(np.int64)) ** 2 for c in range(3))  # (32 c) each
        return (r[:, None, None] + g[:, None] + b).argmin(-1)


def _margin(size: int) -> int:
    """Room around a raster of a given size for the outline."""
    return size // 12 + 1


def _thicker(mask: Array, by: int) -> Array:
    """(H W) bool: grown to strokes `by` px wider."""
    disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (max(1, by + 1), max(1, by + 1)))
    return cv2.dilate(mask.astype(np.uint8), disk) > 0


@functools.cache
def _style(name: str) -> tuple[Style, dict[str, Any]]:
    definition = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))
    return Style(definition), definition


def _character(
    rng: Rng, time: Array, cast: Sequence[str], pose: Array, size: float, first_slot: int = 0
) -> list[_Part]:
    """Somebody of a style of the cast whose expression changes, `size` high at `pose`."""
    name = cast[int(rng.integers(len(cast)))]
    style, definition = _style(name)
    # every free color gets a code, fixed and far from the others
    names = sorted(set(definition["colors"]) - {"background"})
    num = len(names)
    codes = [colorsys.hsv_to_rgb(k / num, 1 - 0.35 * (k % 2), 1 - 0.35 * (k // 2 % 2)) for k in range(num)]
    hexes = ["#{:02x}{:02x}{:02x}".format(*(round(255 * v) for v in code)) for code in codes]
    options: dict[str, Any] = {"seed": str(rng.integers(1 << 31))}
    options |= {f"{color}Color": [code] for color, code in zip(names, hexes)}
    moods = [options]
    features = [part for part in ("eyes", "eyebrows", "mouth", "expression") if part in definition["components"]]
    for _ in range(2):
        variants = {part: sorted(definition["components"][part]["variants"]) for part in features}
        chosen = {f"{part}Variant": [all_[int(rng.integers(len(all_)))]] for part, all_ in variants.items()}
        moods.append({**options, **chosen})
    svgs = [Avatar(style, mood).to_string() for mood in moods]
    # colors that the drawing does not leave free are parts too
    fixed = sorted({found.lower() for svg in svgs for found in re.findall(r"\"(#[0-9a-fA-F]{6})\"", svg)} - set(hexes))
    rgb = np.array([[int(code[i : i + 2], 16) for i in (1, 3, 5)] for code in hexes + fixed], np.uint8)
    slots, slot = [], first_slot
    for k, value in enumerate(rgb.astype(int)):
        option = names[k] if k < len(names) else ""
        if option in _INK_NAMES or (not option and value.max() < 90):
            slots.append(INK)
        elif option in _WHITE_NAMES or (not option and value.min() > 215):
            slots.append(WHITE)
        else:
            slots.append(slot)
            slot += 1
    table, period = rng.integers(len(svgs), size=16), rng.uniform(4, 12)
    shown = table[(time // period).astype(np.int64) % 16]
    credit = definition["meta"]["license"]["text"]
    art = _Art(svgs, rgb, np.array(slots) == INK, shown, size, credit)
    nod, breath = 0.06 * _wave(rng, time, (8, 24)), 0.04 * _wave(rng, time, (6, 16))
    pose = pose @ _pose(time, 0, 0, nod, size, size * (1 + breath))
    nothing = np.zeros((0, 2))
    return [_Part(nothing, s, pose, art=None if k else art) for k, s in enumerate(slots)]


def _people(cast: Sequence[str]) -> Figures:
    """Busts and walking figures of a cast, with a few props."""
    heads = [name for name in cast if name in _HEADS]

    def bust(rng: Rng, time: Array) -> list[_Part]:
        return _character(rng, time, cast, _pose(time), 1.0)

    def walker(rng: Rng, time: Array) -> list[_Part]:
        return _biped(rng, time, heads)

    props: Figures = [(0.15, _simple), (0.1, _plant), (0.05, _bird)]
    return [(0.4, bust), *([(0.3, walker)] if heads else []), *props]


# -------------------------------------------------------------------------------------------------------------- motion


def _travel(rng: Rng, time: Array, x: float, aspect: float, size: float, upright: bool) -> Array:
    """(t 3 3): how a figure of a given size, at x to begin with, moves through the scene, for ever."""
    y = float(rng.uniform(0.45, 0.75) if upright else rng.uniform(0.15, 0.85))
    dx, dy, angle, sx, sy = (np.zeros(len(time)) for _ in range(5))
    path = rng.random()
    if path < 0.38:  # crosses the frame and comes back from the other side, unseen
        margin = 0.75 * size + 0.45
        around = aspect + 2 * margin
        speed = rng.choice([-1, 1]) * rng.uniform(0.02, 0.1)
        start = x + margin
        if rng.random() < 0.25:  # is about to enter
            start = (0.8 * margin if speed > 0 else around - 0.8 * margin) - speed * rng.uniform(0, 4)
        dx = (start + speed * time) % around - margin - x
        dy = rng.uniform(0, 0.1) * _wave(rng, time, (14, 40))
    elif path < 0.72:
        dx = rng.uniform(0.08, 0.4) * aspect * _wave(rng, time, (16, 48))
        dy = rng.uniform(0.0, 0.15 if upright else 0.35) * _wave(rng, time, (16, 48))
    elif path < 0.88:  # hops: squashed on the ground, stretched in the air
        hop = np.abs(_wave(rng, time, (14, 36)))
        dy = -rng.uniform(0.15, 0.45) * hop
        squash = rng.uniform(0.1, 0.3) * (0.6 - np.sqrt(hop))
        sx, sy = squash, -squash
        dx = rng.uniform(0, 0.3) * aspect * _wave(rng, time, (30, 60))
    turn = rng.random()
    if upright or turn < 0.5:
        angle = rng.uniform(0, 0.12 if upright else 0.5) * _wave(rng, time, (10, 30))
        angle = angle + (0 if upright else rng.uniform(-0.5, 0.5))
    else:
        angle = rng.choice([-1, 1]) * rng.uniform(0.03, 0.25) * time + rng.uniform(0, TAU)
    grow = 1 + (rng.uniform(0.1, 0.35) * _wave(rng, time, (14, 40)) if rng.random() < 0.35 else 0.0)
    mirror = rng.choice([-1, 1])
    return _pose(time, x + dx, y + dy, angle, mirror * size * grow * (1 + sx), size * grow * (1 + sy))


def _camera(rng: Rng, time: Array, aspect: float) -> Array:
    """(t 3 3): scene -> frame; half of the clips pan, zoom or sway."""
    zoom, angle = np.ones(len(time)), np.zeros(len(time))
    x, y = np.zeros(len(time)), np.zeros(len(time))
    if rng.random() < 0.5:
        x = rng.uniform(0.03, 0.15) * aspect * _wave(rng, time, (24, 80))
        y = rng.uniform(0.0, 0.1) * _wave(rng, time, (24, 80))
        if rng.random() < 0.6:
            zoom = np.exp(rng.uniform(0.05, 0.22) * _wave(rng, time, (24, 80)))
        if rng.random() < 0.25:
            angle = rng.uniform(0.02, 0.08) * _wave(rng, time, (24, 80))
    center = _pose(time, -aspect / 2, -0.5)
    return _pose(time, aspect / 2 + x, 0.5 + y, angle, zoom, zoom) @ center


def _ground(rng: Rng, time: Array, aspect: float) -> list[_Part]:
    """Two or three colors behind everything, lines where they meet; slot 0 is the sky and needs no part."""
    far = 1.5  # how far the ground goes on outside the frame
    still = _pose(time)
    kind = int(rng.integers(5))
    if kind == 0:  # hills
        parts = []
        across = np.linspace(-far, aspect + far, 60)
        for slot, level in enumerate(np.sort(rng.uniform(0.4, 0.9, int(rng.integers(1, 3)))), 1):
            top = level + rng.uniform(0.01, 0.08) * np.sin(TAU * (across * rng.uniform(0.3, 1.0) + rng.random()))
            corners = [[aspect + far, 1 + far], [-far, 1 + far]]
            parts.append(_Part(np.concatenate([np.stack([across, top], 1), corners]), slot, still))
        return parts
    if kind == 1:  # stripes
        width, angle, num = rng.uniform(0.25, 0.5), rng.uniform(-1.3, 1.3), int(rng.integers(2, 4))
        at = _pose(time, aspect / 2, 0.5, angle)
        shift = rng.uniform(0, width)
        tops = [k * width + shift for k in range(-6, 7)]
        return [_Part(_box(-4, top, 4, top + width), k % num, at) for k, top in enumerate(tops) if k % num]
    if kind == 2:  # a room: wall, floor, a window or a picture
        level, x = rng.uniform(0.55, 0.85), rng.uniform(0.1, 0.7) * aspect
        w, h = rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.35)
        floor = _Part(_box(-far, level, aspect + far, 1 + far), 1, still)
        return [floor, _Part(_box(x, level - h - 0.12, x + w, level - 0.12), 2, still)]
    if kind == 3:  # a horizon and a sun
        level = rng.uniform(0.5, 0.85)
        r = rng.uniform(0.1, 0.3)
        sun = _Part(_ellipse(r, r), 2, _pose(time, rng.uniform(0.1, 0.9) * aspect, level - rng.uniform(0, 0.5)))
        return [sun, _Part(_box(-far, level, aspect + far, 1 + far), 1, still)]
    x, lean = rng.uniform(0.25, 0.75) * aspect, rng.uniform(-0.8, 0.8)  # two halves
    return [_Part(np.array([[-far, -far], [x - lean, -far], [x + lean, 1 + far], [-far, 1 + far]]), 1, still)]


# -------------------------------------------------------------------------------------------------------------- colors


def _palette(rng: Rng, num_ground: int, num: int) -> Array:
    """(s 3) uint8: grounds are softer and lighter, the rest saturated; each the farthest from its like of 6 tries."""
    colors: list[tuple[float, float, float]] = []
    for k in range(num_ground + num):
        best, best_gap = (0.0, 0.0, 0.0), -1.0
        for hue, s, v in rng.random((6, 3)):
            soft = k < num_ground
            color = (
                colorsys.hsv_to_rgb(hue, 0.1 + 0.6 * s, 0.7 + 0.3 * v)
                if soft
                else (colorsys.hsv_to_rgb(hue, 0.45 + 0.55 * s, 0.5 + 0.5 * v))
            )
            near = colors[:num_ground] + colors[-6:]
            gap = min((sum((a - b) ** 2 for a, b in zip(color, c)) for c in near), default=1.0)
            if gap > best_gap:
                best, best_gap = color, gap
        colors.append(best)
    return np.rint(np.array(colors) * 255).astype(np.uint8)


# -------------------------------------------------------------------------------------------------------------- scenes


@dataclass
class _Scene:
    parts: list[_Part]
    """Back to front, posed in pixels of the frame; part i is drawn as index i + 1, index 0 is the sky."""
    camera: Array
    """(t 3 3) scene -> pixels."""
    colors: Array
    """(s 3) uint8 palette that the parts' slots point into; then white, then ink, so that -2 and -1 find them."""
    thickness: float
    """Width of a line in px."""
    credit: str


def _scene(rng: Rng, color_rng: Rng, time: Array, height: int, width: int, figures: Figures, most: int) -> _Scene:
    """A ground, three figures or more, a camera."""
    aspect = width / height
    twos = rng.random() < 0.35
    held = np.floor(time / 2) * 2 if twos else time  # on twos: figures hold every drawing for two frames
    thickness = max(1.0, rng.uniform(0.9, 1.5) * (height / 64) ** 0.65)
    camera = _pose(time, 0, 0, 0, height, height) @ _camera(rng, time, aspect)
    parts = _ground(rng, time, aspect)
    num_ground = 1 + max((part.slot for part in parts), default=0)
    slots = num_ground
    chances = np.array([chance for chance, _ in figures])
    credits = {"drawn by lvcd (Apache-2.0)"}
    num = int(rng.integers(3, most + 1))
    columns = rng.permutation(num)  # spread over the width, whatever their depth
    for depth in range(num):
        figure = figures[rng.choice(len(figures), p=chances / chances.sum())][1]
        upright = figure not in _WEIGHTLESS
        size = rng.uniform(0.42, 0.7) + 0.25 * depth / num * rng.random() + 0.2 * upright
        x = aspect * (0.06 + 0.88 * (columns[depth] + rng.random()) / num)
        root = _travel(rng, held, x, aspect, size, upright)
        members = figure(rng, held)
        if len(parts) + len(members) >= MAX_PARTS:
            break
        for part in members:
            slot = part.slot + slots if part.slot >= 0 else part.slot
            if part.art:
                part.art.size *= size
                credits.add(part.art.credit)
            parts.append(_Part(part.points, slot, root @ part.pose, part.closed, part.art))
        slots += 1 + max(part.slot for part in members)
    for part in parts:
        part.pose = camera @ part.pose
    ink = color_rng.integers(0, 45, 3).astype(np.uint8)
    colors = np.concatenate([_palette(color_rng, num_ground, slots - num_ground), [[250, 250, 250]], [ink]])
    return _Scene(parts, camera, colors.astype(np.uint8), thickness, "; ".join(sorted(credits)))


_SHIFT = 5  # fractional bits of a coordinate given to OpenCV


def _supersampling(height: int) -> int:
    return 4 if height < 100 else 3


def _index_frames(scene: _Scene, num: int, height: int, width: int):
    """Yield (H*k W*k) uint8 index canvases, one a frame: 2i the fill of part i, 2i + 1 its ink."""
    k = _supersampling(height)
    thick = max(1, round(scene.thickness * k))
    reach = thick + 1
    drawn = []
    arts: dict[int, tuple[int, dict[int, Array], Array, Array]] = {}
    for i, part in enumerate(scene.parts, 1):
        if part.art:
            nominal = part.art.size * height * k
            size = int(np.clip(nominal, 48, 640))
            maps = {}
            for mood in np.unique(part.art.shown).tolist():
                art = part.art.index_map(mood, size, max(2, round(thick * size / nominal)))
                maps[mood] = np.where(art > 0, art + 2 * (i - 1), 0).astype(np.uint8)
            arts[i] = size, maps, part.art.shown, part.pose
        if not len(part.points):
            drawn.append((np.zeros(num, bool), np.zeros((num, 0, 2), np.int32), True))
            continue
        linear, move = part.pose[:, :2, :2], part.pose[:, :2, 2]
        outline = (part.points @ linear.transpose(0, 2, 1) + move[:, None]) * k - 0.5  # (t n 2); 0 = center of a pixel
        low, high = outline.min(1) - reach, outline.max(1) + reach
        seen = (high[:, 0] > 0) & (high[:, 1] > 0) & (low[:, 0] < width * k) & (low[:, 1] < height * k)
        drawn.append((seen, np.rint(outline * (1 << _SHIFT)).astype(np.int32), part.closed))
    for t in range(num):
        canvas = np.zeros((height * k, width * k), np.uint8)
        for i, (seen, points, closed) in enumerate(drawn, 1):
            if i in arts:
                size, maps, shown, pose = arts[i]
                _paste(canvas, maps[shown[t]], size, pose[t], k)
            if not seen[t]:
                continue
            if closed:
                cv2.fillPoly(canvas, [points[t]], 2 * i, cv2.LINE_8, _SHIFT)
            cv2.polylines(canvas, [points[t]], closed, 2 * i + 1, thick, cv2.LINE_8, _SHIFT)
        yield canvas


def _paste(canvas: Array, art: Array, size: int, pose: Array, k: int) -> None:
    """An index map of a given size over a canvas at k times the size, by a pose (3 3) of its unit square in px."""
    first = (0.5 - _margin(size)) / size - 0.5
    unit = np.array([[1 / size, 0, first], [0, 1 / size, first], [0, 0, 1]])
    matrix = (np.diag([k, k, 1.0]) @ pose @ unit)[:2] - [[0, 0, 0.5], [0, 0, 0.5]]
    moved = cv2.warpAffine(art, matrix, canvas.shape[::-1], flags=cv2.INTER_NEAREST)
    np.copyto(canvas, moved, where=moved > 0)


def _flow(segments: Array, poses: Array) -> Array:
    """segments (t H W) int32, poses (t p 3 3) of each label in px -> (t-1 H W 2) float32."""
    num, height, width = segments.shape
    step = poses[1:] @ np.linalg.inv(poses[:-1]) - np.eye(3)  # (t-1 p 3 3): where to, less where from
    y, x = np.mgrid[:height, :width] + 0.5
    flow = np.empty((num - 1, height, width, 2), np.float32)
    for t in range(num - 1):
        a = step[t][segments[t]]  # (H W 3 3)
        flow[t, ..., 0] = a[..., 0, 0] * x + a[..., 0, 1] * y + a[..., 0, 2]
        flow[t, ..., 1] = a[..., 1, 0] * x + a[..., 1, 1] * y + a[..., 1, 2]
    return flow


def _render(scene: _Scene, num: int, height: int, width: int, labels: bool) -> Cartoon:
    """Color, lines and labels out of one index canvas a frame."""
    table = np.zeros((256, 1, 3), np.uint8)
    ink = np.zeros(256, np.uint8)
    ink[1::2] = 255
    table[0] = scene.colors[0]
    table[1::2] = scene.colors[INK]
    for i, part in enumerate(scene.parts, 1):
        table[2 * i] = scene.colors[part.slot]
        ink[2 * i] = 255 * (part.slot == INK)
    table = table.reshape(1, 256, 3)
    k = _supersampling(height)
    frames = np.empty((num, height, width, 3), np.uint8)
    lines = np.empty((num, height, width), np.uint8)
    segments = np.empty((num, height, width), np.int32) if labels else None
    for t, canvas in enumerate(_index_frames(scene, num, height, width)):
        color = cv2.LUT(cv2.merge([canvas, canvas, canvas]), table)
        cv2.resize(color, (width, height), frames[t], interpolation=cv2.INTER_AREA)
        cv2.resize(cv2.LUT(canvas, ink), (width, height), lines[t], interpolation=cv2.INTER_AREA)
        if segments is not None:
            segments[t] = canvas[k // 2 :: k, k // 2 :: k] >> 1
    flow = None
    if segments is not None:
        flow = _flow(segments, np.stack([scene.camera] + [part.pose for part in scene.parts], 1))
    return Cartoon(frames, lines, scene.credit, segments, flow)


STYLES: dict[str, tuple[Figures, int]] = {
    "shapes": (FIGURES, 7),
    "characters": (_people(CAST), 5),
    "heldout_characters": (_people(HELD_OUT), 5),
}
"""What `draw` can draw: the figures of a style, and how many a scene has at most."""
