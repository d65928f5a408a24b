"""What lies beside flat frames: the table of regions of each, the reference's colors, index maps and the palette."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np

from lvcd.flats import PaintBucket
from lvcd.flats.exact_colors import hex_names
from lvcd.flats.region_table import region_table
from lvcd.io.output import ResumableOutput
from lvcd.palettes.of_picture import flat_colors
from lvcd.palettes.palette_files import MAX_COLORS, Palette, encode_json
from lvcd.palettes.recolor import IndexMaps


def write_colors(out: ResumableOutput, bucket: PaintBucket, palette: Palette | None) -> None:
    """Write the palette that frames are filled from, or else what the reference shows in flat colors."""
    if palette is not None:
        return out.write_beside("palette.json", encode_json(palette))
    own = np.rint(np.concatenate([bucket.colors, bucket.matched[:, 3:6]]) * 255).astype(int)
    pixels = np.rint(bucket.reference * 255).astype(np.uint8)
    of_all = np.rint(bucket.palette_of_reference * 255).astype(int)
    colors = np.concatenate([own, flat_colors(pixels, np.ones(pixels.shape[:2], bool))[0], of_all])
    first = np.sort(np.unique(colors, axis=0, return_index=True)[1])[:MAX_COLORS]
    found = colors[first].astype(np.uint8)
    out.write_beside("reference.json", encode_json(Palette(found, tuple(hex_names(found)))))
    return None


def write_blank_record(out: ResumableOutput, number: int) -> None:
    """Write that a frame shows no drawing."""
    out.write_beside(f"regions/{out.name(number)}.json", json.dumps({"blank": True}).encode())


def write_records(
    out: ResumableOutput, number: int, bucket: PaintBucket, palette: Palette | None, own: bool, aliased: bool = False
) -> None:
    """Write the table of a frame's regions, and with a palette its index maps.

    palette: None where there are no index maps, for frames without a palette, in layers or with clear paper.
    own: the frame is the reference as it was given, so that nothing in it was chosen. aliased: its lines are hard.
    """
    name = out.name(number)
    table = {"regions": [], "lines": []} if own else region_table(bucket)
    out.write_beside(f"regions/{name}.json", json.dumps(table, separators=(",", ":")).encode())
    if palette is not None and bucket.indexed is not None:
        frame = bucket.indexed
        if aliased:
            frame = replace(frame, coverage=np.where(frame.coverage > 127, 255, 0).astype(np.uint8))
        for file, data in IndexMaps.encode(name, frame, palette).items():
            out.write_beside(file, data)
