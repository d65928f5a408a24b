"""Figures drawn by procedure (people, beasts, cars, shapes ...), and how often each appears."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from .art import Array
from .characters import character
from .parts import INK, TAU, WHITE, Part, Rng, arc, between, blob, box, ellipse, limb, place, polygon, star, wave

Figure = Callable[[Rng, Array], list[Part]]
"""(rng, time (t)) -> parts of a figure about 1 high around the origin."""


Carry = Callable[[Rng, Array, Array, int], list[Part]]
"""(rng, time (t), pose (t 3 3) of the hand, first slot) -> parts of what it holds."""


class Role(NamedTuple):
    """A figure and how often it appears."""

    chance: float
    """Its weight among the roles of a style."""
    figure: Figure
    stands: bool = True
    """False: it turns about and is anywhere."""


Figures = Sequence[Role]


def _eyes(rng: Rng, time: Array, head: Array, x: float, y: float, gap: float, size: float, num: int = 2) -> list[Part]:
    """Draw eyes that move and blink, on a head of a given pose."""
    period, phase = rng.uniform(14, 40), rng.uniform(0, 40)
    lid = np.where((time + phase) % period < 2, 0.15, 1.0)
    look = 0.3 * size * wave(rng, time, (20, 50))
    plain = rng.random() < 0.35
    parts = []
    for side in (-1, 1)[:num]:
        at = head @ place(time, x + side * gap * (num > 1), y, sy=lid)
        if plain:
            parts.append(Part(ellipse(0.55 * size, 0.8 * size, num=14), INK, at))
            continue
        parts.append(Part(ellipse(size, 1.15 * size, num=20), WHITE, at))
        parts.append(Part(ellipse(0.42 * size, 0.5 * size, num=12), INK, at @ place(time, look, 0.1 * size)))
    return parts


def _mouth(rng: Rng, time: Array, head: Array, y: float, size: float, slot: int) -> list[Part]:
    """Draw a smile, or a mouth that opens and closes."""
    if rng.random() < 0.4:
        return [Part(arc(size, 0.6 * size, 0.15 * np.pi, 0.85 * np.pi, 0, y), INK, head, closed=False)]
    talk = 0.62 + 0.38 * wave(rng, time, (5, 12))
    return [Part(ellipse(size, 0.7 * size, num=18), slot, head @ place(time, 0, y + 0.4 * size, sy=talk))]


def biped(rng: Rng, time: Array, cast: Sequence[str] = (), carry: Carry | None = None) -> list[Part]:
    """Draw a person with hair, shirt, trousers, elbows and knees, who walks or waves.

    cast     styles of characters, one of which gives the head
    carry    draws what the near hand holds
    """
    skin, hair, shirt, pants, shoe, mouth = range(6)
    period = rng.uniform(8, 20)
    step = np.sin(TAU * (time / period + rng.random()))
    swing, knee = rng.uniform(0.3, 0.8), rng.uniform(0.1, 0.7)
    wide, head_r = rng.uniform(0.11, 0.19), rng.uniform(0.15, 0.22)
    arm, leg = rng.uniform(0.13, 0.18), rng.uniform(0.11, 0.16)
    thick = rng.uniform(0.07, 0.11)
    body = place(time, 0, 0.012 * np.abs(step) * swing, 0.05 * step)
    hip, shoulder, sleeve = 0.15, -0.1, rng.random() < 0.5

    def make_leg(side: int, phase: Array) -> list[Part]:
        upper = body @ place(time, side * 0.45 * wide, hip, -swing * phase)
        lower = upper @ place(time, 0, leg, knee * (1 + phase) / 2)
        return [
            Part(ellipse(0.075, 0.045, 0.025, 0.01, num=18), shoe, lower @ place(time, 0, leg)),
            Part(limb(leg, 0.9 * thick, 0.75 * thick), pants, lower),
            Part(limb(leg, 1.1 * thick, 0.9 * thick), pants, upper),
        ]

    def make_arm(side: int, phase: Array, raised: float) -> list[Part]:
        upper = body @ place(time, side * 0.85 * wide, shoulder, swing * phase - side * raised - side * 0.15)
        lower = upper @ place(time, 0, arm, -side * abs(raised) * 0.3 - 0.5 * knee * (1 + phase))
        hand = lower @ place(time, 0, arm + 0.02)
        return [
            Part(limb(arm, 0.75 * thick, 0.6 * thick), skin if sleeve else shirt, lower),
            *(carry(rng, time, hand, mouth + 1) if carry and side > 0 else ()),
            Part(ellipse(0.042, 0.042, num=14), skin, hand),
            Part(limb(arm, 0.95 * thick, 0.8 * thick), shirt, upper),
        ]

    head = body @ place(time, 0, shoulder - 0.06 - 0.8 * head_r, 0.14 * wave(rng, time, (12, 30)))
    square = rng.uniform(2, 3.2)
    face = ellipse(head_r * rng.uniform(0.85, 1.05), head_r, power=square)
    wig = ellipse(1.16 * head_r, 1.16 * head_r, 0, -0.1 * head_r, power=square)
    torso = ellipse(wide, 0.2, 0, 0.02, power=rng.uniform(2.2, 4))
    raised = rng.uniform(1.6, 2.6) if rng.random() < 0.35 else 0.0
    parts = make_arm(-1, -step, 0.0) + make_leg(-1, step) + make_leg(1, -step)
    if cast:
        parts += [Part(torso, shirt, body), Part(between(torso, 0.1, 1), pants, body)]
        near = make_arm(1, step, raised)
        slot = 1 + max(part.slot for part in near + [Part(torso, mouth, body)])
        return parts + near + character(rng, time, cast, head, 3.4 * head_r, slot)
    if rng.random() < 0.5:  # long hair hangs behind the face
        parts.append(Part(limb(rng.uniform(0.1, 0.24), 2.3 * head_r, 1.7 * head_r), hair, head))
    parts += [Part(torso, shirt, body), Part(between(torso, 0.1, 1), pants, body)]
    parts += [Part(wig, hair, head), Part(face, skin, head)]
    fringe = between(wig, -9, rng.uniform(-0.6, -0.3) * head_r)
    parts.append(Part(fringe, hair, head))
    parts += _eyes(rng, time, head, 0.1 * head_r, 0.05 * head_r, 0.42 * head_r, rng.uniform(0.17, 0.27) * head_r)
    parts += _mouth(rng, time, head, 0.45 * head_r, rng.uniform(0.2, 0.35) * head_r, mouth)
    return parts + make_arm(1, step, raised)


def _beast(rng: Rng, time: Array) -> list[Part]:
    """Draw an animal with four legs, a tail, ears and a belly, seen from the side."""
    coat, belly, nose, hoof = range(4)
    step = wave(rng, time, (7, 16))
    swing, leg, thick = rng.uniform(0.3, 0.7), rng.uniform(0.14, 0.26), rng.uniform(0.07, 0.11)
    long, high = rng.uniform(0.26, 0.36), rng.uniform(0.13, 0.2)
    body = place(time, 0, -0.02 * np.abs(step), 0.05 * step)

    def make_leg(x: float, phase: Array) -> list[Part]:
        at = body @ place(time, x, 0.6 * high, swing * phase)
        foot = ellipse(0.6 * thick, 0.4 * thick, 0.02, 0, num=14)
        return [Part(limb(leg, thick, 0.8 * thick), coat, at), Part(foot, hoof, at @ place(time, 0, leg))]

    tail = body @ place(time, -0.92 * long, -0.3 * high, 2.0 + 0.6 * wave(rng, time, (6, 14)))
    parts = [Part(limb(rng.uniform(0.14, 0.3), 0.06, rng.uniform(0.03, 0.09)), coat, tail)]
    parts += make_leg(-0.6 * long, -step) + make_leg(0.6 * long, step)
    hull = ellipse(long, high, power=rng.uniform(2, 3))
    parts += [Part(hull, coat, body), Part(between(hull, rng.uniform(0.15, 0.5) * high, 1), belly, body)]
    parts += make_leg(-0.75 * long, step) + make_leg(0.75 * long, -step)
    r = rng.uniform(0.13, 0.18)
    head = body @ place(time, 1.05 * long, -0.9 * high - 0.3 * r, 0.2 * wave(rng, time, (10, 24)))
    ear = rng.uniform(0.6, 1.5) * r
    for side in (-0.55, 0.45):
        flap = head @ place(time, side * r, -0.6 * r, side * 0.8 + 0.2 * wave(rng, time, (8, 20)))
        parts.append(Part(ellipse(0.3 * r, 0.6 * ear, 0, -0.45 * ear, num=20), (coat, belly)[side < 0], flap))
    parts.append(Part(ellipse(1.05 * r, 0.95 * r), coat, head))
    parts.append(Part(ellipse(0.55 * r, 0.42 * r, 0.6 * r, 0.35 * r, num=24), belly, head))
    parts.append(Part(ellipse(0.2 * r, 0.16 * r, 0.98 * r, 0.2 * r, num=14), nose, head))
    return parts + _eyes(rng, time, head, 0.2 * r, -0.2 * r, 0.3 * r, 0.22 * r)


def _fish(rng: Rng, time: Array) -> list[Part]:
    """Draw a striped fish whose tail and fin beat."""
    skin, stripe, fin = range(3)
    long, high = rng.uniform(0.26, 0.36), rng.uniform(0.15, 0.24)
    beat = wave(rng, time, (5, 12))
    body = place(time, 0, 0, 0.08 * beat)
    tail = body @ place(time, -0.85 * long, 0, 0, sx=1 + 0.3 * beat)
    hull = ellipse(long, high)
    parts = [
        Part(np.array([[0.0, 0], [-0.2, -0.17], [-0.15, 0], [-0.2, 0.17]]), fin, tail),
        Part(np.array([[-0.15, -0.8 * high], [-0.1, -1.6 * high], [0.12, -0.85 * high]]), fin, body),
        Part(hull, skin, body),
    ]
    for x in rng.uniform(-0.7, -0.4) * long + np.arange(int(rng.integers(1, 4))) * 0.42 * long:
        band = between(hull[:, ::-1], x, x + 0.2 * long)[:, ::-1]
        parts.append(Part(band, stripe, body))
    flap = body @ place(time, 0.1 * long, 0.25 * high, 0.9 + 0.5 * beat)
    parts.append(Part(limb(0.13, 0.05, 0.1), fin, flap))
    return parts + _eyes(rng, time, body, 0.62 * long, -0.25 * high, 0, 0.05, num=1)


def bird(rng: Rng, time: Array) -> list[Part]:
    """Draw a bird that flaps its wings."""
    coat, belly, wing, beak = range(4)
    flap = wave(rng, time, (5, 12))
    body = place(time, 0, 0.06 * flap, -0.1)
    far = body @ place(time, 0, -0.05, 2.9 + 0.8 * flap)
    near = body @ place(time, -0.02, -0.03, 2.6 + 1.0 * flap)
    feather = limb(rng.uniform(0.3, 0.42), rng.uniform(0.14, 0.2), 0.08)
    hull = ellipse(0.26, rng.uniform(0.14, 0.18))
    head = body @ place(time, 0.25, -0.12, 0.1 * flap)
    return [
        Part(feather, wing, far),
        Part(np.array([[-0.2, 0.0], [-0.45, -0.1], [-0.4, 0.02], [-0.45, 0.1], [-0.18, 0.08]]), wing, body),
        Part(hull, coat, body),
        Part(between(hull, 0.04, 1), belly, body),
        Part(np.array([[0.08, -0.04], [0.26, 0.02], [0.08, 0.06]]), beak, head),
        Part(ellipse(0.13, 0.12), coat, head),
        *_eyes(rng, time, head, 0.05, -0.02, 0, 0.04, num=1),
        Part(feather, wing, near),
    ]


def _car(rng: Rng, time: Array) -> list[Part]:
    """Draw a car with a stripe and wheels that roll."""
    paint, glass, tyre, hub, trim = range(5)
    body = place(time, 0, 0.012 * wave(rng, time, (4, 9)))
    roof, nose = rng.uniform(0.15, 0.25), rng.uniform(0.06, 0.18)
    hull = np.array([[-0.45, 0.0], [-0.42, -0.13], [0.42 - nose, -0.13], [0.45, -0.04], [0.46, 0.1], [-0.46, 0.1]])
    cabin = np.array([[-0.34, -0.13], [-0.24, -0.13 - roof], [0.1, -0.13 - roof], [0.28 - nose / 2, -0.13]])
    parts = [Part(cabin, paint, body)]
    center = cabin.mean(0)
    window = center + (cabin - center) * 0.72
    parts += [Part(window, glass, body), Part(hull, paint, body), Part(between(hull, -0.03, 0.03), trim, body)]
    parts.append(Part(ellipse(0.035, 0.035, 0.43, 0.0, num=14), glass, body))
    r, turn = rng.uniform(0.09, 0.13), rng.choice([-1, 1]) * rng.uniform(0.1, 0.45)
    for x in (-0.26, 0.26):
        at = place(time, x, 0.12, turn * time)
        parts += [Part(ellipse(r, r), tyre, at), Part(_star_box(0.6 * r), hub, at)]
    return parts


def _star_box(r: float) -> Array:
    """Return the outline (n 2) of a four-pointed hub, which shows that a wheel rolls."""
    a = np.arange(8) * (TAU / 8)
    rr = np.where(np.arange(8) % 2, 0.5 * r, r)
    return rr[:, None] * np.stack([np.cos(a), np.sin(a)], 1)


def plant(rng: Rng, time: Array) -> list[Part]:
    """Draw a flower or a tree that bends in the wind."""
    stem, leaf, petal, heart, pot = range(5)
    sway = wave(rng, time, (12, 30)) * rng.uniform(0.08, 0.3)
    base = place(time, 0, 0.3, sway)
    length, thick = rng.uniform(0.3, 0.5), rng.uniform(0.04, 0.12)
    trunk = limb(length, thick, 0.7 * thick) * [1, -1]
    top = base @ place(time, 0, -length, sway)
    parts = [Part(trunk, stem, base)]
    for side in (-1, 1):
        at = base @ place(time, 0, -0.4 * length, side * 1.1 + sway)
        parts.append(Part(ellipse(0.05, 0.1, 0, -0.11, num=20), leaf, at))
    if rng.random() < 0.6:
        num, r, spin = int(rng.integers(5, 9)), rng.uniform(0.1, 0.15), rng.uniform(-0.25, 0.25)
        for k in range(num):
            at = top @ place(time, 0, 0, k * TAU / num + spin * time)
            slot = leaf if k % 2 and num % 2 == 0 else petal
            parts.append(Part(ellipse(0.6 * r, 0.8 * r, 0, -1.1 * r, num=20), slot, at))
        parts.append(Part(ellipse(0.75 * r, 0.75 * r), heart, top))
    else:
        crown = blob(rng, rng.uniform(0.2, 0.28))
        parts.append(Part(crown, petal, top))
        for x, y in rng.uniform(-0.13, 0.13, (int(rng.integers(2, 5)), 2)):
            parts.append(Part(ellipse(0.035, 0.035, x, y, num=16), heart, top))
    parts.append(Part(np.array([[-0.13, 0.27], [0.13, 0.27], [0.09, 0.47], [-0.09, 0.47]]), pot, place(time)))
    return parts


def simple(rng: Rng, time: Array) -> list[Part]:
    """Draw a shape with another inside it: a patch, spots, a ring, a belt, or a face."""
    fill, second, third = range(3)
    r = rng.uniform(0.28, 0.45)
    still = place(time)
    kind = int(rng.integers(5))
    if kind == 0:
        hull = ellipse(r, r * rng.uniform(0.6, 1.0), power=rng.uniform(2, 5))
    elif kind == 1:
        hull = box(-r, -r * rng.uniform(0.5, 1), r, r * rng.uniform(0.5, 1))
    else:
        hull = (blob, polygon, star)[kind - 2](rng, r)
    parts = [Part(hull, fill, still)]
    inside = int(rng.integers(6))
    core = r * 0.5
    if inside == 0:
        parts.append(Part(hull * rng.uniform(0.45, 0.65), second, still))
    elif inside == 1:
        parts += [Part(ellipse(core, core), second, still), Part(ellipse(core / 2, core / 2), third, still)]
    elif inside == 2:
        angle = rng.uniform(0, TAU)
        for k in range(3):
            x, y = core * np.cos(angle + k * TAU / 3), core * np.sin(angle + k * TAU / 3)
            parts.append(Part(ellipse(0.4 * core, 0.4 * core, x, y, num=20), (second, third)[k == 2], still))
    elif inside == 3 and kind < 2:
        parts.append(Part(between(hull, -0.35 * core, 0.45 * core), second, still))
    elif inside <= 4:
        parts += _eyes(rng, time, still, 0, -0.25 * core, 0.55 * core, 0.32 * core)
        parts += _mouth(rng, time, still, 0.35 * core, 0.4 * core, second)
    return parts


FIGURES: Figures = [
    Role(0.34, simple, stands=False), Role(0.22, biped), Role(0.12, _beast), Role(0.08, _fish, stands=False),
    Role(0.08, bird, stands=False), Role(0.08, _car), Role(0.08, plant),
]  # fmt: skip
