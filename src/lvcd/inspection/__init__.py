"""`lvcd inspect`: what is in a folder of shards, in numbers and pictures, and which clips are not fit to learn from.

folder     what is there, from names and headers alone
leak       whether a sketch tells the colors below it
measure    the numbers of one clip
page       the HTML
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from lvcd.io.disk import atomic, writing
from lvcd.io.images import decode_png
from lvcd.shards.index import LICENSES, ClipCounts, ClipEntry, ShardIndex
from lvcd.spacing import evenly_spaced

from .clips_page import Page, sheet
from .measure import FLAGS, Numbers, measure

Array = np.ndarray[Any, Any]

SHOWN = 6
"""Frames of a clip on its contact sheet."""


@dataclass
class Report:
    """All but the pictures."""

    folder: ShardIndex
    counts: ClipCounts
    notes: list[str]
    """What is wrong with the folder or was lost, a line each."""
    clips: list[dict[str, Any]] = field(default_factory=list)
    """Of each clip looked at: what it is, and its `Numbers`."""

    def flagged(self) -> dict[str, int]:
        """Flag => clips that have it; flags of none are left out."""
        found = {name: sum(name in clip["flags"] for clip in self.clips) for name in FLAGS}
        return {name: clips for name, clips in found.items() if clips}


def inspect(path: Path, out: Path | None, most: int) -> Report:
    """A folder of shards => its report; with `out`, also out/index.html and out/clips.json.

    most    clips that are looked at, spread evenly over all; the others are only counted
    One clip's compressed pictures are in memory at a time. InputError: no shards, a tar that is none, no whole clip,
    or `out` cannot be written.
    """
    if out is not None:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    folder = ShardIndex(path)
    lost: list[str] = []
    size = sum(shard.stat().st_size for shard in folder.shards)
    with tqdm(total=size, desc="counting clips", unit="B", unit_scale=True, file=sys.stderr) as bar:
        counts = folder.count(lost.append, bar.update)
    report = Report(folder, counts, folder.notes + lost)
    chosen = evenly_spaced(sum(counts.clips), most, ends=False)
    with Page() as page:
        with tqdm(total=len(chosen), desc="looking at clips", unit="clip", file=sys.stderr) as bar:
            for entry in folder.select(counts, chosen):
                numbers, shown = look(entry)
                if numbers.error:
                    report.notes.append(f"clip {entry.key} of {entry.shard.name} is lost: {numbers.error}")
                clip = _record(entry, numbers)
                report.clips.append(clip)
                if out is not None:
                    page.add(clip, sheet(shown))
                bar.update()
        if out is not None:
            with atomic(out / "clips.json") as temp:
                temp.write_text(json.dumps(_json(report), indent=1) + "\n")
            with atomic(out / "index.html") as temp, temp.open("wb") as file:
                page.write(file, report)
    return report


def look(entry: ClipEntry) -> tuple[Numbers, list[tuple[Array | None, Array]]]:
    """=> its numbers, and small pictures of some frames (none if encoded) and drawings"""
    shown: list[tuple[Array | None, Array]] = []
    wanted = set(evenly_spaced(entry.frames, SHOWN, ends=False))

    def told() -> Iterator[tuple[Array | None, Array]]:
        for index, (frame, drawing) in enumerate(_pictures(entry)):
            if index in wanted:
                shown.append((None if frame is None else _thumbnail(frame), _thumbnail(drawing)))
            yield frame, drawing

    try:
        return measure(told(), entry.frames), shown
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        return Numbers(flags=("undecodable",), error=" ".join(str(error).split()) or type(error).__name__), shown


def _pictures(entry: ClipEntry) -> Iterator[tuple[Array | None, Array]]:
    with entry.shard.open("rb") as file:
        if "sketches.npy" in entry.members:
            file.seek(entry.members["sketches.npy"].offset)
            drawings = np.lib.format.read_array(file, allow_pickle=False)
            if len(drawings) != entry.frames or drawings.dtype != np.uint8:
                raise ValueError(f"its sketches are {drawings.dtype} {drawings.shape} for {entry.frames} frames")
            for drawing in drawings:
                yield None, drawing
            return
        for index in range(entry.frames):
            frame = decode_png(entry.members[f"frame{index:03d}.png"].read(file), "RGB")
            drawing = decode_png(entry.members[f"sketch{index:03d}.png"].read(file), "L")
            if frame.shape[:2] != drawing.shape:
                raise ValueError(f"frame {index} is {frame.shape[:2]} and its sketch {drawing.shape}")
            yield frame, drawing


def _thumbnail(picture: Array, width: int = 183) -> Array:
    """(H W ...) => 183 px wide, so that a sheet fills the page"""
    how = cv2.INTER_AREA if picture.shape[1] > width else cv2.INTER_LINEAR
    return cv2.resize(picture, (width, max(1, round(picture.shape[0] * width / picture.shape[1]))), interpolation=how)


def _record(entry: ClipEntry, numbers: Numbers) -> dict[str, Any]:
    """A clip as clips.json has it."""
    height, width = entry.size
    about = {name: entry.text(name) for name in ("film", "fps", "sketches")}
    where = {"key": entry.key, "shard": entry.shard.name, "start": entry.metadata.get("start")}
    credits = {"credits": entry.credits(), "licenses": entry.credits(LICENSES)}
    return {**where, **about, **credits, "frames": entry.frames, "height": height, "width": width, **asdict(numbers)}


def _json(report: Report) -> dict[str, Any]:
    counts = {name: dict(value) if name != "clips" else sum(value) for name, value in vars(report.counts).items()}
    return {
        "format": "lvcd inspection 1",
        "counts": {"shards": len(report.folder.shards), "all_frames": report.counts.frames, **counts},
        "notes": report.notes,
        "flagged": report.flagged(),
        "clips": report.clips,
    }
