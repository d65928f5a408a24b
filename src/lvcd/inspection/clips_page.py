"""The report as one HTML file: pictures and script are in it, nothing is fetched."""

from __future__ import annotations

import base64
import tempfile
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np

from lvcd.report.html import escape, template

from . import summary
from .measure import FLAGS

if TYPE_CHECKING:
    from . import InspectionReport

Array = np.ndarray[Any, Any]

GAP_PX = 4
"""Between the pictures of a sheet."""
NUMBERS = (
    ("frames", "frames", "{0}"),
    ("motion", "motion_mean_px", "{0:.2f} px, {1:.2%}"),
    ("p99", "motion_p99_px", "{0:.1f} px, {1:.1%}"),
    ("lines", "lines", "{0:.1%}"),
    ("leak", "leak", "{0:.0%}"),
    ("pairing", "pairing", "{0:.2f}"),
)
"""(name, field of the record, format of the value and of its fraction of the height): what a card shows and the page
sorts by."""


def clip_sheet(thumbnails: list[tuple[Array | None, Array]]) -> Array | None:
    """Lay out frames (H W 3) RGB in a row over their drawings (H W) => (H' W' 3); None for no pictures."""
    if not thumbnails:
        return None
    frames = [frame for frame, _ in thumbnails if frame is not None]
    drawings = [cv2.cvtColor(drawing, cv2.COLOR_GRAY2RGB) for _, drawing in thumbnails]
    pictures = [row for row in (frames, drawings) if row]
    height, width = drawings[0].shape[:2]
    total = len(pictures) * (height + GAP_PX) - GAP_PX, len(drawings) * (width + GAP_PX) - GAP_PX, 3
    out = np.full(total, 255, np.uint8)
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            top, left = i * (height + GAP_PX), j * (width + GAP_PX)
            out[top : top + height, left : left + width] = cv2.resize(picture, (width, height))
    return out


class ClipsPage:
    """The HTML of a report. Cards wait on disk until all are there, so that memory does not grow with them."""

    def __init__(self) -> None:
        self._cards: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # see __exit__
        self._places: list[tuple[int, int, int]] = []  # minus the flags, first byte, bytes

    def __enter__(self) -> ClipsPage:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._cards.close()

    def add(self, clip: dict[str, Any], picture: Array | None) -> None:
        """Add the card of a clip with its contact sheet."""
        data = card(clip, picture).encode()
        self._places.append((-len(clip["flags"]), self._cards.tell(), len(data)))
        self._cards.write(data)

    def write(self, file: IO[bytes], report: InspectionReport) -> None:
        """Write the page: flagged clips first, then as they lie in the shards."""
        assert __package__
        for part in template(__package__):
            if part == "<!--clips-->":
                for _, offset, size in sorted(self._places):
                    self._cards.seek(offset)
                    file.write(self._cards.read(size))
            elif part in _PARTS:
                file.write(_PARTS[part](report).encode())
            else:
                file.write(part.encode())


def card(clip: dict[str, Any], picture: Array | None) -> str:
    """Return the HTML of one clip."""
    flags = "".join(f'<b class="flag">{FLAGS[flag]}</b>' for flag in clip["flags"])
    data, shown = "", ""
    for name, field, form in NUMBERS:
        value = clip[field]
        if value is not None:
            data += f' data-{name}="{value:.6g}"'
            shown += f"<span>{name} <i>{form.format(value, value / clip['height']).replace('%', ' %')}</i></span>"
    if clip["empty_frames"]:
        shown += f"<span>without lines <i>{clip['empty_frames']} frames</i></span>"
    where = f"{clip['film']} from frame {clip['start']}, {clip['width']} x {clip['height']}, {clip['shard']}"
    about = f"{where}. {clip['error']}" if clip["error"] else where
    credit = escape("; ".join(clip["credits"] + clip["licenses"]))
    found = f"{clip['key']} {about}".lower()
    key, names, found = escape(clip["key"]), " ".join(clip["flags"]), escape(found)
    return (
        f'<article id="{key}" data-name="{key}" data-flags="{names}" data-found="{found} {credit.lower()}"{data}>'
        f'<h3>{key} {flags}</h3><p class=about title="{credit}">{escape(about)}</p>'
        f"<p class=numbers>{shown}</p>{swatches(clip['palette'])}{image(picture)}</article>\n"
    )


def image(picture: Array | None) -> str:
    """Return the HTML of a picture (H W 3) with its data in it; "" for None."""
    if picture is None:
        return ""
    height, width = picture.shape[:2]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 85])
    assert done
    source = base64.b64encode(data.tobytes()).decode()
    return f'<img width={width} height={height} alt="frames over their sketches" src="data:image/jpeg;base64,{source}">'


def swatches(palette: Any) -> str:
    """Return the HTML of colors, each as wide as its fraction."""
    parts = "".join(
        f'<span style="background:{color};flex-grow:{max(1, round(1000 * share))}" title="{color} {100 * share:.1f} %">'
        "</span>"
        for color, share in palette
    )
    return f"<div class=palette>{parts}</div>" if parts else ""


def _rows(report: InspectionReport) -> str:
    return "".join(
        f"<tr><th>{escape(name)}<td>{escape(value)}"
        for name, value in summary.rows(report)
        if name not in ("main flat colors", "flagged", "credits")
    )


def _flags(report: InspectionReport) -> str:
    """Return a button for every flag, which shows its clips alone."""
    sound = sum(not clip["flags"] for clip in report.clips)
    options = [("", "all", len(report.clips)), ("sound", "nothing flagged", sound)]
    options += [(name, FLAGS[name], clips) for name, clips in report.flagged().items()]
    return "".join(f'<button data-flag="{name}">{words} <i>{clips}</i></button>' for name, words, clips in options)


def _histograms(report: InspectionReport) -> str:
    return "".join(
        f"<figure><figcaption>{title}</figcaption>{svg(bars)}</figure>" for title, bars in summary.histograms(report)
    )


def svg(bars: summary.Bars) -> str:
    """Return a bar chart: clips above the bars, bins below."""
    width, height, most = 40, 110, max(1, max(clips for _, clips in bars))
    parts = [f'<svg viewBox="0 0 {width * len(bars)} {height + 34}" width="{width * len(bars)}">']
    for i, (label, clips) in enumerate(bars):
        tall, middle = height * clips / most, width * i + width / 2
        top = height + 14 - tall
        parts.append(f'<rect x="{width * i + 2}" y="{top:.1f}" width="{width - 4}" height="{tall:.1f}"/>')
        if clips:
            parts.append(f'<text x="{middle}" y="{top - 4:.1f}">{clips}</text>')
        parts.append(f'<text class=bin x="{middle}" y="{height + 28}">{escape(label)}</text>')
    return "".join([*parts, "</svg>"])


def _notes(report: InspectionReport) -> str:
    if not report.notes:
        return ""
    return f"<section class=damage><h2>Damage</h2>{''.join(f'<p>{escape(n)}' for n in report.notes)}</section>"


def _credits(report: InspectionReport) -> str:
    return "".join(f"<p>{escape(who)}: <i>{clips}</i>" for who, clips in report.counts.credits.most_common())


_PARTS = {
    "<!--folder-->": lambda report: escape(report.folder.path.resolve().name),
    "<!--rows-->": _rows,
    "<!--palette-->": lambda report: swatches(summary.palette(report)),
    "<!--histograms-->": _histograms,
    "<!--notes-->": _notes,
    "<!--credits-->": _credits,
    "<!--flags-->": _flags,
}
"""Places in page.html -> what comes there."""
