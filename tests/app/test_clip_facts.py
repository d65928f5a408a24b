"""What is said of a clip before it is painted, on the cases of other packages' files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lvcd.app.clip_facts import find_facts, missing_numbers, picture_as_read, write_pictures
from lvcd.io.images import read_image, write_png
from lvcd.io.reader import open_frames
from lvcd.lineart.reading import DrawingSettings, read_drawing


def drawing(n: int = 0, paper: int = 255, trace: bool = False) -> np.ndarray:
    image = np.full((64, 96, 3), paper, np.uint8)
    cv2.rectangle(image, (10 + n, 14), (44 + n, 50), (0, 0, 0), 2)
    if trace:
        cv2.line(image, (50, 8), (50, 56), (0, 170, 0), 2)
    return image


@pytest.mark.parametrize(
    ("numbers", "words"),
    [([1, 2, 3], ""), ([1, 3], "2"), ([9, 1, 5], "2 to 4, 6 to 8"), ([7], ""), (range(0, 40, 2), None)],
)
def test_missing_numbers(numbers, words):
    assert missing_numbers(list(numbers)) == (words if words is not None else "1, 3, 5, 7, 9, 11, 13, 15 and 11 more")


def test_facts_of_a_folder(tmp_path):
    for number, image in ((1, drawing(0, trace=True)), (2, drawing(3)), (3, drawing(3)), (6, drawing(6))):
        write_png(tmp_path / f"A{number:04d}.png", image)
    with open_frames(tmp_path) as clip:
        facts = find_facts(clip, DrawingSettings())
    assert facts.numbers == [1, 2, 3, 6] and facts.size == (64, 96)
    text = "\n".join(facts.words)
    for word in ("4 drawings", "4 to 5", "dark lines", "green", "white", "1 of them repeats"):
        assert word in text


def test_paper_is_described(tmp_path):
    write_png(tmp_path / "a1.png", drawing(paper=250))
    with open_frames(tmp_path) as clip:
        assert any("250 250 250" in line for line in find_facts(clip, DrawingSettings()).words)


def test_what_is_read_is_shown_black_and_in_color():
    shown = picture_as_read(read_drawing(drawing(paper=240, trace=True)))
    assert (shown[0, 0] == 255).all() and shown[14, 20].max() < 30
    r, g, b = shown[30, 50].astype(int)
    assert g > r + 40 and g > b + 40


def test_pictures_of_transparent_drawings_are_over_white(tmp_path):
    clear = np.dstack([drawing(), np.where(drawing()[..., 0] < 255, 255, 0).astype(np.uint8)])
    (tmp_path / "in").mkdir()
    write_png(tmp_path / "in" / "a1.png", clear)
    with open_frames(tmp_path / "in") as clip:
        write_pictures(clip, tmp_path / "view")
    picture = read_image(tmp_path / "view" / "drawings" / "00000.png")
    assert picture.shape == (64, 96, 3) and (picture[0, 0] == 255).all() and (picture[14, 20] == 0).all()
    assert read_image(tmp_path / "view" / "strip" / "00000.png").shape == (64, 96, 3)
