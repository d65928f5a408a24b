"""Where the sketches of a film come from, behind one small interface: `Extractor`.

letters: H W pixels. A drawing is a uint8 array (H W): black lines on white paper, as an image viewer shows it and as
`to_sketch(drawing, "dark")` reads it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import torch

from lvcd.errors import InputError

from .extractor import Extractor
from .learned import Learned
from .offline import XDoG
from .provided import Drawings, Given

__all__ = ["Drawings", "Extractor", "Name", "given", "make_extractor"]

Name = Literal["xdog", "informative-drawings", "anime2sketch"]


def make_extractor(name: Name, device: str = "cpu", weights: Path | None = None) -> Extractor:
    """An extractor that looks at the film itself.

    weights    file of the network's weights; None for xdog, which has no network
    InputError: no such extractor or device, weights missing or left over, or of another network.
    """
    if name not in get_args(Name):
        raise InputError(f"there is no extractor {name!r}: choose {', '.join(get_args(Name))}")
    if device not in ("cpu", "cuda"):
        raise InputError(f"lines cannot be drawn on {device!r}: choose the device cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU to draw lines on: choose the device cpu")
    if name == "xdog":
        if weights is not None:
            raise InputError("xdog has no network: leave its weights out, or choose another extractor")
        return XDoG(device)
    if weights is None:
        raise InputError(f"{name} is a network, and its weights are not part of lvcd: give their file (--weights)")
    return Learned(name, device, weights)


def given(drawings: Drawings, frames: int, size: tuple[int, int], name: str) -> Extractor:
    """The film's own line art, of any polarity.

    drawings    one for each of the film's `frames` frames
    size        (height, width) of the film; drawings of another size are scaled to that of the frame
    name        what a message calls the drawings
    InputError: another number of drawings than of frames, or another shape.
    """
    return Given(drawings, frames, size, name)
