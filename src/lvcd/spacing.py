"""Evenly spaced numbers: which frames of a clip are shown, which clips of a set are looked at."""

from __future__ import annotations


def evenly_spaced(count: int, most: int, ends: bool = True) -> list[int]:
    """Return at most `most` different numbers spread evenly over 0 .. count - 1, in ascending order.

    ends    True: the first and the last number are among them. False: the middle of each of `most` equal stretches.
    """
    most = min(count, most)
    if ends:
        return [round(i * (count - 1) / max(1, most - 1)) for i in range(most)]
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]
