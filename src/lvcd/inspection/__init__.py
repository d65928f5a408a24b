"""`lvcd inspect`: what is in a folder of shards, in numbers and pictures, and which clips are not fit to learn from.

measure       statistics of one clip
summary       a report as rows and histograms
clips_page    a report as HTML
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

from .clips_page import ClipsPage, clip_sheet
from .measure import FLAGS, ClipStats, measure

Array = np.ndarray[Any, Any]

FRAMES_PER_SHEET = 6
"""Of a clip's contact sheet."""
THUMBNAIL_PX = 179
"""Width of a frame on a contact sheet, so that a sheet fills the page."""


@dataclass
class InspectionReport:
    """All that was found in a folder of shards, but for the pictures."""

    folder: ShardIndex
    counts: ClipCounts
    notes: list[str]
    """One line for everything that is wrong with the folder or cannot be read."""
    clips: list[dict[str, Any]] = field(default_factory=list)
    """Of each measured clip, as clips.json has it: what it is, and its `ClipStats`."""

    def flagged(self) -> dict[str, int]:
        """Return the number of clips of each flag that a clip has."""
        found = {name: sum(name in clip["flags"] for clip in self.clips) for name in FLAGS}
        return {name: clips for name, clips in found.items() if clips}


def inspect(path: Path, out: Path | None, max_clips: int) -> InspectionReport:
    """Inspect a folder of shards; with `out`, also write out/index.html and out/clips.json.

    max_clips    clips that are measured, spread evenly over all; the others are only counted
    One clip's compressed pictures are in memory at a time. InputError: no shards, a tar that is none, no whole clip,
    or `out` cannot be written.
    """
    if out is not None:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    folder = ShardIndex(path)
    damage: list[str] = []
    size = sum(shard.stat().st_size for shard in folder.shards)
    with tqdm(total=size, desc="counting clips", unit="B", unit_scale=True, file=sys.stderr) as bar:
        counts = folder.count(damage.append, bar.update)
    report = InspectionReport(folder, counts, folder.notes + damage)
    chosen = evenly_spaced(sum(counts.clips), max_clips, ends=False)
    with ClipsPage() as page:
        with tqdm(total=len(chosen), desc="measuring clips", unit="clip", file=sys.stderr) as bar:
            for entry in folder.select(counts, chosen):
                stats, thumbnails = measure_clip(entry)
                if stats.error:
                    report.notes.append(f"clip {entry.key} of {entry.shard.name} is lost: {stats.error}")
                clip = _record(entry, stats)
                report.clips.append(clip)
                if out is not None:
                    page.add(clip, clip_sheet(thumbnails))
                bar.update()
        if out is not None:
            with atomic(out / "clips.json") as temp:
                temp.write_text(json.dumps(_json(report), indent=1) + "\n")
            with atomic(out / "index.html") as temp, temp.open("wb") as file:
                page.write(file, report)
    return report


def measure_clip(entry: ClipEntry) -> tuple[ClipStats, list[tuple[Array | None, Array]]]:
    """Return the statistics of a clip, and thumbnails of some frames (None if it is encoded) and drawings."""
    thumbnails: list[tuple[Array | None, Array]] = []
    shown = set(evenly_spaced(entry.frames, FRAMES_PER_SHEET, ends=False))

    def pictures() -> Iterator[tuple[Array | None, Array]]:
        for index, (frame, drawing) in enumerate(_pictures(entry)):
            if index in shown:
                thumbnails.append((None if frame is None else _thumbnail(frame), _thumbnail(drawing)))
            yield frame, drawing

    try:
        return measure(pictures(), entry.frames), thumbnails
    except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        return ClipStats(flags=("undecodable",), error=reason), thumbnails


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


def _thumbnail(picture: Array) -> Array:
    """Scale (H W ...) to THUMBNAIL_PX columns."""
    how = cv2.INTER_AREA if picture.shape[1] > THUMBNAIL_PX else cv2.INTER_LINEAR
    size = THUMBNAIL_PX, max(1, round(picture.shape[0] * THUMBNAIL_PX / picture.shape[1]))
    return cv2.resize(picture, size, interpolation=how)


def _record(entry: ClipEntry, stats: ClipStats) -> dict[str, Any]:
    """Return a clip as clips.json has it."""
    height, width = entry.size
    about = {name: entry.text(name) for name in ("film", "fps", "sketches")}
    where = {"key": entry.key, "shard": entry.shard.name, "start": entry.metadata.get("start")}
    credits = {"credits": entry.credits(), "licenses": entry.credits(LICENSES)}
    return {**where, **about, **credits, "frames": entry.frames, "height": height, "width": width, **asdict(stats)}


def _json(report: InspectionReport) -> dict[str, Any]:
    counts = {name: dict(value) if name != "clips" else sum(value) for name, value in vars(report.counts).items()}
    return {
        "format": "lvcd inspection 1",
        "counts": {"shards": len(report.folder.shards), "all_frames": report.counts.frames, **counts},
        "notes": report.notes,
        "flagged": report.flagged(),
        "clips": report.clips,
    }
