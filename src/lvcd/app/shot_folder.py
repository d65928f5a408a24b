"""A shot on the page: a folder with what was uploaded, what was chosen, and what is painted.

shot-0001/shot.json         what was chosen, so that a restart forgets nothing
          drawings/         as uploaded: images, or one movie
          colors/           keys, sheets, corrections, strokes and a palette
          painted/          what `render_clip` made; `painted.partial/` while it is unfinished
          view/, take/      pictures for the page, and files for downloads: both can be made again
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lvcd.errors import InputError
from lvcd.io.disk import atomic, atomic_folder, parse_json, printable
from lvcd.io.frame_folder import FrameSelection
from lvcd.io.reader import FrameReader, open_frames
from lvcd.pipeline.render_settings import RenderSettings

_FORMAT = "lvcd shot 1"
_NAME = "shot-*"


@dataclass
class ShotRecord:
    """The record says what was chosen for a shot. All files are names in its folder."""

    sketches: str
    """drawings, or drawings/<name> of a movie or a single image."""
    keys: dict[int, str] = field(default_factory=dict)
    """Number of a drawing -> it in color."""
    sheets: list[str] = field(default_factory=list)
    palette: str | None = None
    corrections: dict[int, str] = field(default_factory=dict)
    """Number of a painted drawing -> it in color as it should be. Only those that are not painted yet."""
    strokes: dict[int, str] = field(default_factory=dict)
    """Number of a painted drawing -> strokes of color over it, on a transparent picture. The same."""
    settings: RenderSettings = field(default_factory=lambda: RenderSettings(flat=True))
    format: str = _FORMAT


@dataclass
class Shot:
    """One shot in its folder."""

    folder: Path
    record: ShotRecord

    @classmethod
    def open(cls, folder: Path) -> Shot:
        """Open a shot that is there. InputError: its record is damaged or names a file outside its folder."""
        file = folder / "shot.json"
        try:
            record = TypeAdapter(ShotRecord).validate_python(parse_json(file.read_bytes()))
            known = record.format == _FORMAT
        except (OSError, ValueError, ValidationError):
            known = False
        if not known:
            raise InputError(f"{printable(file)} is damaged or of another version: drop the drawings again")
        shot = cls(folder, record)
        changed = [*record.corrections.values(), *record.strokes.values(), *filter(None, [record.palette])]
        for name in [record.sketches, *record.keys.values(), *record.sheets, *changed]:
            if not (folder / name).resolve().is_relative_to(folder.resolve()):
                raise InputError(f"{printable(file)} names {printable(name)}, outside its folder: delete it")
        return shot

    def save(self) -> None:
        """Write the record. InputError: the disk."""
        with atomic(self.folder / "shot.json") as temp:
            temp.write_text(json.dumps(asdict(self.record), indent=1))

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def sketches(self) -> Path:
        return self.folder / self.record.sketches

    @property
    def keys(self) -> dict[int, Path]:
        return {number: self.folder / name for number, name in sorted(self.record.keys.items())}

    @property
    def sheets(self) -> list[Path]:
        return [self.folder / name for name in self.record.sheets]

    @property
    def corrections(self) -> dict[int, Path]:
        return {number: self.folder / name for number, name in sorted(self.record.corrections.items())}

    @property
    def strokes(self) -> dict[int, Path]:
        return {number: self.folder / name for number, name in sorted(self.record.strokes.items())}

    @property
    def palette(self) -> Path | None:
        return None if self.record.palette is None else self.folder / self.record.palette

    @property
    def painted(self) -> Path:
        """The folder of finished frames, once they are all there."""
        return self.folder / "painted"

    @property
    def partial(self) -> Path:
        """The folder of frames that are finished while others are not."""
        return self.folder / "painted.partial"

    def clip(self) -> FrameReader:
        """Open the drawings as a rendering does. InputError: they cannot be used."""
        settings = self.record.settings
        colors = () if settings.lines == "extract" else tuple(self.keys.values())
        selection = FrameSelection(settings.level, settings.psd_layer, (*colors, *self.sheets))
        return open_frames(self.sketches, selection)

    def forget_corrections(self) -> None:
        """Take back the corrections that are not painted yet. InputError: the disk."""
        self.record.corrections, self.record.strokes = {}, {}
        self.save()

    def forget_partial(self) -> None:
        """Remove the frames of a rendering that was stopped, to begin again."""
        shutil.rmtree(self.partial, ignore_errors=True)


def find_shots(folder: Path) -> list[Path]:
    """Return the folders of all shots in a folder, the oldest first."""
    return sorted(path.parent for path in folder.glob(f"{_NAME}/shot.json"))


def find_last_shot(folder: Path) -> Shot | None:
    """Return the shot that was worked on last; None without any. InputError: its record is damaged."""
    found = find_shots(folder)
    return Shot.open(max(found, key=lambda path: (path / "shot.json").stat().st_mtime_ns)) if found else None


def make_shot(folder: Path, files: dict[str, Path], **chosen: Any) -> Shot:
    """Make a shot of drawings: name -> the file that is copied. InputError: there are none, or the disk.

    chosen   further fields of the record
    """
    if not files:
        raise InputError("there are no drawings: drop image files, a folder or a movie")
    numbers = [int(path.name.split("-")[1]) for path in folder.glob(_NAME) if path.name.split("-")[1].isdecimal()]
    path = folder / f"shot-{max(numbers, default=0) + 1:04d}"
    with atomic_folder(path) as made:
        (made / "drawings").mkdir()
        for name, file in files.items():
            shutil.copyfile(file, made / "drawings" / name)
        sketches = "drawings" if len(files) > 1 else f"drawings/{next(iter(files))}"
        Shot(made, ShotRecord(sketches, **chosen)).save()
    return Shot.open(path)
