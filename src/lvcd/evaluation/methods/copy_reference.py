"""The reference itself as every frame: what any method must beat."""

from __future__ import annotations

from typing import Any

from torch import Tensor


class CopyReference:
    """`Method` that copies the reference."""

    name = "copy_reference"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"kind": "copy_reference"}

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        return reference.expand(len(sketches), -1, -1, -1).clone()
