"""Rows as an evaluation makes them."""

from __future__ import annotations

from lvcd.leaderboard import Row


def report(value, low=None, high=None, better=True, n=4, notes=()):
    """Return what a metric reports."""
    interval = None if low is None else {"low": low, "high": high, "level": 0.95, "method": "bootstrap over clips"}
    return {
        "value": value, "n": n, "interval": interval, "settings": {"size": 256}, "extractor": None,
        "notes": list(notes), "higher_is_better": better,
    }  # fmt: skip


def protocol(name="smoke", columns=("PSNR", "TC"), **changes):
    """Return a protocol as a row has it."""
    return {
        "name": name, "data": "0" * 64, "width": 64, "height": 48, "frames": None, "clips": None, "reference": "first",
        "sketch": "exact", "binarized": False, "metrics": {column: {"size": 256} for column in columns}, **changes,
    }  # fmt: skip


def row(name="copy", psnr=(10.0, 11.0, 12.0, 13.0), tc=(1.5, None, 1.25, 2.0), **changes):
    """Return a row of four clips."""
    clips = [
        {"key": f"clip-{i}", "scores": {"PSNR": a, "TC": b}, "media": None} for i, (a, b) in enumerate(zip(psnr, tc))
    ]
    known = [score for score in tc if score is not None]
    parts = {
        "method": {"name": name, "settings": {"kind": name}},
        "protocol": protocol(),
        "n": len(clips),
        "metrics": {
            "PSNR": report(sum(psnr) / len(psnr), min(psnr), max(psnr)),
            "TC": report(sum(known) / len(known), min(known), max(known), better=None),
        },
        "clips": clips,
        "cost": {"seconds_per_frame": 0.5, "memory_GiB": 1.25, "device": "cpu"},
        "provenance": {"seed": 0, "git": "0" * 40, "versions": {"lvcd": "0.1.0"}},
        "time": "2025-01-02T03:04:05+00:00",
        **changes,
    }
    return Row(**parts)
