"""Which drawings of a clip are painted, in which order, and which frames show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Exposures:
    """The exposures of a clip: every different drawing is painted once, and shown as often as it occurs."""

    drawings: list[int]
    """Of each drawing that is painted, its number in the clip, from 0; in the order in which they are first shown."""
    frames: list[int | None]
    """Of each frame of the output, the drawing that it shows, as its place in `drawings`; None = nothing."""
    names: list[str] | None = None
    """What the files of frames in a folder are called; None = by their numbers."""

    @classmethod
    def find(cls, contents: Sequence[bytes], shown: Sequence[int | None], names: list[str] | None = None) -> Exposures:
        """Find equal drawings.

        contents  of each drawing of the clip, a hash of its pixels
        shown     of each frame of the output, the number of its drawing in the clip; None = nothing
        """
        places: dict[bytes, int] = {}
        drawings: list[int] = []
        frames: list[int | None] = []
        for number in shown:
            if number is None:
                frames.append(None)
                continue
            place = places.setdefault(contents[number], len(places))
            if place == len(drawings):
                drawings.append(number)
            frames.append(place)
        return cls(drawings, frames, names)

    def place_of(self, number: int, contents: Sequence[bytes]) -> int | None:
        """Return the place in `drawings` of a drawing of the clip, or of one equal to it; None if none is shown."""
        equal = (place for place, drawing in enumerate(self.drawings) if contents[drawing] == contents[number])
        return next(equal, None)

    def shows(self, place: int) -> list[int]:
        """Return the frames that show a drawing."""
        return [index for index, shown in enumerate(self.frames) if shown == place]
