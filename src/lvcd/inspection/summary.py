"""A report as rows and histograms, for the terminal and the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .measure import FLAGS

if TYPE_CHECKING:
    from . import InspectionReport

Bars = list[tuple[str, int]]
"""(label, clips) of each bin."""

SPEED_BINS = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Edges of the motion bins, % of the frame's height. The last bin has no end; empty ones at both ends are left out."""


def rows(report: InspectionReport) -> list[tuple[str, str]]:
    """Return (name, value) of every row."""
    counts, manifest = report.counts, report.folder.manifest or {}
    found = [
        ("shards", str(len(report.folder.shards))),
        ("clips", f"{sum(counts.clips)}, {len(report.clips)} of them measured"),
        ("frames", f"{counts.frames}, clips of {min(counts.lengths)} to {max(counts.lengths)}"),
        ("sizes", listed(counts.sizes)),
        ("frames/s", listed(counts.rates)),
        ("films", str(len(counts.films))),
        ("sketches", listed(counts.extractors)),
        ("licenses", listed(counts.licenses)),
        ("credits", f"{len(counts.credits)}, most clips: {counts.credits.most_common(1)[0][0]}"),
    ]
    if report.folder.encoded:
        encoders = manifest.get("encoders", {})
        stage = manifest.get("stage", {})
        found += [
            ("stage", str(stage.get("name", "unknown"))),
            ("encoders", ", ".join(f"{name} {str(value)[:12]}" for name, value in encoders.items())),
            ("not here", "encoded shards have no frames: inspect the folder above for motion, palettes and leaks"),
        ]
    dropped = manifest.get("counts", {}).get("dropped", {})
    if dropped:
        found.append(("dropped before", ", ".join(f"{n['clips']} {why}" for why, n in dropped.items())))
    for title, name in (("mean", "motion_mean_px"), ("99th percentile", "motion_p99_px")):
        pixels = [clip[name] for clip in report.clips if clip[name] is not None]
        share = [100 * clip[name] / clip["height"] for clip in report.clips if clip[name] is not None]
        if pixels:
            value = f"median {np.median(pixels):.2f} px a frame, {np.median(share):.2f} % of the height"
            found.append((f"motion, {title}", value))
    if colors := palette(report):
        found.append(("main flat colors", ", ".join(f"{color} {100 * share:.0f} %" for color, share in colors[:6])))
    flagged = [f"{clips} {FLAGS[name]}" for name, clips in report.flagged().items()]
    found.append(("flagged", ", ".join(flagged) or "none of those measured"))
    return found


def listed(counter: Counter[str], most: int = 4) -> str:
    """List values, the most frequent first, with the clips of each unless there is one."""
    if len(counter) == 1:
        return next(iter(counter))
    named = [f"{name} ({clips})" for name, clips in counter.most_common(most)]
    return "; ".join(named) + (f" and {len(counter) - most} more" if len(counter) > most else "")


def histograms(report: InspectionReport) -> list[tuple[str, Bars]]:
    """Return (title, bars) of every histogram."""
    found = [("length in frames, all clips", lengths(report.counts.lengths))]
    for title, name in (("mean motion", "motion_mean_px"), ("99th percentile", "motion_p99_px")):
        shares = [100 * clip[name] / clip["height"] for clip in report.clips if clip[name] is not None]
        if shares:
            found.append((f"{title}, % of the height a frame", speeds(shares)))
    return found


def lengths(counter: Counter[int]) -> Bars:
    """Count clips by length, in at most 12 bins of 1, 2, 5, 10, ... frames."""
    low, high = min(counter), max(counter)
    step = next(s * 10**e for e in range(9) for s in (1, 2, 5) if high // (s * 10**e) - low // (s * 10**e) < 12)
    bars = []
    for first in range(low // step * step, high + 1, step):
        label = str(first) if step == 1 else f"{first}-{first + step - 1}"
        bars.append((label, sum(clips for n, clips in counter.items() if first <= n < first + step)))
    return bars


def speeds(percentages: Sequence[float]) -> Bars:
    """Count clips by motion, % of the height, in the bins of SPEED_BINS."""
    counts = np.histogram(percentages, bins=[*SPEED_BINS, np.inf])[0]
    labels = [f"{a:g}-{b:g}" for a, b in zip(SPEED_BINS, SPEED_BINS[1:])] + [f"{SPEED_BINS[-1]:g}+"]
    used = np.flatnonzero(counts)
    return list(zip(labels, map(int, counts)))[used[0] : used[-1] + 1]


def palette(report: InspectionReport, most: int = 12) -> list[tuple[str, float]]:
    """Return (#rrggbb, fraction) over all measured clips, each with the same weight; near colors are taken together."""
    found: list[tuple[np.ndarray, str, float]] = []
    clips = [clip["palette"] for clip in report.clips if clip["palette"]]
    for color, share in sorted((one for clip in clips for one in clip), key=lambda one: -one[1]):
        value = np.array(list(bytes.fromhex(color[1:])), float)
        near = next((i for i, (c, _, _) in enumerate(found) if np.abs(c - value).max() < 32), None)
        if near is None:
            found.append((value, color, share / len(clips)))
        else:
            c, name, sum_ = found[near]
            found[near] = c, name, sum_ + share / len(clips)
    return [(name, share) for _, name, share in sorted(found, key=lambda one: -one[2])[:most]]


def text(report: InspectionReport) -> str:
    """Return the report for the terminal."""
    width = max(len(name) for name, _ in rows(report))
    lines = [f"{name:<{width}}  {value}" for name, value in rows(report)]
    for title, bars in histograms(report):
        most, wide = max(clips for _, clips in bars), max(len(label) for label, _ in bars)
        lines += ["", title]
        lines += [f"  {label:>{wide}}  {clips:>6}  {'#' * -(-40 * clips // most)}".rstrip() for label, clips in bars]
    flagged = [clip for clip in report.clips if clip["flags"]]
    if flagged:
        lines += ["", "flagged clips" + (f" (the first 20 of {len(flagged)})" if len(flagged) > 20 else "")]
        lines += [f"  {clip['key']}: {', '.join(FLAGS[flag] for flag in clip['flags'])}" for clip in flagged[:20]]
    if report.notes:
        lines += ["", "damage", *(f"  {note}" for note in report.notes)]
    return "\n".join(line if line.isprintable() else line.encode("unicode_escape").decode() for line in lines)
