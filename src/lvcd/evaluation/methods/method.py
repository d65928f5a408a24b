"""What every method does. letters: n frames to paint, H W pixels"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor


class Method(Protocol):
    """Paints a clip from its first frame. It sees line art and the one colored frame, never an original."""

    name: str
    """As a board shows it."""
    settings: dict[str, Any]
    """All that its answers depend on, as JSON values."""

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        """reference (3 H W) and its sketch (1 H W), sketches (n 1 H W) of the frames after it => frames (n 3 H W).

        All in [0, 1], line = 1. The same arguments give the same frames.
        """
        ...
