"""Docstrings are text and no Markdown: what would be a link, like sources[s][t], stays as it is written."""

from __future__ import annotations

import re
from typing import Any

import griffe


class PlainDocstrings(griffe.Extension):
    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring:
            parts = re.split(r"(`[^`]*`)", obj.docstring.value)
            obj.docstring.value = "".join(p if p.startswith("`") else p.replace("][", r"]\[") for p in parts)
