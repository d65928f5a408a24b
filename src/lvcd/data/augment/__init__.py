"""What is changed in a clip at random before it is trained on: the same draw for all its frames.

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
    """How likely each change is, from 0 = never to 1 = always. Raises InputError for other numbers.

    Changes are made in the order of the fields. Each draws from a seed of its own, so that switching one on or off does
    not alter what the others do.
    """

    crop: float = 0.0
    """A part of the picture, 1 to 1.4 times enlarged; frames and sketches alike."""
    flip: float = 0.0
    """Left for right; frames and sketches alike."""
    recolor: float = 0.0
    """Frames in the colors of another palette; sketches stay, so that only the reference can tell the colors."""
    thicken: float = 0.0
    """Wider lines."""
    thin: float = 0.0
    """Narrower lines; of `thicken` and `thin`, a clip gets one."""
    wobble: float = 0.0
    """Lines that miss their place by up to a pixel or two, as those of a hand do."""
    breaks: float = 0.0
    """Gaps in the lines."""
    specks: float = 0.0
    """Dust, and pencil strokes that belong to nothing."""
    binarize: float = 0.0
    """Pure black and white; last, so that nothing grey comes after it."""

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 <= value <= 1:
                raise InputError(f"the probability of {field.name} is {value}: give a number from 0 to 1")

    @property
    def pixels_only(self) -> bool:
        """Whether it may do what encoded frames cannot follow: flip, crop or recolor."""
        return max(self.flip, self.crop, self.recolor) > 0

    def __call__(
        self,
        frames: Tensor | None,  # (t 3 H W) in [-1, 1]; None where latents stand for them
        sketches: Tensor,  # (t 1 H W) in [0, 1], 1.0 on a line
        rng: np.random.Generator,
    ) -> tuple[Tensor | None, Tensor]:
        """Frames and sketches, changed; what is given stays as it is.

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
