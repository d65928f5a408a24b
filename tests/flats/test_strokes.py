"""Strokes of color over a filled drawing, on squares whose regions are known."""

from __future__ import annotations

import numpy as np
import pytest

from lvcd.flats.strokes import paint_strokes

RED, BLUE, GREEN = (200, 30, 40), (20, 60, 220), (10, 180, 90)
INK = (5, 5, 20)


@pytest.fixture
def drawing():
    """Three fields beside each other, with a soft line between them => frame uint8 (H W 3), ink (H W)."""
    ink = np.zeros((24, 48), np.float32)
    for x in (15, 31):
        ink[:, x] = 1
        ink[:, [x - 1, x + 1]] = 0.5
    fill = np.full((24, 48, 3), RED, np.float32)
    frame = np.rint(fill + ink[..., None] * (np.array(INK) - fill)).astype(np.uint8)
    return frame, ink


def strokes(*marks) -> np.ndarray:
    found = np.zeros((24, 48, 4), np.uint8)
    for color, rows, columns in marks:
        found[rows, columns] = (*color, 255)
    return found


def test_a_region_takes_exactly_the_color_and_lines_stay(drawing):
    frame, ink = drawing
    found, notes = paint_strokes(frame, ink, None, strokes((BLUE, slice(10, 12), slice(4, 9))))
    assert notes == []
    assert (found[:, :14] == BLUE).all() and (found[:, 17:] == frame[:, 17:]).all()
    assert (found[:, 15] == INK).all()  # the line itself
    half = (np.array(BLUE) + np.array(INK)) / 2
    assert np.abs(found[:, 14].astype(float) - half).max() <= 1.5  # its soft edge mixes with the new fill


def test_a_stroke_over_several_regions_sets_each(drawing):
    frame, ink = drawing
    found, _ = paint_strokes(frame, ink, None, strokes((GREEN, slice(10, 12), slice(4, 40))))
    assert all((found[:, x] == GREEN).all() for x in (2, 20, 45))


def test_running_over_a_line_by_a_little_is_not_meant(drawing):
    frame, ink = drawing
    found, _ = paint_strokes(frame, ink, None, strokes((GREEN, slice(10, 11), slice(4, 19))))
    assert (found[:, 4] == GREEN).all() and (found[:, 20] == RED).all()  # 2 or 3 px behind the line


def test_two_colors_in_one_region_the_one_of_most_pixels_counts_and_it_is_said(drawing):
    frame, ink = drawing
    found, notes = paint_strokes(
        frame, ink, None, strokes((GREEN, slice(4, 6), slice(2, 6)), (BLUE, slice(14, 18), slice(2, 12)))
    )
    assert (found[:, 4] == BLUE).all()
    assert len(notes) == 1 and "#143cdc" in notes[0] and "#0ab45a" in notes[0]


def test_strokes_on_lines_alone_and_soft_edges_change_nothing(drawing):
    frame, ink = drawing
    faint = strokes((GREEN, slice(2, 20), slice(2, 12)))
    faint[..., 3] = faint[..., 3] // 3
    for given in (strokes((GREEN, slice(0, 24), slice(15, 16))), faint):
        found, notes = paint_strokes(frame, ink, None, given)
        assert np.array_equal(found, frame) and notes == []


def test_clear_paper_is_painted(drawing):
    frame, ink = drawing
    clear = np.dstack([frame, np.where(ink > 0, 255, 0).astype(np.uint8)])
    found, _ = paint_strokes(clear, ink, None, strokes((BLUE, slice(10, 12), slice(20, 26))))
    assert (found[:, 22] == (*BLUE, 255)).all() and (found[:, 4, 3] == 0).all()


def test_a_trace_line_that_shows_the_fill_beside_it_goes_with_it(drawing):
    frame, ink = drawing
    trace = np.zeros_like(ink)
    trace[:, 7] = 1  # parts the first field in two; its pixels are painted over in red
    found, _ = paint_strokes(frame, ink, trace, strokes((BLUE, slice(8, 14), slice(1, 5))), gap=0.0)
    assert (found[:, :7] == BLUE).all() and (found[:, 8:14] == RED).all()
