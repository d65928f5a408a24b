"""The job of an output: the JSON values that its frames depend on, as they are kept beside it and compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .disk import parse_json, printable

UNFINISHED, FINISHED = "lvcd output 1", "lvcd result 1"
"""Formats of the file that says which job an output is of: within what is not finished, and beside what is."""


def read_record(file: Path, kind: str = UNFINISHED) -> dict[str, Any] | None:
    """Return the content of a file that says which job an output is of, of one of the two kinds; None: it is not."""
    try:
        record = parse_json(file.read_bytes())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(record, dict) and record.get("format") == kind and isinstance(record.get("job"), dict)
    has_all = is_ours and isinstance(record.get("replaces" if kind == UNFINISHED else "files"), (bool, list))
    return record if has_all else None


def find_changes(old: dict[str, Any], new: dict[str, Any]) -> str:
    """Return what differs between two jobs, for a message; "" if nothing does.

    An example: 'steps was 20 and is 25, reference changed'.
    """
    before, after = _flat(old), _flat(new)
    words = []
    for name in sorted(before.keys() | after.keys()):
        was, now = (json.dumps(side[name]) if name in side else "not set" for side in (before, after))
        if was != now:
            short = len(was) <= 32 and len(now) <= 32
            words.append(f"{printable(name)} was {was} and is {now}" if short else f"{printable(name)} changed")
    return ", ".join(words[:4]) + (f", and {len(words) - 4} more" if len(words) > 4 else "")


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    leaves: dict[str, Any] = {}
    for name, value in tree.items():
        leaves |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) and value else {prefix + name: value}
    return leaves
