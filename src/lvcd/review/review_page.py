"""The page of a review: pictures and script are in it, nothing is fetched; and the same as a table, CSV."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from lvcd.io.disk import atomic, writing
from lvcd.io.images import read_image
from lvcd.report.html import page

from . import KINDS
from .findings import Array, Finding, ReviewReport

SHOWN = 60
"""Findings of each kind on the page; the table has all."""
CROP_PX, SHOWN_PX = 96, 240
"""Side of the part of a frame around a finding, at least, and as it is shown."""
COLUMNS = ("kind", "frame", "number", "top", "left", "bottom", "right", "area", "color", "was", "value")


def write_review(out: Path, report: ReviewReport, limits: dict[str, int]) -> None:
    """Write index.html and findings.csv into the folder `out`, which may be there. InputError: the disk.

    limits: how many findings of each kind are allowed.
    """
    assert __package__
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    counts = report.counts()
    text = page(
        __package__,
        "review_page",
        f"{report.folder.resolve().name}: lvcd review",
        folder=report.folder.resolve().name,
        frames=len(report.frames),
        regions=report.regions,
        kinds=[{"name": k, "words": w, "count": counts[k], "limit": limits[k], "over": counts[k] > limits[k],
                "left_out": max(0, counts[k] - SHOWN)} for k, w in KINDS.items()],
        strip=_strip(report),
        cards=_cards(report),
    )  # fmt: skip
    with atomic(out / "index.html") as temp, temp.open("w", encoding="utf-8") as stream:
        stream.writelines(text)
    with atomic(out / "findings.csv") as temp, temp.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for f in report.findings:
            table.writerow([f.kind, f.frame, f.number, *f.box, f.area, f.color, f.was, round(f.value, 4)])


def _strip(report: ReviewReport) -> list[dict[str, Any]]:
    """Return a bar for each frame with findings: how many it has, as a fraction of the most."""
    per_frame: dict[int, int] = {}
    for finding in report.findings:
        per_frame[finding.number] = per_frame.get(finding.number, 0) + 1
    most = max(per_frame.values(), default=1)
    return [
        {"frame": file.stem, "count": per_frame.get(n, 0), "fraction": per_frame.get(n, 0) / most}
        for n, file in enumerate(report.frames)
    ]


def _cards(report: ReviewReport) -> Iterator[dict[str, Any]]:
    """Yield what the template shows of each finding. A frame that several have is read once where they follow."""
    shown: dict[str, int] = {}
    last: tuple[int, Array] | None = None
    for finding in report.findings:
        shown[finding.kind] = shown.get(finding.kind, 0) + 1
        if shown[finding.kind] > SHOWN:
            continue
        if last is None or last[0] != finding.number:
            last = finding.number, read_image(report.frames[finding.number])[..., :3]
        before = None
        if finding.kind == "change" and finding.number:
            before = _crop(read_image(report.frames[finding.number - 1])[..., :3], finding)
        yield {
            "kind": finding.kind,
            "frame": finding.frame,
            "words": _words(finding),
            "color": finding.color,
            "was": finding.was,
            "images": [*([before] if before else []), _crop(last[1], finding)],
        }


def _words(finding: Finding) -> str:
    at = f"{finding.area:,} px at {finding.box[1]}, {finding.box[0]}"
    if finding.kind == "doubt":
        return f"second match {100 * finding.value:.0f} % of the best; {at}"
    return at


def _crop(frame: Array, finding: Finding) -> str:
    """Return the part of a frame (H W 3) around a finding, which is framed, as a data: URI."""
    top, left, bottom, right = finding.box
    height, width = frame.shape[:2]
    side = int(min(max(CROP_PX, 1.5 * (bottom - top), 1.5 * (right - left)), max(height, width)))
    y = int(np.clip((top + bottom - side) // 2, 0, max(0, height - side)))
    x = int(np.clip((left + right - side) // 2, 0, max(0, width - side)))
    part = frame[y : y + side, x : x + side]
    scale = SHOWN_PX / side
    size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
    part = cv2.resize(part, size, interpolation=cv2.INTER_NEAREST if scale >= 1 else cv2.INTER_AREA)
    one, other = ((int((left - x) * scale) - 2, int((top - y) * scale) - 2),
                  (int((right - x) * scale) + 1, int((bottom - y) * scale) + 1))  # fmt: skip
    for color, grow in (((255, 255, 255), 1), ((200, 0, 160), 0)):
        cv2.rectangle(part, (one[0] - grow, one[1] - grow), (other[0] + grow, other[1] + grow), color, 1)
    data = cv2.imencode(".png", cv2.cvtColor(part, cv2.COLOR_RGB2BGR))[1]
    return f"data:image/png;base64,{base64.b64encode(data.tobytes()).decode()}"
