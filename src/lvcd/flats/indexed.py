"""Flat frames as numbers of a palette, which another palette turns into another frame, exactly.

letters: H W pixels, n colors of a palette. Palettes are uint8 (n 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .exact_colors import color_codes, colors_of_codes
from .fills import Array


@dataclass(frozen=True)
class IndexedFrame:
    """A flat frame as numbers of a palette's colors, with the lines apart from the fills. All maps are uint8 (H W)."""

    fill: Array
    """The number of the fill's color, under lines too."""
    line: Array
    """The number of the line's color."""
    coverage: Array
    """Coverage: how much of a pixel the line covers, 255 = all."""

    def colored(self, palette: Array) -> Array:
        """Return the frame, uint8 (H W 3): fill and line mixed by coverage, rounded to the nearest number."""
        frame = palette[self.fill]
        on = self.coverage > 0
        cover = self.coverage[on].astype(np.uint32)[:, None]
        fill, line = frame[on].astype(np.uint32), palette[self.line[on]].astype(np.uint32)
        frame[on] = (fill * (255 - cover) + line * cover + 127) // 255
        return frame


def nearest_entries(colors: Array, palette: Array) -> Array:
    """Return, uint8 (...), the number of the palette's color that is nearest to each of colors (... 3) in [0, 1].

    Of equally near ones, the first; a color that occurs in the palette is its own.
    """
    unique, of = np.unique(color_codes(colors.reshape(-1, 3)), return_inverse=True)
    rgb = colors_of_codes(unique)
    parts = np.split(rgb, range(4096, len(rgb), 4096))
    nearest = np.concatenate([np.square(part[:, None] - palette.astype(np.int64)).sum(-1).argmin(1) for part in parts])
    return nearest.astype(np.uint8)[of].reshape(colors.shape[:-1])
