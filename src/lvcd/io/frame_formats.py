"""Frames as the files that studios work with: PNG, TGA, TIFF and Photoshop, flat or in layers.

letters: H W pixels. All arrays are uint8 in [0, 255], and colors are not premultiplied.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from .images import encode_png

FRAME_FORMATS = {"png": ".png", "tga": ".tga", "tiff": ".tiff", "psd": ".psd"}
"""Formats of frames that can be written, and the endings of their files."""
LAYERS = ("line", "color", "trace", "ground")
"""The layers of a frame, in the order of pages and folders."""
STACK = ("ground", "color", "line", "trace")
"""The same from the bottom to the top."""
FORMAT_OF = {suffix: name for name, suffix in FRAME_FORMATS.items()} | {".tif": "tiff"}
"""Ending of a file -> its format."""
_PAGE_NAME, _IS_PAGE = 285, 2  # of TIFF


@dataclass(frozen=True)
class LayeredFrame:
    """A layered frame has one picture of the whole, and the layers that it is made of."""

    merged: np.ndarray
    """The whole picture (H W 3), or (H W 4) where paper is clear."""
    layers: dict[str, np.ndarray]
    """Each layer's picture (H W 4), by its name in LAYERS."""
    hidden: frozenset[str] = field(default_factory=frozenset)
    """Names of the layers that `merged` does not show."""


def frame_paths(name: str, kind: str, layered: bool) -> list[str]:
    """Return the files of one frame, relative to the folder of all: layers of a PNG or TGA are files in folders."""
    file = name + FRAME_FORMATS[kind]
    return [f"{layer}/{file}" for layer in LAYERS] if layered and kind in ("png", "tga") else [file]


def encode_frame(frame: np.ndarray | LayeredFrame, kind: str) -> list[bytes]:
    """Return the content of each of the frame's files, in the order of `frame_paths`."""
    if not isinstance(frame, LayeredFrame):
        return [_encode(frame, kind)]
    if kind == "psd":
        return [_layered_psd(frame)]
    if kind == "tiff":
        return [_tiff([frame.layers[name] for name in LAYERS], LAYERS)]
    return [_encode(frame.layers[name], kind) for name in LAYERS]


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    """Encode (H W 3) or (H W 4)."""
    if kind == "png":
        return encode_png(pixels)
    if kind == "tiff":
        return _tiff([pixels])
    image, data = Image.fromarray(np.ascontiguousarray(pixels)), io.BytesIO()
    if kind == "tga":
        image.save(data, format="TGA", compression="tga_rle")
        return data.getvalue()
    return _psd(pixels, {"cel": pixels} if pixels.shape[2] == 4 else {}, frozenset())  # only a layer can be clear


def _tiff(pages: list[np.ndarray], names: tuple[str, ...] = ()) -> bytes:
    import tifffile

    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        for number, page in enumerate(pages):
            name = [(_PAGE_NAME, 2, 0, names[number], True)] if names else []
            file.write(
                np.ascontiguousarray(page), photometric="rgb", compression="zlib", metadata=None, software=False,
                extrasamples=["unassalpha"] if page.shape[2] == 4 else None, extratags=name,
                subfiletype=_IS_PAGE if names else 0,
            )  # fmt: skip
    return data.getvalue()


def _layered_psd(frame: LayeredFrame) -> bytes:
    merged = frame.merged
    if merged.shape[2] == 3:  # else the transparency of layers becomes masks
        merged = np.dstack([merged, np.full(merged.shape[:2], 255, np.uint8)])
    return _psd(merged, {name: frame.layers[name] for name in STACK}, frame.hidden)


def _psd(merged: np.ndarray, layers: dict[str, np.ndarray], hidden: frozenset[str]) -> bytes:
    """Encode a picture and its layers, the lowest first."""
    from psd_tools import PSDImage

    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        document = PSDImage.frompil(Image.fromarray(np.ascontiguousarray(merged)))
        for name, pixels in layers.items():
            layer = document.create_pixel_layer(Image.fromarray(np.ascontiguousarray(pixels)), name=name)
            layer.visible = name not in hidden
        if merged.shape[2] == 4:  # a negative count says that the fourth channel of the whole is its transparency
            info = document._record.layer_and_mask_information.layer_info
            assert info is not None
            info.layer_count = -len(layers)
        document.save(data)
    return data.getvalue()
