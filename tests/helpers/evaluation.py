"""Methods that cost nothing, on real shards, for the tests of evaluation."""

from __future__ import annotations

from lvcd.evaluation import Protocol, TestSet
from lvcd.metrics import PSNR, SegmentAccuracy, Suite
from tests.helpers.paths import TEST_STYLE


def cartoons(**settings) -> TestSet:
    return TestSet(Protocol(**{"name": "test", "shards": TEST_STYLE, "frames": 3, "leaks": 0, **settings}))


def suite() -> Suite:
    return Suite([PSNR(), SegmentAccuracy()])


class Paints:
    """A method that is a function of (reference, sketches)."""

    def __init__(self, paint, name: str = "test"):
        self.name, self.settings, self._paint, self.seeds = name, {"kind": name}, paint, []

    def paint(self, reference, reference_sketch, sketches, seed):
        self.seeds.append(seed)
        return self._paint(reference, sketches)


def held(reference, sketches):
    return reference.expand(len(sketches), -1, -1, -1)


def noisy(reference, sketches):
    """Depends on the reference and the sketches, and is never the original."""
    return (0.7 * reference + 0.3 * sketches).clamp(0, 1)
