"""A click on a painted drawing: the region under it, and no line."""

from __future__ import annotations

import numpy as np
import pytest

from lvcd.app.region_strokes import add_stroke, parse_color, region_at
from lvcd.errors import InputError
from lvcd.io.images import read_image
from lvcd.lineart.reading import Drawing


@pytest.fixture
def halves() -> Drawing:
    ink = np.zeros((20, 40), np.float32)
    ink[:, 19:21] = 1
    return Drawing(ink)


def test_a_click_takes_its_side_of_a_line(halves):
    frame = np.full((20, 40, 3), 200, np.uint8)
    left, right = (region_at(halves, frame, 0, x, 0.5) for x in (0.1, 0.999))
    assert left[:, :19].all() and not left[:, 19:].any() and right[:, 21:].all() and not right[:, :21].any()
    with pytest.raises(InputError):
        region_at(halves, frame, 0, 0.5, 0.5)


def test_strokes_are_added_to_a_file(halves, tmp_path):
    frame = np.full((20, 40, 3), 200, np.uint8)
    file = tmp_path / "colors" / "strokes.png"
    add_stroke(file, region_at(halves, frame, 0, 0.1, 0.5), (1, 2, 3))
    add_stroke(file, region_at(halves, frame, 0, 0.9, 0.5), (4, 5, 6))
    strokes = read_image(file)
    assert strokes[0, 0].tolist() == [1, 2, 3, 255] and strokes[0, 39].tolist() == [4, 5, 6, 255]
    assert strokes[:, 19:21, 3].max() == 0


@pytest.mark.parametrize(
    ("text", "color"),
    [("#e0a080", (224, 160, 128)), ("#E0A080ff", (224, 160, 128)), ("rgba(224.4, 160, 128, 1)", (224, 160, 128))],
)
def test_colors_of_browsers(text, color):
    assert parse_color(text) == color


@pytest.mark.parametrize("text", ["", "red", "#12345", "rgb(1, 2)", "rgb(300, 0, 0)", "url(x)"])
def test_what_is_no_color_is_one_line(text):
    with pytest.raises(InputError):
        parse_color(text)
