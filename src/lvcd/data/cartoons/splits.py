"""The splits of cartoons into train, val and test: seeds that never meet, and styles that training never shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lvcd.errors import InputError

TRAINING_SEED = 10_000_000
"""Of the first training clip of corpus 0; corpus n begins at (1 + n) times this."""
VALIDATION_SEED, TEST_SEED, STYLE_TEST_SEED = 1_000_000, 2_000_000, 3_000_000
"""Of the first clip of a split; the same for every corpus, so that scores compare."""

SEEN = ("shapes", "characters", "props")
"""Styles of train, val and test_seen."""
HELD_OUT = {"characters": "heldout_characters", "props": "heldout_props"}
"""Style of a corpus -> the style that test_style shows in its place; shapes have none."""

SPLITS = ("train", "val", "test_seen", "test_style")


@dataclass(frozen=True)
class ClipRecipe:
    """The settings of one drawn clip, but for its size."""

    style: str
    seed: int
    frames: int
    away: tuple[int, int] | None = None
    """From when to before when the figure in front is out of sight; None = nothing is arranged."""


def recipes(
    split: str,
    count: int,
    styles: Sequence[str],
    shortest: int,
    longest: int,
    seed: int = 0,
    away: tuple[int, int] | None = None,
) -> list[ClipRecipe]:
    """Plan the clips of a split: styles by turns, each of shortest .. longest frames; `seed` is for training alone, and
    `away` as in `ClipRecipe`.

    InputError: so many that their seeds would be those of another split or corpus.
    """
    if split == "test_style":
        styles = [HELD_OUT[style] for style in styles if style in HELD_OUT] or [HELD_OUT["characters"]]
    starts = TRAINING_SEED * (1 + seed), VALIDATION_SEED, TEST_SEED, STYLE_TEST_SEED
    first, room = starts[SPLITS.index(split)], TRAINING_SEED if split == "train" else TEST_SEED - VALIDATION_SEED
    if not 0 <= count <= room:
        raise InputError(f"{count} clips of {split}: choose 0 to {room}, or another seed for more training clips")
    lengths = (int(np.random.default_rng([first + n, 3]).integers(shortest, longest + 1)) for n in range(count))
    return [ClipRecipe(styles[n % len(styles)], first + n, frames, away) for n, frames in enumerate(lengths)]
