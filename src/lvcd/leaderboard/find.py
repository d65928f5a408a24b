"""Rows by what a person calls them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lvcd.errors import InputError

from .row import Row
from .table import one_line


def find(rows: Iterable[Row], word: str, protocol: str | None = None) -> Row:
    """The row of this id, or the newest of this method's name.

    protocol: name or key of it, None = the only one in which it is. InputError: no such row, or several protocols.
    """
    found = _named(under(rows, protocol), word)
    if len({row.protocol_key for row in found}) > 1:
        raise InputError(f"{word} is in several protocols: choose one by --protocol: {_choices(found)}")
    return found[-1]


def find_two(rows: Iterable[Row], first: str, second: str, protocol: str | None = None) -> tuple[Row, Row]:
    """Rows by id or by the method's name; of a name, the newest rows that share a protocol.

    protocol: name or key of it, None = the only one in which there are both. InputError: no such row, or several
    protocols in which there are both.
    """
    known = under(rows, protocol)
    one, two = _named(known, first), _named(known, second)
    shared = {row.protocol_key for row in one} & {row.protocol_key for row in two}
    if not shared:
        return one[-1], two[-1]  # compare says in what they differ
    if len(shared) > 1:
        choices = _choices([row for row in one if row.protocol_key in shared])
        raise InputError(f"{first} and {second} share {len(shared)} protocols: choose one by --protocol: {choices}")
    key = shared.pop()
    a, b = ([row for row in some if row.protocol_key == key][-1] for some in (one, two))
    if a.id == b.id:
        raise InputError(f"{first} and {second} are the same row {a.id}: give two")
    return a, b


def under(rows: Iterable[Row], protocol: str | None) -> list[Row]:
    """Those of the protocol of this name or key; None = all. InputError: there is none."""
    known = [row for row in rows if protocol in (None, row.protocol["name"], row.protocol_key)]
    if protocol is not None and not known:
        raise InputError(f"no row of a protocol {protocol!r}: lvcd leaderboard show lists them")
    return known


def _named(rows: Sequence[Row], word: str) -> list[Row]:
    found = [row for row in rows if row.id == word] or [row for row in rows if row.name == word]
    if not found:
        names = one_line(", ".join(sorted({row.name for row in rows})[:12]))
        raise InputError(f"no row {word!r}: give the id of a row, or one of {names}" if names else "there are no rows")
    return found


def _choices(rows: Sequence[Row]) -> str:
    names = {row.protocol_key: row.protocol["name"] for row in rows}
    return one_line(", ".join(f"{key} ({name})" for key, name in sorted(names.items())))
