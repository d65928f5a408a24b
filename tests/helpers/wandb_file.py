"""What W&B writes of a run to the disk, read without W&B."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from tests.helpers.processes import wait_until


def records(file: Path) -> list:
    """Return the records that are in the file so far.

    A .wandb file is a log of LevelDB: blocks of 32 KiB, in them parts of CRC (4), length (2), kind (1) and data;
    kinds: 1 whole, 2 first, 3 middle, 4 last. The first block starts with 7 bytes of W&B's own."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, found, parts = file.read_bytes(), 7, [], b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        room = 32768 - at % 32768
        if room < 7:
            at += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0 or at + 7 + length > len(data):  # W&B is still writing this part
            break
        parts = (b"" if kind in (1, 2) else parts) + data[at + 7 : at + 7 + length]
        if kind in (1, 4):
            found.append(Record.FromString(parts))
        at += 7 + length
    return found


def history(run: list) -> list[dict]:
    """Return what was logged, a dict a step."""
    items = [r.history.item for r in run if r.WhichOneof("record_type") == "history"]
    return [tree(row) for row in items]


def tree(items) -> dict:
    """Return items with keys of several parts as dicts of dicts."""
    found: dict = {}
    for item in items:
        *above, last = item.nested_key or [item.key]
        place = found
        for name in above:
            place = place.setdefault(name, {})
        place[last] = json.loads(item.value_json)  # ValueError: an item of another kind, of a later wandb
    return found


def config(run: list) -> dict:
    """Return the config of the run."""
    return tree(u for r in run for u in (*r.config.update, *r.run.config.update))


def finished_records(file: Path) -> list:
    """Return all records, once the process that writes them has written the last."""
    wait_until(lambda: any(r.WhichOneof("record_type") == "exit" for r in records(file)))
    return records(file)
