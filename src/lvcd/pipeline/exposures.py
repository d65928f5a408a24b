"""Which drawings of a clip are painted, in which order, and which frames show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvcd.io.disk import printable
from lvcd.io.reader import FrameReader
from lvcd.io.timesheet import read_timesheet


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

    @classmethod
    def on_sheet(
        cls, clip: FrameReader, contents: Sequence[bytes], sheet: Path, level: str | None, movie: bool
    ) -> Exposures:
        """Find what a time sheet shows: a movie's frames are those of the sheet, a folder's the drawings on it.

        level: of the sheet; None = the only one, or that of the drawings.
        InputError: the sheet is damaged, or shows what is no drawing of the clip.
        """
        shown = read_timesheet(sheet).drawings(clip.names, clip.numbers, level)
        if movie:
            return cls.find(contents, shown)
        drawings = list(dict.fromkeys(number for number in shown if number is not None))
        return cls.find(contents, drawings, [clip.names[number] for number in drawings])

    def place_of(self, number: int, contents: Sequence[bytes]) -> int | None:
        """Return the place in `drawings` of a drawing of the clip, or of one equal to it; None if none is shown."""
        equal = (place for place, drawing in enumerate(self.drawings) if contents[drawing] == contents[number])
        return next(equal, None)

    def left_out(self, clip: FrameReader, contents: Sequence[bytes]) -> str:
        """Return the names of the drawings of a clip that no frame shows, for a message."""
        painted = {contents[number] for number in self.drawings}
        names = [name for name, content in zip(clip.names, contents) if content not in painted]
        return ", ".join(map(printable, names[:4])) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

    def shows(self, place: int) -> list[int]:
        """Return the frames that show a drawing."""
        return [index for index, shown in enumerate(self.frames) if shown == place]
