"""Composition of a scene: figures and their paths, the ground, the camera and the colors. Nothing is drawn yet."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np

from .art import Array
from .figures import Figures
from .parts import TAU, Part, Rng, box, ellipse, place, wave

MAX_PARTS = 120
"""Index 2i + 1 of the last part must fit a byte."""
LEAVING = 6
"""Frames that a figure needs to leave the frame, and to come back."""


@dataclass
class Scene:
    """All that is needed to draw the frames of a clip."""

    parts: list[Part]
    """Back to front, posed in pixels of the frame; part i is drawn as index i + 1, index 0 is the sky."""
    camera: Array
    """(t 3 3) scene -> pixels."""
    colors: Array
    """(s 3) uint8 palette that the parts' slots point into; then white, then ink, so that -2 and -1 find them."""
    thickness: float
    """Width of a line in px."""
    credit: str
    """The authors of the drawings in it."""
    license: str
    """The short names of all their licenses."""


def compose(
    rng: Rng,
    color_rng: Rng,
    time: Array,
    height: int,
    width: int,
    figures: Figures,
    most: int,
    lively: bool,
    away: tuple[int, int] | None = None,
) -> Scene:
    """Compose a scene of a ground, three figures or more and a camera.

    most      figures at most
    lively    four figures or more, one enters after the first frames; more cameras move, more drawings are held
    away      the figure in front is out of sight from the first of these frames to before the second
    """
    aspect = width / height
    twos = rng.random() < (0.5 if lively else 0.35)
    held = np.floor(time / 2) * 2 if twos else time  # on twos: figures hold every drawing for two frames
    thickness = max(1.0, rng.uniform(0.9, 1.5) * (height / 64) ** 0.65)
    camera = place(time, 0, 0, 0, height, height) @ _camera(rng, time, aspect, 0.8 if lively else 0.5)
    parts = _ground(rng, time, aspect)
    num_ground = 1 + max((part.slot for part in parts), default=0)
    slots = num_ground
    chances = np.array([role.chance for role in figures])
    credits, licenses = {"drawn by lvcd (Apache-2.0)"}, {"Apache-2.0"}
    num = int(rng.integers(4 if lively else 3, most + 1))
    columns = rng.permutation(num)  # spread over the width, whatever their depth
    enters = int(rng.integers(3)) if lively else -1
    for depth in range(num):
        _, figure, upright = figures[rng.choice(len(figures), p=chances / chances.sum())]
        size = rng.uniform(0.42, 0.7) + 0.25 * depth / num * rng.random() + 0.2 * upright
        x = aspect * (0.06 + 0.88 * (columns[depth] + rng.random()) / num)
        root = _travel(rng, held, x, aspect, size, upright, depth == enters)
        if away is not None and depth == num - 1:
            root = place(time, _leave(held, away, aspect), 0.0) @ root
        members = figure(rng, held)
        if len(parts) + len(members) >= MAX_PARTS:
            break
        for part in members:
            slot = part.slot + slots if part.slot >= 0 else part.slot
            if part.art:
                part.art.size *= size
                credits.add(part.art.credit)
                licenses.add(part.art.license)
            parts.append(Part(part.points, slot, root @ part.pose, part.closed, part.art))
        slots += 1 + max(part.slot for part in members)
    for part in parts:
        part.pose = camera @ part.pose
    ink = color_rng.integers(0, 45, 3).astype(np.uint8)
    colors = np.concatenate([_palette(color_rng, num_ground, slots - num_ground), [[250, 250, 250]], [ink]])
    words = "; ".join(sorted(credits)), ", ".join(sorted(licenses))
    return Scene(parts, camera, colors.astype(np.uint8), thickness, *words)


def _travel(rng: Rng, time: Array, x: float, aspect: float, size: float, upright: bool, enters: bool) -> Array:
    """Return the path (t 3 3), without end, of a figure of a given size that starts at x or enters."""
    y = float(rng.uniform(0.45, 0.75) if upright else rng.uniform(0.15, 0.85))
    dx, dy, angle, sx, sy = (np.zeros(len(time)) for _ in range(5))
    path = 0.0 if enters else rng.random()
    if path < 0.38:  # crosses the frame and comes back from the other side, unseen
        margin = 0.75 * size + 0.45
        around = aspect + 2 * margin
        speed = rng.choice([-1, 1]) * rng.uniform(0.02, 0.1)
        start = x + margin
        if (
            enters
        ):  # after 3 to 10 frames; until then it is out of sight, but not so far that it comes round the other way
            lead = min(abs(speed) * rng.uniform(3, 10), margin - 0.5 * size)
            start = margin - 0.5 * size - lead if speed > 0 else around - margin + 0.5 * size + lead
        elif rng.random() < 0.25:  # is about to enter
            start = (0.8 * margin if speed > 0 else around - 0.8 * margin) - speed * rng.uniform(0, 4)
        dx = (start + speed * time) % around - margin - x
        dy = rng.uniform(0, 0.1) * wave(rng, time, (14, 40))
    elif path < 0.72:
        dx = rng.uniform(0.08, 0.4) * aspect * wave(rng, time, (16, 48))
        dy = rng.uniform(0.0, 0.15 if upright else 0.35) * wave(rng, time, (16, 48))
    elif path < 0.88:  # hops: squashed on the ground, stretched in the air
        hop = np.abs(wave(rng, time, (14, 36)))
        dy = -rng.uniform(0.15, 0.45) * hop
        squash = rng.uniform(0.1, 0.3) * (0.6 - np.sqrt(hop))
        sx, sy = squash, -squash
        dx = rng.uniform(0, 0.3) * aspect * wave(rng, time, (30, 60))
    turn = rng.random()
    if upright or turn < 0.5:
        angle = rng.uniform(0, 0.12 if upright else 0.5) * wave(rng, time, (10, 30))
        angle = angle + (0 if upright else rng.uniform(-0.5, 0.5))
    else:
        angle = rng.choice([-1, 1]) * rng.uniform(0.03, 0.25) * time + rng.uniform(0, TAU)
    grow = 1 + (rng.uniform(0.1, 0.35) * wave(rng, time, (14, 40)) if rng.random() < 0.35 else 0.0)
    mirror = rng.choice([-1, 1])
    return place(time, x + dx, y + dy, angle, mirror * size * grow * (1 + sx), size * grow * (1 + sy))


