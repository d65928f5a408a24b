"""`lvcd colorize --show-regions`: each region in a color of its own, before anything is painted."""

from __future__ import annotations

import numpy as np

from lvcd.cli import main
from lvcd.flats.region_picture import GAP_CLOSED, RegionColors
from lvcd.io.images import read_image, write_png


def box(left: int, gap: int = 0) -> np.ndarray:
    """The lines of a box of 30 px (60 80), with a gap in its upper side."""
    lines = np.zeros((60, 80), np.float32)
    lines[15:45, left : left + 30] = 1
    lines[17:43, left + 2 : left + 28] = 0
    lines[15:17, left + 12 : left + 12 + gap] = 0
    return lines


def test_regions_keep_their_colors_and_closed_gaps_are_red():
    draw = RegionColors()
    (first, count, gaps), (second, *_) = draw(box(10)), draw(box(14))
    assert (count, gaps) == (2, 0)
    assert tuple(first[30, 25]) == tuple(second[30, 29]) != tuple(first[2, 2]) == tuple(second[2, 2])
    third, count, gaps = draw(box(18, gap=4))
    assert (count, gaps) == (2, 1) and (third == GAP_CLOSED).all(-1).any()
    assert tuple(third[30, 33]) == tuple(first[30, 25])
    assert draw(box(18, gap=4), gap=0.0)[1:] == (1, 0)


def test_nothing_is_painted(tmp_path, capsys):
    (tmp_path / "shot").mkdir()
    for i in range(2):
        sketch = (255 * (1 - box(10 + i))).astype(np.uint8)
        write_png(tmp_path / "shot" / f"{i}.png", np.repeat(sketch[..., None], 3, -1))
    write_png(tmp_path / "key.png", np.full((60, 80, 3), 200, np.uint8))
    words = ["--sketches", tmp_path / "shot", "--reference", tmp_path / "key.png", "--output", tmp_path / "out"]
    assert main(["colorize", "--show-regions", *map(str, words)]) == 0
    assert "2 to 2 regions in 2 drawings, 0 gaps" in capsys.readouterr().out
    shown = [read_image(file) for file in sorted((tmp_path / "out").glob("*.png"))]
    assert len(shown) == 2 and len(np.unique(shown[0].reshape(-1, 3), axis=0)) == 3
    assert main(["colorize", "--show-regions", *map(str, words), "--gap", "3"]) == 2  # it is there already
