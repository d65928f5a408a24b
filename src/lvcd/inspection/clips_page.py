"""The report as one HTML file: pictures and script are in it, nothing is fetched."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np
from markupsafe import Markup

from lvcd.report.html import fragment, page
from lvcd.report.sheets import contact_sheet

from . import summary
from .measure import FLAGS

if TYPE_CHECKING:
    from . import InspectionReport

Array = np.ndarray[Any, Any]

JPEG_QUALITY = 85
NUMBERS = (
    ("frames", "frames", "{0}"),
    ("motion", "motion_mean_px", "{0:.2f} px, {1:.2%}"),
    ("p99", "motion_p99_px", "{0:.1f} px, {1:.1%}"),
    ("lines", "lines", "{0:.1%}"),
    ("leak", "leak", "{0:.0%}"),
    ("pairing", "pairing", "{0:.2f}"),
)
"""What a card shows and the page sorts by: name, field of the record, format of the value and of its share of the
height."""
PALETTE_WIDTH = 1000
"""Units of the drawing of a palette; a color is at least 3 wide."""


def clip_sheet(shown: list[tuple[Array | None, Array]]) -> Array | None:
    """Draw frames (H W 3) RGB in a row above their drawings (H W): (H' W' 3); None for no pictures."""
    if not shown:
        return None
    frames = [frame for frame, _ in shown if frame is not None]
    drawings = [drawing for _, drawing in shown]
    rows = {"frames": frames, "drawings": drawings} if frames else {"drawings": drawings}
    return np.asarray(contact_sheet(rows, labels=False))


class ClipsPage:
    """The page of a report. Cards wait in a temporary file until all are there, so that memory does not grow."""

    def __init__(self) -> None:
        self._cards: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # see __exit__
        self._places: list[tuple[int, int, int]] = []  # minus the flags, first byte, bytes

    def __enter__(self) -> ClipsPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cards.close()

    def add(self, clip: dict[str, Any], picture: Array | None) -> None:
        """Add the card of a clip: its record and its sheet (H W 3), or None."""
        assert __package__
        data = fragment(__package__, "clip_card", card=_card(clip, picture)).encode()
        self._places.append((-len(clip["flags"]), self._cards.tell(), len(data)))
        self._cards.write(data)

    def write(self, file: IO[bytes], report: InspectionReport) -> None:
        """Write the page: flagged clips first, then as they lie in the shards."""
        assert __package__
        folder = report.folder.path.resolve().name
        text = page(
            __package__,
            "clips_page",
            f"{folder}: lvcd inspect",
            folder=folder,
            rows=[r for r in summary.rows(report) if r[0] not in ("main flat colors", "flagged", "credits")],
            palette=_palette(summary.palette(report)),
            notes=report.notes,
            histograms=[(title, _bars(bars)) for title, bars in summary.histograms(report)],
            credits=report.counts.credits.most_common(),
            flags=_flags(report),
            cards=self._sorted(),
        )
        file.writelines(part.encode() for part in text)

    def _sorted(self) -> Iterator[Markup]:
        for _, offset, size in sorted(self._places):
            self._cards.seek(offset)
            yield Markup(self._cards.read(size).decode())


def _card(clip: dict[str, Any], picture: Array | None) -> dict[str, Any]:
    """Return what the template shows of a clip."""
    numbers, attributes = [], {}
    for name, field, form in NUMBERS:
        value = clip[field]
        if value is not None:
            attributes[name] = f"{value:.6g}"
            numbers.append((name, form.format(value, value / clip["height"]).replace("%", " %")))
    if clip["empty_frames"]:
        numbers.append(("without lines", f"{clip['empty_frames']} frames"))
    where = f"{clip['film']} from frame {clip['start']}, {clip['width']} x {clip['height']}, {clip['shard']}"
    about = f"{where}. {clip['error']}" if clip["error"] else where
    credit = "; ".join(clip["credits"] + clip["licenses"])
    return {
        "key": clip["key"],
        "flags": clip["flags"],
        "flag_words": [FLAGS[flag] for flag in clip["flags"]],
        "found": f"{clip['key']} {about} {credit}".lower(),
        "about": about,
        "credit": credit,
        "attributes": attributes,
        "numbers": numbers,
        "palette": _palette(clip["palette"]),
        "image": _image(picture),
    }


def _image(picture: Array | None) -> dict[str, Any] | None:
    """Return a picture (H W 3) as a data: URI, and its size."""
    if picture is None:
        return None
    height, width = picture.shape[:2]
    quality = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), quality)
    assert encoded
    uri = f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return {"width": width, "height": height, "uri": uri}


def _palette(colors: Iterable[tuple[str, float]]) -> list[dict[str, Any]]:
    """Return colors (#rrggbb, share) as rectangles beside each other, as wide as their share."""
    colors = list(colors)
    widths = [max(3.0, PALETTE_WIDTH * share) for _, share in colors]
    scale, left, found = PALETTE_WIDTH / max(sum(widths), 1), 0.0, []
    for (name, share), width in zip(colors, widths):
        found.append({"name": name, "percent": 100 * share, "left": f"{left:.2f}", "width": f"{width * scale:.2f}"})
        left += width * scale
    return found


def _flags(report: InspectionReport) -> list[tuple[str, str, int]]:
    """Return a button for every flag, to show its clips alone: name, words, clips."""
    sound = sum(not clip["flags"] for clip in report.clips)
    options = [("", "all", len(report.clips)), ("sound", "nothing flagged", sound)]
    return options + [(name, FLAGS[name], clips) for name, clips in report.flagged().items()]


def _bars(bars: summary.Bars) -> list[dict[str, Any]]:
    """Return the bars of a histogram, each with its clips as a fraction of the most."""
    most = max(1, max(clips for _, clips in bars))
    return [{"label": label, "clips": clips, "fraction": clips / most} for label, clips in bars]
