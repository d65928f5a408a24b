"""The interface of a method.

letters: n frames to paint, H W pixels
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor


class Method(Protocol):
    """A method paints a clip from its first frame: it sees line art and that one colored frame, never an original.

    A method of one's own needs no base class, only these three. One with the attribute `heeds_keys = True` is given a
    further argument where a protocol gives more frames, `keys`, as `KeyedMethod` has it; all others know the reference
    alone.
    """

    name: str
    """Its name on the board."""
    settings: dict[str, Any]
    """All that its frames depend on, as JSON values."""

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        """Return the painted frames (n 3 H W) in [0, 1].

        reference: the colored first frame (3 H W) in [0, 1]. reference_sketch: its line art (1 H W). sketches:
        line art of the frames after it (n 1 H W), in [0, 1], line = 1. seed: of all noise; equal arguments give equal
        frames.
        """
        ...


class KeyedMethod(Method, Protocol):
    """A method that heeds several colored frames of a clip."""

    heeds_keys: bool
    """True."""

    def paint(
        self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int, keys: Mapping[int, Tensor] = {}
    ) -> Tensor:
        """Return the painted frames (n 3 H W) in [0, 1], the keys among them, which are not scored.

        keys: number of a sketch, from 0 -> its colored frame (3 H W) in [0, 1], those first that count most. The other
        arguments are those of `Method.paint`. A `NetworkMethod` takes keys in its other two functions as well.
        """
        ...


@runtime_checkable
class NetworkMethod(Method, Protocol):
    """A method whose network paints first and whose result is made of that. What the network paints is kept on disk, so
    that methods with the same network and another finish, as `ours` and `ours_flat`, paint once."""

    network_settings: dict[str, Any]
    """All that the network's frames depend on, as JSON values."""

    def paint_by_network(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        """Return the network's frames (n 3 H W) in [0, 1]; the arguments are those of `paint`."""
        ...

    def finish(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, painted: Tensor) -> Tensor:
        """Return the method's frames (n 3 H W) in [0, 1] from the network's, rounded to 8 bits: so `paint` does it."""
        ...
