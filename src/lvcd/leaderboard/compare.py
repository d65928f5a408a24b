"""Paired comparison of two methods under one protocol: which is better, and on which clips they differ most.

Clips differ more from each other than methods do. The difference on each clip removes that, so it can tell methods
apart whose intervals overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lvcd.errors import InputError
from lvcd.metrics.base import bootstrap

from .row import Row
from .table import boards, rank_key, single_line

CLIPS_NAMED = 3
"""Clips in the text of each metric."""


@dataclass(frozen=True)
class Difference:
    """The difference of two rows in one metric: B minus A; where 1 is best, how much farther from 1 B is than A."""

    column: str
    higher_is_better: bool | None
    mean: float
    """Of the clips' differences, each weighing the same."""
    interval: dict[str, Any] | None
    """low, high, level: bootstrap over clips; None for one clip."""
    n: int
    """Number of clips that have both scores."""
    clips: list[tuple[str, float, float]]
    """key, A, B; those that differ most first."""

    @property
    def better(self) -> str | None:
        """Which is better, "A" or "B"; None: undecided, the interval holds 0."""
        if self.interval is None or self.interval["low"] <= 0 <= self.interval["high"]:
            return None
        return "B" if (self.mean > 0) == bool(self.higher_is_better) else "A"


def compare(a: Row, b: Row) -> list[Difference]:
    """Return the difference in every metric that scores clips.

    InputError: another protocol, other clips, or no clip has scores.
    """
    _check_protocol(a, b)
    scores_a, scores_b = ({clip["key"]: clip["scores"] for clip in row.clips} for row in (a, b))
    _check_clips(a, b, scores_a, scores_b)
    better = boards([a, b])[0].columns
    found = []
    for column in better:
        scored = [
            (key, first, second)
            for key in scores_a
            if (first := scores_a[key].get(column)) is not None and (second := scores_b[key].get(column)) is not None
        ]
        if scored:
            found.append(_difference(column, better[column], scored))
    if not found:
        raise InputError(f"{a.name} and {b.name} have no scores for single clips: evaluate them with PSNR or such")
    return found


def _difference(column: str, better: bool | None, scored: list[tuple[str, float, float]]) -> Difference:
    def score(value: float) -> float:
        return rank_key(value, None) if better is None else value

    paired = {key: score(second) - score(first) for key, first, second in scored}
    values = torch.tensor(list(paired.values()), dtype=torch.float64)
    interval = bootstrap(values, torch.ones_like(values))
    scored.sort(key=lambda clip: -abs(paired[clip[0]]))
    return Difference(column, better, values.mean().item(), interval, len(scored), scored)


def _check_protocol(a: Row, b: Row) -> None:
    if a.protocol_key == b.protocol_key:
        return
    names = [f"{name}: {one!r} and {two!r}" for name, one, two in _changes(a.protocol, b.protocol)]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    raise InputError(
        f"{a.name} ({a.id}) and {b.name} ({b.id}) were scored under other protocols ({'; '.join(names[:3])}{more}): "
        "evaluate both under one"
    )


def _changes(a: Any, b: Any, name: str = "") -> list[tuple[str, Any, Any]]:
    """Return the name and both values of every leaf in which two trees differ."""
    if isinstance(a, dict) and isinstance(b, dict):
        keys = sorted(a.keys() | b.keys())
        return [c for key in keys for c in _changes(a.get(key), b.get(key), f"{name}.{key}" if name else key)]
    return [(name, a, b)] if a != b else []


def _check_clips(a: Row, b: Row, scores_a: dict[str, Any], scores_b: dict[str, Any]) -> None:
    if not scores_a or not scores_b:
        row = b if scores_a else a
        why = "it is cited" if row.source else "the row has none"
        raise InputError(f"{row.name} ({row.id}) has no scores of clips ({why}): compare rows that were measured here")
    for row, keys, others in ((a, scores_a, scores_b), (b, scores_b, scores_a)):
        missing = [key for key in others if key not in keys]
        if missing:
            names = ", ".join(missing[:3]) + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
            raise InputError(f"{row.name} ({row.id}) has no score of clip {names}: evaluate both on the same clips")


def describe_differences(a: Row, b: Row, differences: Sequence[Difference]) -> str:
    """Return the comparison as text for a terminal."""
    lines = [f"A: {a.name} ({a.id})", f"B: {b.name} ({b.id})", f"under {a.protocol['name']} ({a.protocol_key})", ""]
    width = max(len(d.column) for d in differences)
    for d in differences:
        interval = f"[{d.interval['low']:+.4g}, {d.interval['high']:+.4g}]" if d.interval else "no interval, one clip"
        what = "|B - 1| - |A - 1|" if d.higher_is_better is None else "B - A"
        verdict = f"{d.better} is better" if d.better else "undecided"
        lines.append(f"{d.column:{width}}  {what} = {d.mean:+.4g} {interval}, {d.n} clips: {verdict}")
    lines += ["", "Intervals: 95 %, bootstrap over clips, widened for few. Clips that differ most, A against B:"]
    for d in differences:
        clips = ", ".join(f"{key} ({first:.4g}, {second:.4g})" for key, first, second in d.clips[:CLIPS_NAMED])
        lines.append(f"{d.column:{width}}  {clips}")
    missing = [column for column in boards([a, b])[0].columns if column not in {d.column for d in differences}]
    if missing:
        lines += ["", f"Not compared, without scores of single clips: {', '.join(missing)}"]
    return "\n".join(map(single_line, lines))
