"""Characters by others (DiceBear), composed from its styles with colors, expressions and a nod of their own."""

from __future__ import annotations

import colorsys
import functools
import json
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from dicebear import Avatar, Style

from .art import Array, Art
from .parts import INK, WHITE, Part, Rng, drawn, place, wave

CAST = ("adventurer", "micah", "lorelei", "croodles", "big-ears", "personas", "big-smile", "miniavs")
"""DiceBear styles to train on; each carries its licence."""

HELD_OUT = ("open-peeps", "toon-head")
"""DiceBear styles that no training clip shows."""

HEADS = {"adventurer", "croodles", "big-ears", "big-smile"}  # have no shoulders: we give them a body that walks

_INK_NAMES = {"ink", "stroke", "outline", "eyes", "eyebrows", "mouth", "nose", "freckles", "throat"}
_WHITE_NAMES = {"sclera", "teeth"}


@functools.cache
def _style(name: str) -> tuple[Style, dict[str, Any]]:
    definition = json.loads(files("dicebear_styles").joinpath(f"{name}.json").read_text("utf-8"))
    return Style(definition), definition


def character(rng: Rng, time: Array, cast: Sequence[str], pose: Array, size: float, first_slot: int = 0) -> list[Part]:
    """Compose a character of a style of the cast, `size` high at `pose`, whose expression changes."""
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
    license = definition["meta"]["license"]
    art = Art(svgs, rgb, np.array(slots) == INK, shown, size, license["text"], license["name"])
    nod, breath = 0.06 * wave(rng, time, (8, 24)), 0.04 * wave(rng, time, (6, 16))
    pose = pose @ place(time, 0, 0, nod, size, size * (1 + breath))
    return drawn(art, slots, pose)
