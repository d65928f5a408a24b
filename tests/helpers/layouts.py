"""Frame layouts and windows as hypothesis draws them."""

from __future__ import annotations

from hypothesis import strategies as st

from lvcd.frames import NOBODY, FrameLayout

GAINS = (1.0, 10.0, 0.25, 3.0)


@st.composite
def layouts(draw, most: int = 7) -> FrameLayout:
    """Any table of up to `most` frames, sensible or not."""
    t = draw(st.integers(1, most))
    rows = draw(st.integers(1, 3))

    def table(cell):
        return tuple(draw(st.lists(st.tuples(*[cell] * t), min_size=rows, max_size=rows)))

    first, *others = table(st.integers(0, t - 1))
    nobody = draw(st.lists(st.integers(0, t - 1), max_size=t)) if draw(st.booleans()) else []
    sources = (first, *(tuple(NOBODY if frame in nobody else s for frame, s in enumerate(row)) for row in others))
    gain = table(st.sampled_from(GAINS)) if draw(st.booleans()) else None
    return FrameLayout(draw(st.integers(0, t - 1)), sources, gain, draw(st.sampled_from((None, 0, 2))))


@st.composite
def windows(draw) -> tuple[int, int]:
    """window, overlap"""
    window = draw(st.integers(1, 20))
    return window, draw(st.integers(0, window - 1))
