"""Extractors of one's own: a class named on the command line as package.module:Class."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from lvcd.errors import InputError

from .extractor import Array, SketchExtractor

_TARGET = re.compile(r"(?P<module>[^\W\d]\w*(\.[^\W\d]\w*)*)[.:](?P<name>[^\W\d]\w*)")


def is_target(name: str) -> bool:
    """Return whether an extractor's name is that of a class: package.module:Class, or package.module.Class."""
    return _TARGET.fullmatch(name) is not None


class CustomExtractor:
    """A `SketchExtractor` of one's own, checked: its class is imported and called with device=, and weights= if given.

    target         package.module:Class or package.module.Class
    import_path    folder that modules are also imported from
    InputError: it cannot be imported or made, or does not have the interface, or draws something else than it should.
    """

    def __init__(self, target: str, device: str, weights: Path | None, import_path: Path | None):
        self._target = target
        make = _import(target, import_path)
        options: dict[str, Any] = {"device": device} if weights is None else {"device": device, "weights": weights}
        try:
            inspect.signature(make).bind(**options)
        except (TypeError, ValueError) as error:
            given = " and ".join(f"{name}=" for name in options)
            raise InputError(f"extractor {target} cannot be called with {given} ({error}): accept them") from error
        self._extract: SketchExtractor = make(**options)
        settings = getattr(self._extract, "settings", None)
        if not callable(self._extract) or not isinstance(settings, dict) or not isinstance(settings.get("name"), str):
            raise InputError(
                f"extractor {target} is no SketchExtractor: it needs settings, a dict with a name, and "
                "__call__(first, frames)"
            )
        self.settings: dict[str, Any] = {**settings, "target": target.replace(":", "."), "code_sha256": _digest(make)}
        try:
            json.dumps(self.settings)
        except (TypeError, ValueError) as error:
            raise InputError(f"settings of extractor {target} are no JSON values ({error}): change them") from error

    def __call__(self, first: int, frames: list[Array]) -> list[Array]:
        drawings = list(self._extract(first, frames))
        if len(drawings) != len(frames):
            raise InputError(f"extractor {self._target} drew {len(drawings)} of {len(frames)} frames: return all")
        for frame, drawing in zip(frames, drawings):
            if not isinstance(drawing, np.ndarray) or (drawing.shape, drawing.dtype) != (frame.shape[:2], np.uint8):
                what = f"{getattr(drawing, 'dtype', type(drawing).__name__)} {getattr(drawing, 'shape', '')}".strip()
                raise InputError(
                    f"extractor {self._target} drew {what} for a frame of {frame.shape[:2]}: return uint8 of that shape"
                )
        return drawings


def _import(target: str, import_path: Path | None) -> Any:
    found = _TARGET.fullmatch(target)
    assert found, target
    if import_path is not None and str(import_path) not in sys.path:
        sys.path.append(str(import_path))  # last, so that installed packages win
    try:
        make = getattr(importlib.import_module(found["module"]), found["name"], None)
    except Exception as error:  # a module of one's own raises whatever it likes
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(f"extractor {target} cannot be imported ({reason}): check its name and its file") from error
    if not callable(make):
        raise InputError(f"extractor {target} cannot be imported: {found['module']} has no class {found['name']}")
    return make


def _digest(make: Any) -> str:
    """SHA-256 of the file that the class is defined in, so that other code is another job; "" without a file."""
    try:
        file = inspect.getsourcefile(make)
    except TypeError:
        file = None
    return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else ""
