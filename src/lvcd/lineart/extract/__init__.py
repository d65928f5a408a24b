"""Where the sketches of a film come from, behind one small interface: `SketchExtractor`.

letters: H W pixels. A drawing is a uint8 array (H W): black lines on white paper, as an image viewer shows it and as
`to_sketch(drawing, "dark")` reads it.
"""

from __future__ import annotations

from pathlib import Path

import torch

from lvcd.errors import InputError

from .custom import CustomExtractor, is_target
from .extractor import SketchExtractor
from .learned import RECIPES, NetworkExtractor
from .provided import Drawings, ProvidedLineArt
from .xdog_extractor import XDoG

__all__ = ["BUILT_IN", "Drawings", "ProvidedLineArt", "SketchExtractor", "make_extractor"]

BUILT_IN = ("xdog", *RECIPES)
"""Names of the extractors that come with lvcd."""


def make_extractor(
    name: str, device: str = "cpu", weights: Path | None = None, import_path: Path | None = None
) -> SketchExtractor:
    """Make an extractor that draws what it sees in the frames.

    name           one of BUILT_IN, or a class of one's own as package.module:Class
    device         cpu or cuda
    weights        file of a network's weights; None for xdog, which has no network
    import_path    folder that a class of one's own is also imported from
    InputError: no such extractor or device, weights missing or left over, or of another network.
    """
    if name not in BUILT_IN and not is_target(name):
        raise InputError(
            f"there is no extractor {name!r}: choose {', '.join(BUILT_IN)}, or a class of your own as module:Class"
        )
    if device not in ("cpu", "cuda"):
        raise InputError(f"lines cannot be drawn on {device!r}: choose the device cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("there is no GPU to draw lines on: choose the device cpu")
    if name not in BUILT_IN:
        return CustomExtractor(name, device, weights, import_path)
    if name == "xdog":
        if weights is not None:
            raise InputError("xdog has no network: leave its weights out, or choose another extractor")
        return XDoG(device)
    if weights is None:
        raise InputError(f"{name} is a network, and its weights are not part of lvcd: give their file (--weights)")
    return NetworkExtractor(name, device, weights)
