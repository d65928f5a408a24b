"""`lvcd palette`: the palette of a colored frame as a file, and palettes from one format into another."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "write the colors of a colored frame as a palette, or a palette in another format"
FORMATS = ".gpl, .aco, .ase, .act or .json"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("source", type=Path, metavar="KEY", help=f"the colored frame, or a palette ({FORMATS})")
    c.add_argument("--out", type=Path, required=True, help=f"the palette to write ({FORMATS}); .act keeps no names")


def run(a: argparse.Namespace) -> None:
    from lvcd.palettes.palette_files import PALETTE_SUFFIXES, check_suffix, read_palette, write_palette

    check_suffix(a.out)
    if a.source.suffix.lower() in PALETTE_SUFFIXES:
        palette = read_palette(a.source)
    else:
        from lvcd.io.images import read_image
        from lvcd.palettes.of_picture import find_palette

        palette = find_palette(read_image(a.source))
    write_palette(a.out, palette)
    print(f"{a.out}: {len(palette.colors)} colors")
