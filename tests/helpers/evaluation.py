"""Methods that cost nothing, on real shards, for the tests of evaluation."""

from __future__ import annotations

from lvcd.evaluation import Protocol, TestSet
from lvcd.metrics import PSNR, SegmentAccuracy, Suite
from tests.helpers.paths import TEST_STYLE


def cartoons(**settings) -> TestSet:
    """Return the bundled clips of another style as a test set, 3 frames of each."""
    return TestSet(Protocol(**{"name": "test", "shards": TEST_STYLE, "frames": 3, "leaks": 0, **settings}))


def two_metrics() -> Suite:
    """Return a suite that needs no weights."""
    return Suite([PSNR(), SegmentAccuracy()])


class FunctionMethod:
    """A method that is a function of (reference, sketches), and keeps the seeds it was given."""

    def __init__(self, paint, name: str = "test"):
        self.name, self.settings, self._paint, self.seeds = name, {"kind": name}, paint, []

    def paint(self, reference, reference_sketch, sketches, seed):
        self.seeds.append(seed)
        return self._paint(reference, sketches)


class DarkenedMethod:
    """A method whose network paints `noisy`, and which then darkens it by a factor; the network counts its clips."""

    def __init__(self, factor: float):
        self.name, self.network_settings, self.painted, self._factor = f"times {factor}", {"kind": "noisy"}, 0, factor
        self.settings = {**self.network_settings, "factor": factor}

    def paint(self, reference, reference_sketch, sketches, seed):
        painted = self.paint_by_network(reference, reference_sketch, sketches, seed)
        return self.finish(reference, reference_sketch, sketches, painted)

    def paint_by_network(self, reference, reference_sketch, sketches, seed):
        self.painted += 1
        return noisy(reference, sketches)

    def finish(self, reference, reference_sketch, sketches, painted):
        return self._factor * painted


def repeat_reference(reference, sketches):
    """Return the reference for every sketch."""
    return reference.expand(len(sketches), -1, -1, -1)


def noisy(reference, sketches):
    """Return frames that depend on the reference and on the sketches, and are never the original."""
    return (0.7 * reference + 0.3 * sketches).clamp(0, 1)
