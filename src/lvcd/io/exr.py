"""OpenEXR files: linear light, of any exposure, as pictures that a screen shows.

letters: H W pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lvcd.errors import InputError

from .disk import printable


def exr_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of the window that is shown."""
    import OpenEXR

    with OpenEXR.File(str(path), header_only=True) as file:
        (left, top), (right, bottom) = _window(file.header())
    return int(bottom - top + 1), int(right - left + 1)


def read_exr(path: Path) -> np.ndarray:
    """Read the window that is shown => uint8 (H W 3) or (H W 4), not premultiplied.

    Of the parts and layers, the first that has colors or luminance is taken; 1.0 is white, by the curve of sRGB.
    """
    import OpenEXR

    with OpenEXR.File(str(path), separate_channels=True) as file:
        header = dict(file.header())  # the file's own is emptied when it is closed
        channels = {name: np.array(channel.pixels) for name, channel in file.channels().items()}
    color, alpha = _color(channels, path)
    if alpha is not None:
        color = color / np.maximum(alpha, 1e-6)[..., None]  # files of this kind are premultiplied
    color = np.clip(np.nan_to_num(color), 0, 1)
    shown = np.where(color <= 0.0031308, 12.92 * color, 1.055 * color ** (1 / 2.4) - 0.055)
    if alpha is not None:
        shown = np.dstack([shown, np.clip(np.nan_to_num(alpha), 0, 1)])
    return _in_window(np.rint(shown * 255).astype(np.uint8), header)


def _window(header: dict) -> tuple:
    """Return the corners of the window that is shown, that of the data where the file states no other."""
    return header.get("displayWindow", header["dataWindow"])


def _color(channels: dict[str, np.ndarray], path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Return color (H W 3) and alpha (H W) of the first layer that has any."""
    layers = {name.rpartition(".")[0]: None for name in channels}
    for layer in sorted(layers):
        at = {name.rpartition(".")[2].upper(): value for name, value in channels.items()
              if name.rpartition(".")[0] == layer}  # fmt: skip
        grey = at.get("Y")
        parts = [at[c] for c in "RGB"] if set("RGB") <= set(at) else [grey] * 3 if grey is not None else None
        if parts is not None:
            alpha = at.get("A")
            return np.stack(parts, -1).astype(np.float32), None if alpha is None else alpha.astype(np.float32)
    raise InputError(f"{printable(path)} has neither R, G and B nor Y, but {', '.join(map(printable, channels))}: "
                     "write it with one of these")  # fmt: skip


def _in_window(pixels: np.ndarray, header: dict) -> np.ndarray:
    """Cut or extend the data to the window that is shown; outside of the data all is 0."""
    (left, top), (right, bottom) = _window(header)
    (x, y), _ = header["dataWindow"]
    height, width = int(bottom - top + 1), int(right - left + 1)
    if (x, y) == (left, top) and pixels.shape[:2] == (height, width):
        return pixels
    shown = np.zeros((height, width, pixels.shape[2]), np.uint8)
    row, column = int(y - top), int(x - left)
    rows = slice(max(0, row), min(height, row + pixels.shape[0]))
    columns = slice(max(0, column), min(width, column + pixels.shape[1]))
    shown[rows, columns] = pixels[rows.start - row : rows.stop - row, columns.start - column : columns.stop - column]
    return shown
