"""Find rows by an id or by a method's name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lvcd.errors import InputError

from .row import Row
from .table import single_line

NAMES_IN_MESSAGE = 12


def find(rows: Iterable[Row], word: str, protocol: str | None = None) -> Row:
    """Return the row with this id, or the newest of the method with this name.

    protocol: its name or key; None = the only one in which the method is.
    InputError: no such row, or several protocols.
    """
    found = _named(of_protocol(rows, protocol), word)
    if len({row.protocol_key for row in found}) > 1:
        raise InputError(f"{word} is in several protocols: choose one by --protocol: {_choices(found)}")
    return found[-1]


def find_two(rows: Iterable[Row], first: str, second: str, protocol: str | None = None) -> tuple[Row, Row]:
    """Return two rows by id or by the method's name; of a name, the newest rows that share a protocol.

    protocol: its name or key; None = the only one in which both are. InputError: no such row, or several protocols in
    which both are.
    """
    known = of_protocol(rows, protocol)
    one, two = _named(known, first), _named(known, second)
    shared = {row.protocol_key for row in one} & {row.protocol_key for row in two}
    if not shared:
        return one[-1], two[-1]  # compare says in what they differ
    if len(shared) > 1:
        choices = _choices([row for row in one if row.protocol_key in shared])
        raise InputError(f"{first} and {second} share {len(shared)} protocols: choose one by --protocol: {choices}")
    key = shared.pop()
    a, b = ([row for row in rows_of_name if row.protocol_key == key][-1] for rows_of_name in (one, two))
    if a.id == b.id:
        raise InputError(f"{first} and {second} are the same row {a.id}: give two")
    return a, b


def of_protocol(rows: Iterable[Row], protocol: str | None) -> list[Row]:
    """Return the rows of the protocol with this name or key; None = all. InputError: there is none."""
    known = [row for row in rows if protocol in (None, row.protocol["name"], row.protocol_key)]
    if protocol is not None and not known:
        raise InputError(f"no row of a protocol {protocol!r}: lvcd leaderboard show lists them")
    return known


def _named(rows: Sequence[Row], word: str) -> list[Row]:
    found = [row for row in rows if row.id == word] or [row for row in rows if row.name == word]
    if not found:
        names = single_line(", ".join(sorted({row.name for row in rows})[:NAMES_IN_MESSAGE]))
        raise InputError(f"no row {word!r}: give the id of a row, or one of {names}" if names else "there are no rows")
    return found


def _choices(rows: Sequence[Row]) -> str:
    names = {row.protocol_key: row.protocol["name"] for row in rows}
    return single_line(", ".join(f"{key} ({name})" for key, name in sorted(names.items())))
