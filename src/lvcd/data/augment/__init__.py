"""Augmentation: random changes of a clip before it is trained on, the same for all its frames.

letters: t frames, the reference at 0; H W pixels
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from torch import Tensor

from lvcd.errors import InputError

from . import geometry
from . import line_style as lines
from .palette import recolor

__all__ = ["Augment", "recolor"]


@dataclass(frozen=True)
class Augment:
    """Changes a clip at random. Each field is the probability of a change, from 0 to 1; InputError: another number.

    Changes are made in the order of the fields. Each has a seed of its own, so that switching one on or off does not
    alter what the others do.
    """

    crop: float = 0.0
    """Cut a part of the picture and enlarge it 1 to 1.4 times; frames and sketches alike."""
    flip: float = 0.0
    """Mirror left and right; frames and sketches alike."""
    recolor: float = 0.0
    """Paint frames in another palette; sketches stay, so that the colors are known from the reference alone."""
    thicken: float = 0.0
    """Make lines wider."""
    thin: float = 0.0
    """Make lines narrower; of `thicken` and `thin`, a clip gets one."""
    wobble: float = 0.0
    """Move lines by up to a pixel or two, as a hand does."""
    breaks: float = 0.0
    """Make gaps in the lines."""
    specks: float = 0.0
    """Add dust, and pencil strokes that belong to nothing."""
    binarize: float = 0.0
    """Make lines pure black and white; last, so that nothing grey comes after it."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise InputError(f"the probability of {field.name} is {value}: give a number from 0 to 1")

    @property
    def pixels_only(self) -> bool:
        """Whether it may change pixels as latents cannot be changed: by a flip, a crop or another palette."""
        return max(self.flip, self.crop, self.recolor) > 0

    def __call__(
        self,
        frames: Tensor | None,  # (t 3 H W) in [-1, 1]; None where latents stand for them
        sketches: Tensor,  # (t 1 H W) in [0, 1], 1.0 on a line
        rng: np.random.Generator,
    ) -> tuple[Tensor | None, Tensor]:
        """Return the changed frames and sketches; the arguments stay as they are.

        InputError: there are no frames, but a probability of flip, crop or recolor.
        """
        if frames is None and self.pixels_only:
            raise InputError("latents cannot be flipped, cropped or recolored: set these to 0, or train from pixels")
        names = [field.name for field in fields(self)]
        chances = dict(zip(names, rng.random(len(names))))
        draws = dict(zip(names, map(np.random.default_rng, rng.integers(2**63, size=len(names)))))
        on = {name for name in names if chances[name] < getattr(self, name)}
        if "crop" in on:
            zoom, at = draws["crop"].uniform(1, 1.4), tuple(draws["crop"].random(2))
            sketches = geometry.crop(sketches, zoom, at)
            frames = frames if frames is None else geometry.crop(frames, zoom, at)
        if "flip" in on:
            sketches = geometry.flip(sketches)
            frames = frames if frames is None else geometry.flip(frames)
        if "recolor" in on and frames is not None:
            frames = recolor(frames, draws["recolor"])
        if {"thicken", "thin"} <= on:
            on.remove("thin" if draws["thin"].random() < 0.5 else "thicken")
        for change in (lines.thicken, lines.thin, lines.wobble, lines.breaks, lines.specks, lines.binarize):
            if change.__name__ in on:
                sketches = change(sketches, draws[change.__name__])
        return frames, sketches
