"""Files of palettes as drawing programs write them: .gpl of GIMP, .aco and .act of Photoshop, .ase of Adobe, and JSON.

Numbers in Adobe's files are big-endian. Sources: "Adobe Photoshop File Formats Specification" for .aco and .act; .ase
has no published specification, and is read as Adobe's programs are known to write it; .gpl as GIMP documents it.
"""

from __future__ import annotations

import colorsys
import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError
from lvcd.io.disk import atomic, parse_json, printable, reading, require_file

Array = np.ndarray[Any, Any]

MAX_COLORS = 256
"""Entries of a palette, as an indexed PNG and an .act file have them."""
_JSON_FORMAT = "lvcd palette 1"
_GROUP, _GROUP_END, _COLOR = 0xC001, 0xC002, 0x0001
"""Types of blocks in .ase."""
_ACO_SPACES = {2: "CMYK", 7: "Lab", 8: "grayscale", 9: "wide CMYK"}
"""Color spaces in .aco beside RGB (0) and HSB (1); what they look like depends on a profile."""
_ADVICE = "save the palette again in RGB"


@dataclass(frozen=True)
class Palette:
    """A palette has 1 to 256 colors, each with a name. ValueError: another number of colors, or of names."""

    colors: Array
    """RGB values, uint8 (n 3)."""
    names: tuple[str, ...]
    """One for each color; "" = it has none."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.colors) <= MAX_COLORS:
            raise ValueError(f"{len(self.colors)} colors; a palette has 1 to {MAX_COLORS}")
        if len(self.names) != len(self.colors):
            raise ValueError(f"{len(self.names)} names for {len(self.colors)} colors")

    @classmethod
    def of(cls, colors: list[tuple[str, Any]]) -> Palette:
        """Make a palette of pairs of a name and a color (3)."""
        names = tuple(" ".join(name.split()) for name, _ in colors)
        return cls(np.array([color for _, color in colors], np.uint8).reshape(-1, 3), names)

    @property
    def record(self) -> dict[str, Any]:
        """The palette as JSON values."""
        entries = [{"name": name, "rgb": color} for name, color in zip(self.names, self.colors.tolist())]
        return {"format": _JSON_FORMAT, "colors": entries}


def read_palette(path: Path) -> Palette:
    """Read a palette; the ending says what kind of file it is.

    InputError: missing, damaged or of another kind; more than 256 colors, or none; colors that are not RGB.
    """
    decode = _kind(path)[0]
    require_file(path)
    with reading("palette", path, _ADVICE):
        return decode(path.read_bytes())


def write_palette(path: Path, palette: Palette) -> None:
    """Write a palette in the format of the ending, whole or not at all; .act keeps no names.

    InputError: an unknown ending, or the disk.
    """
    encode = _kind(path)[1]
    data = encode(palette)
    with atomic(path) as temp:
        temp.write_bytes(data)


def check_suffix(path: Path) -> None:
    """Check that a file's name ends as a palette's. InputError: it does not."""
    _kind(path)


def _kind(path: Path) -> tuple[Callable[[bytes], Palette], Callable[[Palette], bytes]]:
    kind = _KINDS.get(path.suffix.lower())
    if kind is None:
        raise InputError(f"{printable(path)} is no palette: end its name in {', '.join(_KINDS)}")
    return kind


def _decode_gpl(data: bytes) -> Palette:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    first, *lines = text.splitlines() or [""]
    if first.strip() != "GIMP Palette":
        raise ValueError("its first line is not 'GIMP Palette'")
    colors = []
    for number, line in enumerate(lines, 2):
        if not line.strip() or line.lstrip().startswith("#") or re.match(r"(Name|Columns|Channels):", line):
            continue
        has_alpha = "Channels: RGBA" in text  # of Aseprite
        found = re.match(r"\s*(\d+)\s+(\d+)\s+(\d+)" + (r"\s+\d+" if has_alpha else "") + r"(?:\s+(.*))?$", line)
        if not found or max(map(int, found.groups()[:3])) > 255:
            raise ValueError(f"line {number} is no color")
        name = (found[4] or "").strip()
        colors.append(("" if name == "Untitled" else name, [int(found[i]) for i in (1, 2, 3)]))
    return Palette.of(colors)


def _encode_gpl(palette: Palette) -> bytes:
    rows = [
        f"{red:3d} {green:3d} {blue:3d}\t{name or 'Untitled'}"
        for name, (red, green, blue) in zip(palette.names, palette.colors.tolist())
    ]
    return "\n".join(["GIMP Palette", "Name: lvcd", "Columns: 8", "#", *rows, ""]).encode()


def _decode_act(data: bytes) -> Palette:
    count = len(data) // 3
    if len(data) == 772:
        count = struct.unpack(">H", data[768:770])[0] or MAX_COLORS
    elif len(data) % 3 or len(data) > 768:
        raise ValueError(f"{len(data)} bytes; a color table has 768 or 772")
    if count > MAX_COLORS:
        raise ValueError(f"{count} colors; a color table has up to {MAX_COLORS}")
    return Palette.of([("", list(data[3 * i : 3 * i + 3])) for i in range(count)])


def _encode_act(palette: Palette) -> bytes:
    return palette.colors.tobytes().ljust(768, b"\0") + struct.pack(">HH", len(palette.colors), 0xFFFF)


def _decode_aco(data: bytes) -> Palette:
    """Version 1 has colors; version 2, which may follow, has the same colors and their names."""
    place, found = 0, None
    while place + 4 <= len(data):
        version, count = struct.unpack_from(">HH", data, place)
        if version > 2 or (found is not None and version != 2):
            if found is None:
                raise ValueError(f"version {version} is not known")
            break
        place += 4
        colors = []
        for index in range(count):
            space, *values = struct.unpack_from(">5H", data, place)
            place += 10
            name = ""
            if version == 2:
                (length,) = struct.unpack_from(">I", data, place)
                name, place = _utf16(data, place + 4, length)
            colors.append((name, _aco_color(space, values, index)))
        found = colors
    if found is None:
        raise ValueError("it is cut off")
    return Palette.of(found)


def _aco_color(space: int, values: list[int], index: int) -> list[int]:
    if space == 0:
        return [(v + 128) // 257 for v in values[:3]]
    if space == 1:
        rgb = colorsys.hsv_to_rgb(*(v / 65535 for v in values[:3]))
        return [round(255 * v) for v in rgb]
    raise ValueError(f"color {index + 1} is {_ACO_SPACES.get(space, f'of color space {space}')}, not RGB")


def _encode_aco(palette: Palette) -> bytes:
    parts = []
    for version in (1, 2):
        parts.append(struct.pack(">HH", version, len(palette.colors)))
        for name, color in zip(palette.names, palette.colors.tolist()):
            parts.append(struct.pack(">5H", 0, *(257 * v for v in color), 0))
            if version == 2:
                text = name.encode("utf-16-be") + b"\0\0"
                parts.append(struct.pack(">I", len(text) // 2) + text)
    return b"".join(parts)


def _decode_ase(data: bytes) -> Palette:
    if data[:4] != b"ASEF":
        raise ValueError("it does not begin with ASEF")
    blocks = struct.unpack_from(">I", data, 8)[0]
    place, colors = 12, list[tuple[str, Any]]()
    for _ in range(blocks):
        kind, length = struct.unpack_from(">HI", data, place)
        place += 6
        if place + length > len(data):
            raise ValueError("it is cut off")
        if kind == _COLOR:
            name, at = _utf16(data, place + 2, struct.unpack_from(">H", data, place)[0])
            model = data[at : at + 4]
            if model not in (b"RGB ", b"Gray"):
                raise ValueError(f"color {len(colors) + 1} is {model.decode('latin-1').strip()}, not RGB")
            values = struct.unpack_from(">3f" if model == b"RGB " else ">f", data, at + 4)
            rgb = [round(255 * min(1, max(0, v))) for v in values]
            colors.append((name, rgb if len(rgb) == 3 else rgb * 3))
        place += length
    return Palette.of(colors)


def _encode_ase(palette: Palette) -> bytes:
    parts = [b"ASEF", struct.pack(">HHI", 1, 0, len(palette.colors))]
    for name, color in zip(palette.names, palette.colors.tolist()):
        text = name.encode("utf-16-be") + b"\0\0"
        values = struct.pack(">3f", *(v / 255 for v in color))
        block = struct.pack(">H", len(text) // 2) + text + b"RGB " + values + struct.pack(">H", 2)
        parts.append(struct.pack(">HI", _COLOR, len(block)) + block)
    return b"".join(parts)


def _utf16(data: bytes, place: int, length: int) -> tuple[str, int]:
    """Return a text of so many units of UTF-16, the last of which is 0, and the place behind it."""
    end = place + 2 * length
    if end > len(data):
        raise ValueError("it is cut off")
    return data[place:end].decode("utf-16-be").rstrip("\0"), end


def _decode_json(data: bytes) -> Palette:
    record = parse_json(data)
    if not isinstance(record, dict) or record.get("format") != _JSON_FORMAT:
        raise ValueError("it is no palette of lvcd")
    colors = [(str(entry["name"]), [int(v) for v in entry["rgb"]]) for entry in record["colors"]]
    if any(len(color) != 3 or min(color) < 0 or max(color) > 255 for _, color in colors):
        raise ValueError("a color is not three numbers from 0 to 255")
    return Palette.of(colors)


def encode_json(palette: Palette) -> bytes:
    """Encode a palette as JSON, UTF-8."""
    return json.dumps(palette.record, indent=1, ensure_ascii=False).encode()


_KINDS: dict[str, tuple[Callable[[bytes], Palette], Callable[[Palette], bytes]]] = {
    ".gpl": (_decode_gpl, _encode_gpl),
    ".aco": (_decode_aco, _encode_aco),
    ".ase": (_decode_ase, _encode_ase),
    ".act": (_decode_act, _encode_act),
    ".json": (_decode_json, encode_json),
}
PALETTE_SUFFIXES = tuple(_KINDS)
"""Endings of files that are palettes."""
