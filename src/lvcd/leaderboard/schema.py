"""What a line of the leaderboard's file must hold: somebody else's file is checked before anything is done with it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    ConfigDict,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
    with_config,
)
from typing_extensions import TypedDict

Number = StrictInt | StrictFloat
Scores = dict[StrictStr, Number | None]
"""Column -> value."""


def _below_its_folder(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or parts[0] == "/" or ".." in parts or "\\" in path or "\0" in path:
        raise ValueError("points outside its folder")
    return path


MediaPath = Annotated[StrictStr, AfterValidator(_below_its_folder)]
"""A path below the folder of the file: a page embeds what lies there, and a foreign file could point anywhere."""

_open = with_config(ConfigDict(extra="allow", allow_inf_nan=False))
_skipping = with_config(ConfigDict(extra="ignore", allow_inf_nan=False))


@_open
class Interval(TypedDict):
    """The interval of a value, see lvcd.metrics.base.bootstrap."""

    low: Number
    high: Number


@_open
class MetricReport(TypedDict):
    """The report of a metric, see lvcd.metrics.Reported.report."""

    value: Number | None
    n: StrictInt | None
    interval: Interval | None
    notes: list[StrictStr]
    higher_is_better: StrictBool | None


@_open
class ClipScores(TypedDict):
    """The scores of one clip, and what was painted of it."""

    key: StrictStr
    scores: Scores
    media: MediaPath | None


@_open
class MethodRecord(TypedDict):
    """The method of a row, see lvcd.evaluation.methods.Method."""

    name: StrictStr
    settings: dict[StrictStr, Any]


@_open
class ProtocolRecord(TypedDict):
    """The protocol of a row, see lvcd.evaluation.TestSet.protocol_record."""

    name: StrictStr
    data: StrictStr | None
    width: StrictInt | None
    height: StrictInt | None
    frames: StrictInt | None
    clips: StrictInt | None
    reference: StrictStr | None
    sketch: StrictStr | None
    binarized: StrictBool | None
    metrics: dict[StrictStr, Any]


@_open
class LeakRecord(TypedDict):
    """The result of one leak check, see lvcd.evaluation.leaks."""

    n: StrictInt
    scores: Scores
    note: StrictStr | None


@with_config(ConfigDict(extra="forbid", allow_inf_nan=False))
class RowRecord(TypedDict):
    """A complete line, see `Row`."""

    id: StrictStr
    time: StrictStr
    method: MethodRecord
    protocol: ProtocolRecord
    n: StrictInt | None
    metrics: dict[StrictStr, MetricReport]
    clips: list[ClipScores]
    source_media: MediaPath | None
    leaks: dict[StrictStr, LeakRecord]
    warnings: list[StrictStr]
    cost: dict[StrictStr, Any]
    provenance: dict[StrictStr, Any]
    source: StrictStr | None


@_skipping
class IntervalSummary(TypedDict):
    """The ends of an interval."""

    low: Number
    high: Number


@_skipping
class ReportSummary(TypedDict):
    """What a table shows of a report."""

    value: Number | None
    n: StrictInt | None
    interval: IntervalSummary | None
    notes: list[StrictStr]
    higher_is_better: StrictBool | None


@_skipping
class RowSummary(TypedDict):
    """What a table shows of a line: reading no more takes a tenth of the memory."""

    id: StrictStr
    time: StrictStr
    method: MethodRecord
    protocol: ProtocolRecord
    n: StrictInt | None
    metrics: dict[StrictStr, ReportSummary]
    warnings: list[StrictStr]
    cost: dict[StrictStr, Any]
    source: StrictStr | None


ROW = TypeAdapter(RowRecord)
SUMMARY = TypeAdapter(RowSummary)


def problem(error: ValidationError) -> str:
    """Return the first thing that is wrong with a line, in the words of a message after "line 3 "."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"] if not _names_a_type(part))
    if first["type"] == "json_invalid":
        return "is not JSON"
    if first["type"] == "extra_forbidden":
        return f"has {where}, which this version of lvcd does not know"
    if first["type"] == "missing":
        return f"holds an incomplete row ({where} is missing)"
    given = repr(first["input"])
    is_number = first["type"] in ("int_type", "float_type", "finite_number")
    reason = "this is no number" if is_number else first["msg"].removeprefix("Value error, ")
    return f"holds no row ({where or 'it'} is {given[:60]}: {reason[:1].lower()}{reason[1:]})"


def _names_a_type(part: int | str) -> bool:
    """Whether a part of a location names a member of a union, like int."""
    return part in ("int", "float", "str", "bool") or (isinstance(part, str) and "[" in part and part.endswith("]"))
