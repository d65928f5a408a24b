"""The figures of a style: characters by others, as busts and with bodies that walk, and what they hold and throw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .art import Array
from .characters import HEADS, character
from .figures import Figure, Figures, Role, biped, bird, plant, simple
from .parts import TAU, Part, Rng, place
from .props import Kit, prop


def people(cast: Sequence[str]) -> Figures:
    """Return the figures of a cast, as busts and walking, among things drawn by procedure."""
    things = [Role(0.15, simple, stands=False), Role(0.1, plant), Role(0.05, bird, stands=False)]
    return [Role(0.4, _bust(cast)), *_walkers(cast, 0.3), *things]


def people_with_props(cast: Sequence[str], kit: Kit) -> Figures:
    """Return busts that juggle, figures that walk with a prop in their hand, and props that fly and stand."""

    def carry(rng: Rng, time: Array, hand: Array, slot: int) -> list[Part]:
        size = rng.uniform(0.3, 0.44)
        grip = hand @ place(time, 0, 0.3 * size, np.pi * (rng.random() < 0.5) + rng.uniform(-0.5, 0.5))
        return prop(rng, time, kit.small, grip, size, slot)

    def carrier(rng: Rng, time: Array) -> list[Part]:
        return biped(rng, time, _heads(cast), carry)

    def juggler(rng: Rng, time: Array) -> list[Part]:
        """A bust, something that flies behind it and something in front."""
        parts: list[Part] = []
        period, sense, size = rng.uniform(12, 28), rng.choice([-1, 1]), rng.uniform(0.36, 0.52)
        for turn in range(3):
            slot = 1 + max((part.slot for part in parts), default=-1)
            if turn == 1:
                parts += character(rng, time, cast, place(time), 0.9, slot)
                continue
            phase = sense * TAU * (time / period + turn / 4)
            at = place(time, 0.5 * np.cos(phase), -0.1 - 0.45 * np.sin(phase), rng.uniform(0.5, 1.5) * phase)
            parts += prop(rng, time, kit.small, at, size, slot)
        return parts

    def flying(rng: Rng, time: Array) -> list[Part]:
        return prop(rng, time, kit.small, place(time), 0.7)

    def standing(rng: Rng, time: Array) -> list[Part]:
        rock = 0.05 * np.sin(TAU * (time / rng.uniform(6, 14) + rng.random()))
        return prop(rng, time, kit.large, place(time, 0, 0, rock), 0.9)

    walkers = [Role(0.3, carrier)] if _heads(cast) else []
    return [Role(0.15, _bust(cast)), Role(0.2, juggler), *walkers, Role(0.2, flying, stands=False), Role(0.2, standing)]


def _heads(cast: Sequence[str]) -> list[str]:
    return [name for name in cast if name in HEADS]


def _bust(cast: Sequence[str]) -> Figure:
    return lambda rng, time: character(rng, time, cast, place(time), 1.0)


def _walkers(cast: Sequence[str], chance: float) -> Figures:
    heads = _heads(cast)
    return [Role(chance, lambda rng, time: biped(rng, time, heads))] if heads else []
