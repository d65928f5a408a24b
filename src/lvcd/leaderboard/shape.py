"""What a line of the board holds: a file that somebody else wrote is checked before anything is done with it."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any


class _Path:
    """A path below the folder of the file: a page embeds what lies there, and a foreign file could point anywhere."""


class _Each:
    """A list or a mapping of things of one shape."""

    def __init__(self, kind: Any, shape: Any):
        self.kind, self.shape = kind, shape


_NUMBER = (int, float, type(None))
_TEXT = (str, type(None))
_COUNT = (int, type(None))
_SCORES = _Each(dict, _NUMBER)
_INTERVAL = {"low": (int, float), "high": (int, float)}
SHAPE = {
    "id": str,
    "time": str,
    "method": {"name": str, "settings": dict},
    "protocol": {
        "name": str, "data": _TEXT, "width": _COUNT, "height": _COUNT, "frames": _COUNT, "clips": _COUNT,
        "reference": _TEXT, "sketch": _TEXT, "binarized": (bool, type(None)), "metrics": dict,
    },  # fmt: skip
    "n": _COUNT,
    "metrics": _Each(dict, {"value": _NUMBER, "n": _COUNT, "interval": [_INTERVAL], "notes": _Each(list, str),
                            "higher_is_better": (bool, type(None))}),
    "clips": _Each(list, {"key": str, "scores": _SCORES, "media": _Path}),
    "source_media": _Path,
    "leaks": _Each(dict, {"n": int, "scores": _SCORES, "note": _TEXT}),
    "warnings": _Each(list, str),
    "cost": dict,
    "provenance": dict,
    "source": _TEXT,
}  # fmt: skip
"""What a line holds: a type or several, a mapping with at least these keys, [shape] = that or null."""


def check(value: Any, shape: Any = SHAPE, where: str = "") -> None:
    """ValueError names the first place at which `value` has another shape."""
    if isinstance(shape, list):
        if value is not None:
            check(value, shape[0], where)
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            raise ValueError(f"holds no row ({where or 'it'} is no mapping)")
        for key, part in shape.items():
            if key not in value:
                raise ValueError(f"holds no whole row ({where}{key} is missing)")
            check(value[key], part, f"{where}{key}.")
    elif isinstance(shape, _Each):
        if not isinstance(value, shape.kind):
            raise ValueError(f"holds no row ({where[:-1]} is no {shape.kind.__name__})")
        for item in value.values() if shape.kind is dict else value:
            check(item, shape.shape, where)
    elif shape is _Path:
        if value is not None and not (isinstance(value, str) and _below(value)):
            raise ValueError(f"points outside its folder ({where[:-1]} is {value!r})")
    elif not isinstance(value, shape) or (isinstance(value, bool) and shape in (_NUMBER, _COUNT, int)):
        raise ValueError(f"holds no row ({where[:-1]} is {value!r})")


def _below(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and parts[0] != "/" and ".." not in parts and "\\" not in path and "\0" not in path
