"""Sketches are 1 on a line and 0 on paper, whatever they were made from."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.lineart.reading import DrawingReader
from lvcd.lineart.sketch import to_sketch
from lvcd.lineart.xdog import xdog

cv2.setNumThreads(1)


def coverage_of(seed: int, height: int = 40, width: int = 56) -> np.ndarray:
    """(H W) uint8, 255 on a line: a few strokes, some of them grey at the edges."""
    rng = np.random.default_rng(seed)
    canvas = np.zeros((height, width), np.uint8)
    for _ in range(int(rng.integers(1, 5))):
        a, b = rng.integers(0, [width, height], (2, 2))
        b = b if (a != b).any() else (a + 9) % height
        cv2.line(canvas, a.tolist(), b.tolist(), 255, int(rng.integers(1, 3)), cv2.LINE_AA)
    return canvas


def rgba(color, alpha: np.ndarray) -> np.ndarray:
    return np.dstack([np.full((*alpha.shape, 3), color, np.uint8), alpha])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.tuples(*[st.integers(0, 255)] * 3))
def test_one_drawing_gives_one_sketch_however_it_is_shown(seed, color):
    ink = coverage_of(seed)
    want = ink / 255
    shown = {
        "dark": [255 - ink, np.repeat(255 - ink[..., None], 3, 2), rgba(0, ink)[..., 3] ^ 255],
        "light": [ink, np.repeat(ink[..., None], 3, 2), np.dstack([ink, ink, ink, np.full_like(ink, 255)])],
        "alpha": [rgba(0, ink), rgba(255, ink), rgba(color, ink)],
    }
    for lines, images in shown.items():
        for image in images:
            assert DrawingReader([image]).lines == lines
            sketch = to_sketch(image, lines)
            assert sketch.shape == (1, *ink.shape) and sketch.dtype == torch.float32
            np.testing.assert_allclose(sketch[0], want, atol=1e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6))
def test_dark_lines_with_light_fill_on_transparency(seed):
    ink = coverage_of(seed)
    filled = np.zeros_like(ink)
    filled[5:-5, 5:-5] = 255
    alpha = np.maximum(ink, filled)
    value = np.where(filled > 0, 255 - ink, 0).astype(np.uint8)  # over the fill ink darkens; elsewhere it is black
    image = np.dstack([value, value, value, alpha])
    assert DrawingReader([image]).lines == "alpha"
    np.testing.assert_allclose(to_sketch(image, "alpha")[0], ink / 255, atol=1e-6)


def test_light_inks_of_several_colors_on_transparency():
    ink = coverage_of(3)
    image = rgba(255, ink)
    image[: len(ink) // 2, :, 2] = 120  # half of the drawing is yellow
    sketch = to_sketch(image, "alpha")[0].numpy()
    assert (sketch[ink == 255] > 0.8).all() and (sketch[ink == 0] == 0).all()


@given(st.integers(0, 254))
def test_grey_on_white_is_the_original_rule_exactly(value):
    image = np.full((8, 8), 255, np.uint8)
    image[2:4] = value
    want = 1 - torch.from_numpy(image).float() / 255
    assert torch.equal(to_sketch(image, "dark")[0], want)
    assert torch.equal(to_sketch(np.repeat(image[..., None], 3, 2), "dark")[0], want)


@pytest.mark.parametrize("lines", ["dark", "light", "alpha"])
@pytest.mark.parametrize("value", [0, 255])
@pytest.mark.parametrize("channels", [(), (3,), (4,)])
def test_a_blank_frame_has_no_line(lines, value, channels):
    sketch = to_sketch(np.full((8, 9, *channels), value, np.uint8), lines)
    assert sketch.shape == (1, 8, 9) and not sketch.any()


def test_blank_frames_do_not_mislead_the_detection():
    ink = coverage_of(1)
    assert DrawingReader([np.full_like(ink, 255), 255 - ink]).lines == "dark"
    assert DrawingReader([np.zeros_like(ink), ink]).lines == "light"
    assert DrawingReader([np.zeros((8, 8, 4), np.uint8)]).lines == "alpha"


@pytest.mark.parametrize(
    "bad",
    [
        np.zeros((8, 8), np.float32), np.zeros(8, np.uint8), np.zeros((8, 8, 2), np.uint8),
        np.zeros((0, 8), np.uint8), np.zeros((2, 8, 8, 3), np.uint8), [[0, 255]], None,
    ],
)  # fmt: skip
def test_bad_arrays_are_named(bad):
    with pytest.raises(InputError, match="drawing"):
        to_sketch(bad, "dark")
    with pytest.raises(InputError, match="drawing"):
        DrawingReader([bad])


def test_bad_calls_are_named():
    with pytest.raises(InputError, match="sideways"):
        to_sketch(np.zeros((8, 8), np.uint8), "sideways")
    with pytest.raises(InputError, match="at least one"):
        DrawingReader([])
    with pytest.raises(InputError, match="n 3 H W"):
        xdog(torch.zeros(3, 8, 8))


# ---------------------------------------------------------------------------------------------------------------- xdog


def frames_of(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1


def precision_and_recall(sketch: np.ndarray, lines: np.ndarray, reach: float) -> tuple[float, float]:
    """sketch and lines (H W) bool: share of found pixels within `reach` px of a line, and the other way round."""
    to_line = cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 5)
    to_sketch_ = cv2.distanceTransform((~sketch).astype(np.uint8), cv2.DIST_L2, 5)
    return float((to_line[sketch] <= reach).mean()), float((to_sketch_[lines] <= reach).mean())


@pytest.mark.parametrize(
    "paper, fill, ink, thick",
    [
        ((235, 225, 200), (60, 150, 220), (10, 10, 10), 1),  # an outline
        ((90, 40, 40), (40, 90, 40), (5, 5, 15), 2),  # on dark colors
        ((230, 220, 210), (200, 60, 60), None, 0),  # no outline, only colors
    ],
)
def test_xdog_finds_a_drawn_circle(paper, fill, ink, thick):
    image = np.full((64, 96, 3), paper, np.uint8)
    cv2.circle(image, (48, 32), 20, fill, -1, cv2.LINE_AA)
    if ink:
        cv2.circle(image, (48, 32), 20, ink, thick, cv2.LINE_AA)
    want = np.zeros((64, 96), np.uint8)
    cv2.circle(want, (48, 32), 20, 255, max(1, thick))
    sketch = xdog(frames_of(image))
    assert sketch.shape == (1, 1, 64, 96) and sketch.min() >= 0 and sketch.max() <= 1
    precision, recall = precision_and_recall(sketch[0, 0].numpy() > 0.5, want > 0, 1.5)
    assert precision > 0.98 and recall > 0.98


@pytest.mark.parametrize("height, width", [(64, 96), (320, 576)])
def test_xdog_finds_the_line_art_of_cartoons(height, width):
    for seed in range(3):
        clip = draw(seed, 1, height, width)
        sketch = xdog(frames_of(clip.frames[0]))[0, 0].numpy()
        precision, recall = precision_and_recall(sketch > 0.5, clip.lines[0] > 127, 1.5)
        assert precision > 0.97 and recall > 0.97
        far = cv2.dilate(clip.lines[0], np.ones((7, 7), np.uint8)) == 0
        assert sketch[far].max() < 0.05, "the colors of fills must not show"


def test_xdog_draws_a_thick_stroke_once():
    image = np.full((320, 576, 3), 230, np.uint8)
    cv2.line(image, (100, 160), (476, 160), (10, 10, 10), 7)
    column = xdog(frames_of(image))[0, 0, :, 288] > 0.5
    assert int(column.diff().sum()) == 2, "one stroke: paper to line, line to paper"


@pytest.mark.parametrize("value", [-1.0, -0.8, 0.0, 1.0])
def test_xdog_of_a_blank_image_is_blank(value):
    assert not xdog(torch.full((2, 3, 48, 64), value)).any()


def test_xdog_of_a_batch_is_xdog_of_each():
    frames = torch.cat([frames_of(draw(seed, 1, 64, 96).frames[0]) for seed in range(3)])
    torch.testing.assert_close(xdog(frames), torch.cat([xdog(f[None]) for f in frames]))
