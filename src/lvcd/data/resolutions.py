"""The stages of resolution that a model is trained at, one after the other."""

from __future__ import annotations

import re
from typing import NamedTuple

from lvcd.errors import InputError

STAGES = {"320p": (320, 576), "576p": (576, 1024)}
"""Name -> (height, width), px. The paper trains at 320p and releases both."""


class Stage(NamedTuple):
    """A stage of resolution."""

    name: str
    """Also the name of its folder under the shards."""
    height: int
    """px."""
    width: int


def stage_size(text: str) -> Stage:
    """Read a stage from a name of STAGES, or from WIDTHxHEIGHT. InputError: it is neither."""
    if text in STAGES:
        return Stage(text, *STAGES[text])
    size = re.fullmatch(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})", text)
    if not size:
        raise InputError(f"stage {text!r} is none of {', '.join(STAGES)}: give one of these, or WIDTHxHEIGHT")
    width, height = int(size[1]), int(size[2])
    known = next((name for name, it in STAGES.items() if it == (height, width)), text)
    return Stage(known, height, width)
