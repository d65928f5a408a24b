"""Maps over frames: the glow is where the weight is, the ring where the point is."""

from __future__ import annotations

import numpy as np

from lvcd.report.sheets import HEAT_COLOR, contact_sheet, draw_ring, overlay_heatmap


def test_heat_glows_where_the_weight_is():
    frame = np.full((40, 60, 3), 90, np.uint8)
    weights = np.zeros((4, 6), np.float32)
    weights[1, 4] = 0.002  # the largest of a map is full glow, however small
    glowing = overlay_heatmap(frame, weights)
    assert glowing.shape == frame.shape and glowing.dtype == np.uint8
    assert (
        np.abs(glowing[15, 45].astype(int) - HEAT_COLOR).max() <= 40
    )  # smoothly scaled: the very peak is a little lower
    assert (glowing[35, 5] == 85).all()  # 90 greyed and darkened
    assert (frame == 90).all()


def test_heat_of_nothing_is_the_darkened_frame():
    frame = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    flat = overlay_heatmap(frame, np.zeros((2, 4)))
    assert (flat == flat[..., :1]).all() and flat.max() <= 168


def test_mark_rings_the_point():
    frame = np.full((50, 80, 3), 120, np.uint8)
    ringed = draw_ring(frame, y=20, x=60)
    rows, columns = np.nonzero((ringed != frame).any(-1))
    assert (rows.min() + rows.max()) / 2 == 20 and (columns.min() + columns.max()) / 2 == 60
    assert (ringed[20, 60] == 120).all() and (frame == 120).all()


def test_a_sheet_has_a_row_for_each_label_and_empty_places():
    frames = [np.full((10, 20, 3), level, np.uint8) for level in (0, 100, 200)]
    sheet = np.asarray(contact_sheet({"one": [None, frames[1]], "two": [frames[2]]}, scale=2))
    assert sheet.shape == (6 + 2 * (16 + 20 + 6), 6 + 2 * (40 + 6), 3)
    assert (
        (sheet[22:42, 6:46] == 255).all() and (sheet[22:42, 52:92] == 100).all() and (sheet[64:84, 6:46] == 200).all()
    )
    bare = np.asarray(contact_sheet({"": frames, " ": [frame[..., 0] for frame in frames]}, labels=False))
    assert bare.shape == (6 + 2 * 16, 6 + 3 * 26, 3) and (bare[22:32, 58:78] == 200).all()