def _leave(time: Array, away: tuple[int, int], aspect: float) -> Array:
    """Return how far (t) a figure is moved to the side: out of sight within LEAVING frames, and back as fast."""
    start, stop = away
    gone = np.clip(np.minimum((time - (start - LEAVING)) / LEAVING, (stop - 1 + LEAVING - time) / LEAVING), 0, 1)
    return (aspect + 2.5) * gone**2 * (3 - 2 * gone)


def _camera(rng: Rng, time: Array, aspect: float, probability: float) -> Array:
    """Return the pose (t 3 3) from scene to frame, of a camera that may pan, zoom or sway."""
    zoom, angle = np.ones(len(time)), np.zeros(len(time))
    x, y = np.zeros(len(time)), np.zeros(len(time))
    if rng.random() < probability:
        x = rng.uniform(0.03, 0.15) * aspect * wave(rng, time, (24, 80))
        y = rng.uniform(0.0, 0.1) * wave(rng, time, (24, 80))
        if rng.random() < 0.6:
            zoom = np.exp(rng.uniform(0.05, 0.22) * wave(rng, time, (24, 80)))
        if rng.random() < 0.25:
            angle = rng.uniform(0.02, 0.08) * wave(rng, time, (24, 80))
    center = place(time, -aspect / 2, -0.5)
    return place(time, aspect / 2 + x, 0.5 + y, angle, zoom, zoom) @ center


def _ground(rng: Rng, time: Array, aspect: float) -> list[Part]:
    """Draw the ground: two or three colors, and lines where they meet; slot 0 is the sky and needs no part."""
    far = 1.5  # how far the ground goes on outside the frame
    still = place(time)
    kind = int(rng.integers(5))
    if kind == 0:  # hills
        parts = []
        across = np.linspace(-far, aspect + far, 60)
        for slot, level in enumerate(np.sort(rng.uniform(0.4, 0.9, int(rng.integers(1, 3)))), 1):
            top = level + rng.uniform(0.01, 0.08) * np.sin(TAU * (across * rng.uniform(0.3, 1.0) + rng.random()))
            corners = [[aspect + far, 1 + far], [-far, 1 + far]]
            parts.append(Part(np.concatenate([np.stack([across, top], 1), corners]), slot, still))
        return parts
    if kind == 1:  # stripes
        width, angle, num = rng.uniform(0.25, 0.5), rng.uniform(-1.3, 1.3), int(rng.integers(2, 4))
        at = place(time, aspect / 2, 0.5, angle)
        shift = rng.uniform(0, width)
        tops = [k * width + shift for k in range(-6, 7)]
        return [Part(box(-4, top, 4, top + width), k % num, at) for k, top in enumerate(tops) if k % num]
    if kind == 2:  # a room: wall, floor, a window or a picture
        level, x = rng.uniform(0.55, 0.85), rng.uniform(0.1, 0.7) * aspect
        w, h = rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.35)
        floor = Part(box(-far, level, aspect + far, 1 + far), 1, still)
        return [floor, Part(box(x, level - h - 0.12, x + w, level - 0.12), 2, still)]
    if kind == 3:  # a horizon and a sun
        level = rng.uniform(0.5, 0.85)
        r = rng.uniform(0.1, 0.3)
        sun = Part(ellipse(r, r), 2, place(time, rng.uniform(0.1, 0.9) * aspect, level - rng.uniform(0, 0.5)))
        return [sun, Part(box(-far, level, aspect + far, 1 + far), 1, still)]
    x, lean = rng.uniform(0.25, 0.75) * aspect, rng.uniform(-0.8, 0.8)  # two halves
    return [Part(np.array([[-far, -far], [x - lean, -far], [x + lean, 1 + far], [-far, 1 + far]]), 1, still)]


def _palette(rng: Rng, num_ground: int, num: int) -> Array:
    """Draw colors (s 3) uint8: soft and light grounds, saturated others; each is the one of 6 that differs most."""
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
