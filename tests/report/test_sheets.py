"""Maps over frames: the glow is where the weight is, the ring where the point is."""

from __future__ import annotations

import numpy as np

from lvcd.report.sheets import GLOW, heat, mark


def test_heat_glows_where_the_weight_is():
    frame = np.full((40, 60, 3), 90, np.uint8)
    weights = np.zeros((4, 6), np.float32)
    weights[1, 4] = 0.002  # the largest of a map is full glow, however small
    glowing = heat(frame, weights)
    assert glowing.shape == frame.shape and glowing.dtype == np.uint8
    assert np.abs(glowing[15, 45].astype(int) - GLOW).max() <= 40  # smoothly scaled: the very peak is a little lower
    assert (glowing[35, 5] == 85).all()  # 90 greyed and darkened
    assert (frame == 90).all()


def test_heat_of_nothing_is_the_darkened_frame():
    frame = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    flat = heat(frame, np.zeros((2, 4)))
    assert (flat == flat[..., :1]).all() and flat.max() <= 168


def test_mark_rings_the_point():
    frame = np.full((50, 80, 3), 120, np.uint8)
    ringed = mark(frame, y=20, x=60)
    rows, columns = np.nonzero((ringed != frame).any(-1))
    assert (rows.min() + rows.max()) / 2 == 20 and (columns.min() + columns.max()) / 2 == 60
    assert (ringed[20, 60] == 120).all() and (frame == 120).all()
