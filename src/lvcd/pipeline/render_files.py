"""The files of a rendering: which they are, whether they change meanwhile, and what is recorded of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvcd.errors import InputError
from lvcd.io.frame_folder import frame_files
from lvcd.io.reader import InputGuard


@dataclass
class RenderFiles:
    """The files that a rendering reads, and guards of them. Make it before anything is read."""

    sketches: Path
    """A folder of images, or a movie."""
    reference: Path | None = None
    reference_sketch: Path | None = None
    palette: Path | None = None
    timesheet: Path | None = None
    keys: Mapping[int, Path] = field(default_factory=dict)
    """Number of a drawing, as its file has it -> the drawing in color."""
    sheets: Sequence[Path] = ()
    corrections: Mapping[int, Path] = field(default_factory=dict)
    """Number of a drawing -> it in color, in place of what a finished output has."""
    scribbles: Mapping[int, Path] = field(default_factory=dict)
    """Number of a drawing -> strokes of color over it, on a transparent picture."""

    def __post_init__(self) -> None:
        changed = [*self.corrections.values(), *self.scribbles.values()]
        self._guards = {path: InputGuard(path) for path in [*self.paths, *changed]}

    @property
    def paths(self) -> list[Path]:
        """All that are given, the sketches first."""
        single = (self.reference, self.reference_sketch, self.palette, self.timesheet)
        return [self.sketches, *(path for path in single if path is not None), *self.keys.values(), *self.sheets]

    @property
    def record(self) -> dict[str, Any]:
        """What is recorded of them, as JSON values: their digests. InputError: one is unreadable, or was changed."""
        record: dict[str, Any] = {"sketches": self._guards[self.sketches].digest}
        for name in ("reference", "reference_sketch"):
            path = getattr(self, name)
            record[name] = None if path is None else self._guards[path].digest
        for name in ("palette", "timesheet"):
            if (path := getattr(self, name)) is not None:
                record[name] = self._guards[path].digest
        if self.keys:
            record["keys"] = {str(number): self._guards[path].digest for number, path in sorted(self.keys.items())}
        if self.sheets:
            record["sheets"] = [self._guards[path].digest for path in self.sheets]
        return record

    @property
    def changes(self) -> dict[str, dict[str, str]]:
        """What is recorded of corrections and scribbles: number of the drawing -> digest. InputError as `record`."""
        kinds = {"corrections": self.corrections, "scribbles": self.scribbles}
        return {
            kind: {str(number): self._guards[path].digest for number, path in sorted(given.items())}
            for kind, given in kinds.items()
        }

    def no_drawings(self, lines: str) -> tuple[Path, ...]:
        """Return the pictures that are no drawings where they lie among them; among colored frames, keys are."""
        frames = [] if lines == "extract" else [*([self.reference] if self.reference else []), *self.keys.values()]
        return (*frames, *self.sheets)

    def check_unchanged(self) -> None:
        """InputError: a file is not any more what it was when it was read."""
        for guard in self._guards.values():
            guard.check()

    def is_newer_than(self, result: Path) -> bool:
        """Return whether a file was changed after a result was made."""
        return max(map(_changed_at, self.paths)) > _changed_at(result)


def check_places(output: Path, inputs: Sequence[Path]) -> None:
    """Check that the output replaces none of its inputs. InputError: it would."""
    for path in inputs:
        same = output.exists() and path.exists() and output.samefile(path)  # a hard link, or a name in other case
        drawing = output.is_file() and path.is_dir() and output.resolve() in [f.resolve() for f in frame_files(path)]
        if same or drawing or path.resolve().is_relative_to(output.resolve()):
            raise InputError(f"{output} is the output, and {path} is to be read from it: choose another output")


def _changed_at(path: Path) -> float:
    """Return the time of the last change of a file, or of the newest image of a folder."""
    return max(file.stat().st_mtime for file in (frame_files(path) if path.is_dir() else [path]))
