"""Photoshop files: the picture as a whole, or one layer by its name.

letters: H W pixels.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from PIL import Image

from lvcd.errors import InputError

from .disk import printable

MAX_LISTED = 8
"""Names of layers that a message lists."""


def read_psd(path: Path, layer: str | None = None) -> Image.Image:
    """Read a .psd or .psb => a picture of the size of its canvas, with transparency if there is any.

    layer    the name of a layer or group, whatever its case and however deep; also a hidden one. None = all visible
    InputError: no such layer, or several.
    """
    from psd_tools import PSDImage

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = PSDImage.open(path)
        if layer is None:
            picture = document.topil() if document.has_preview() or not len(document) else document.composite()
        else:
            found = _find_layer(document, layer, path)
            picture = found.composite(viewport=document.viewbox, layer_filter=_always)  # with its mask
    if picture is None:
        raise InputError(f"{printable(path)} has no picture of all its layers: save it again with maximized "
                         "compatibility, or choose a layer by its name")  # fmt: skip
    return picture


def _find_layer(document, name: str, path: Path):
    layers = list(document.descendants())
    same = [layer for layer in layers if layer.name == name] or [
        layer for layer in layers if layer.name.casefold() == name.casefold()
    ]
    if len(same) == 1:
        return same[0]
    if same:
        raise InputError(f"{printable(path)} has {len(same)} layers named {name}: give the one that is meant a name "
                         "of its own")  # fmt: skip
    names = ", ".join(printable(layer.name) for layer in layers[:MAX_LISTED])
    more = f" and {len(layers) - MAX_LISTED} more" if len(layers) > MAX_LISTED else ""
    raise InputError(f"{printable(path)} has no layer {name}: " + (f"give one of {names}{more}" if names else
                     "it has no layers at all, leave the name out"))  # fmt: skip


def _always(layer: object) -> bool:
    return True
