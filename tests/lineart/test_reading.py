"""A drawing is read alike, whatever it was drawn on and with: paper, pencil, polarity, transparency, trace lines."""

from __future__ import annotations

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.lineart.reading import DrawingReader, DrawingSettings, read_drawing
from lvcd.lineart.sketch import to_sketch

cv2.setNumThreads(1)

H, W = 180, 320
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
TRACES = {
    "red": (230, 30, 30), "blue": (40, 60, 220), "green": (0, 200, 0), "cyan": (0, 200, 220), "orange": (255, 140, 0),
    "violet": (140, 40, 200), "yellow-green": (150, 220, 30), "yellow": (250, 220, 40),
}  # fmt: skip


def coverage(smooth=True, step=0):
    """(H W) of ink and of a trace line, in [0, 1]: a box, a ball with an eye, the ground, and shadow lines in them."""
    kind = cv2.LINE_AA if smooth else cv2.LINE_8
    ink, trace = np.zeros((H, W), np.uint8), np.zeros((H, W), np.uint8)
    cv2.circle(ink, (230 + step, 75), 40, 255, 2, kind)
    cv2.circle(ink, (230 + step, 75), 10, 255, 2, kind)
    cv2.rectangle(ink, (40, 75), (110, 150), 255, 2, kind)
    cv2.line(ink, (0, 150), (W, 150), 255, 2, kind)
    cv2.line(trace, (40, 110), (110, 120), 255, 2, kind)
    cv2.ellipse(trace, (230 + step, 75), (30, 20), 0, 20, 160, 255, 2, kind)
    return ink / 255, trace / 255


INK, TRACE = coverage()
BLANK = cv2.dilate(np.maximum(INK, TRACE), np.ones((7, 7))) == 0


def paint(ink, trace=None, paper=WHITE, color=BLACK, trace_color=WHITE):
    picture = np.ones((H, W, 3)) * paper
    for cover, paint_ in ((trace, trace_color), (ink, color)):
        if cover is not None:
            picture = picture * (1 - cover[..., None]) + cover[..., None] * np.array(paint_)
    return picture


def u8(picture):
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def light():
    y, x = np.mgrid[:H, :W]
    return (1 - 0.35 * ((x / W - 0.3) ** 2 + (y / H - 0.2) ** 2))[..., None]


def grain(sigma, seed=0):
    return np.random.default_rng(seed).normal(0, sigma, (H, W, 3))


def pencil(ink, seed=0):
    """Coverage as a pencil leaves it on rough paper."""
    rough = cv2.GaussianBlur(np.random.default_rng(seed).random((H, W)), (0, 0), 1.2)
    return ink * (0.35 + 0.65 * (rough - rough.min()) / np.ptp(rough))


def assert_clean(drawing, line=0.6, paper=0.12):
    """Lines are lines and paper is blank."""
    assert np.quantile(drawing.ink[INK > 0.9], 0.1) > line
    assert np.quantile(drawing.lines[BLANK], 0.999) < paper and np.median(drawing.lines[BLANK]) == 0


# --- what was right stays ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("lines", ["dark", "light", "alpha"])
def test_clean_drawings_are_read_as_ever(lines, smooth):
    ink = u8(255 * coverage(smooth)[0])
    image = {
        "dark": 255 - ink,
        "light": ink,
        "alpha": np.dstack([np.zeros((H, W, 3), np.uint8), ink]),
    }[lines]
    reader = DrawingReader([image, np.roll(image, 5, 1)])
    assert reader.lines == lines and not reader.notes
    for picture in (image, np.repeat(image[..., None], 3, 2) if image.ndim == 2 else image):
        drawing = reader(picture)
        assert drawing.sketch.equal(to_sketch(picture, lines)) and not drawing.traces
    assert (drawing.alpha is not None) == (lines == "alpha")


def test_a_blank_sheet_between_drawings_is_blank():
    image = u8(paint(INK))
    reader = DrawingReader([image, np.full_like(image, 255), image])
    assert not reader(np.full_like(image, 255)).lines.any()


# --- paper ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [(250, 250, 250), (245, 240, 225), (220, 220, 220), (215, 230, 245)])
def test_even_paper_of_any_tone_is_blank(paper):
    drawing = read_drawing(u8(paint(INK, paper=paper)))
    np.testing.assert_allclose(drawing.ink, INK, atol=0.03)
    assert not drawing.lines[BLANK].any()


@pytest.mark.parametrize("color", [(0, 0, 0), (70, 70, 75)])
def test_sepia_paper_in_uneven_light(color):
    image = u8(paint(INK, paper=(235, 215, 180), color=color) * light() + grain(4))
    assert_clean(read_drawing(image), line=0.8)


def test_pencil_on_paper_with_a_shadow_over_half_of_it():
    shadow = np.where(np.arange(W) > 190, 0.72, 1)[None, :, None]
    assert_clean(
        read_drawing(u8(paint(pencil(INK), paper=(215, 210, 205), color=(60,) * 3) * shadow + grain(4))), 0.4, 0.25
    )


def test_solid_black_on_uneven_paper_stays_black():
    black = np.zeros((H, W))
    black[:60, :200] = 1
    image = u8(paint(np.maximum(INK, black), paper=(235, 215, 180)) * light() + grain(3))
    ink = read_drawing(image).ink
    assert ink[5:55, 5:195].min() > 0.8 and np.quantile(ink[BLANK & (black == 0)], 0.99) < 0.12


def test_sheets_of_one_clip_may_differ_a_little():
    reader = DrawingReader([u8(paint(INK, paper=(tone,) * 3)) for tone in (250, 247, 252)])
    assert not reader(u8(paint(INK, paper=(246,) * 3))).lines[BLANK].any()


def test_grey_fills_are_drawn():
    fill = np.zeros((H, W))
    fill[120:145, 45:105] = 0.2
    for paper in ((255,) * 3, (250,) * 3):
        assert read_drawing(u8(paint(np.maximum(INK, fill), paper=paper))).ink[130, 70] == pytest.approx(0.2, abs=0.02)


def test_paper_can_be_set():
    image = u8(paint(INK, paper=(220,) * 3))
    assert read_drawing(image, DrawingSettings(paper="white")).ink[BLANK].min() > 0.1


# --- pencil -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("color", [(170,) * 3, (120,) * 3, (200,) * 3, (164, 221, 237), (60, 110, 220), (200, 40, 40)])
def test_the_strongest_line_is_one_whatever_the_pencil(color):
    """Of a single hue: that is the ink, not a trace line."""
    drawing = read_drawing(u8(paint(INK, color=color)))
    np.testing.assert_allclose(drawing.ink, INK, atol=0.06)
    assert not drawing.traces


def test_hair_lines():
    ink = np.zeros((540, 960), np.uint8)
    cv2.circle(ink, (600, 250), 150, 120, 1, cv2.LINE_AA)
    drawing = read_drawing(255 - ink)
    assert np.median(drawing.ink[ink > 100]) > 0.9


# --- polarity ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paper", [WHITE, (245, 240, 225)])
def test_solid_black_is_no_ground(paper):
    ink = INK.copy()
    ink[:118] = 1  # 65 %
    reader = DrawingReader([u8(paint(ink, paper=paper))])
    assert reader.lines == "dark"
    assert reader(u8(paint(ink, paper=paper))).ink[170, 20] == 0


def test_large_white_fills_are_no_paper_of_light_lines():
    ink = INK.copy()
    ink[10:145, 130:] = 1
    assert DrawingReader([u8(255 - paint(ink))]).lines == "light"
    blueprint = u8(paint(INK, paper=(30, 60, 140), color=(230, 240, 255)))
    assert_clean(read_drawing(blueprint), line=0.85)


def test_what_is_unclear_is_said():
    y, x = np.mgrid[:H, :W]
    hatched = u8(255.0 * ((x + y) % 6 < 3))
    [note] = DrawingReader([hatched]).notes
    assert "--lines" in note and note.isprintable()
    assert not DrawingReader([hatched], DrawingSettings(lines="dark")).notes


# --- trace lines ------------------------------------------------------------------------------------------------------


def assert_separated(drawing, name, trace=0.85, ghost=0.2):
    assert list(drawing.traces) == [name]
    assert np.quantile(drawing.traces[name][(TRACE > 0.9) & (INK == 0)], 0.2) > trace
    assert np.median(drawing.ink[(TRACE > 0.9) & (INK == 0)]) < ghost
    assert np.quantile(drawing.traces[name][(INK > 0.9) & (TRACE == 0)], 0.99) < 0.1
    assert_clean(drawing)
    np.testing.assert_array_equal(drawing.lines, np.maximum(drawing.ink, drawing.traces[name]))


@pytest.mark.parametrize("name", TRACES)
@pytest.mark.parametrize("smooth", [True, False])
def test_trace_lines_by_hue(name, smooth):
    ink, trace = coverage(smooth)
    drawing = read_drawing(u8(paint(ink, trace, trace_color=TRACES[name])))
    assert list(drawing.traces) == [name]
    off = ink == 0
    np.testing.assert_allclose(drawing.traces[name][off], trace[off], atol=0.25 if smooth else 0.01)
    np.testing.assert_allclose(drawing.ink[trace == 0], ink[trace == 0], atol=0.02)
    assert drawing.ink[(trace == 1) & off].max() < 0.02


def test_a_single_pixel_wide_line_of_24_pixels():
    image = np.full((72, 128, 3), 255, np.uint8)
    cv2.rectangle(image, (10, 30), (35, 55), BLACK, 1)
    image[44, 11:35] = (0, 255, 0)
    drawing = read_drawing(image)
    assert (drawing.traces["green"][44, 11:35] == 1).all() and not drawing.ink[44, 12:34].any()


@pytest.mark.parametrize("name", ["red", "blue", "green"])
def test_trace_lines_on_sepia_paper_and_in_jpeg(name):
    photo = u8(paint(INK, TRACE, paper=(240, 225, 190), trace_color=TRACES[name]) * light() + grain(3))
    assert_separated(read_drawing(photo), name, trace=0.6, ghost=0.35)
    data = io.BytesIO()
    Image.fromarray(u8(paint(INK, TRACE, trace_color=TRACES[name]))).save(data, "JPEG", quality=85)
    assert_separated(read_drawing(np.array(Image.open(data))), name, trace=0.6, ghost=0.35)


def test_two_hues_beside_ink_and_ink_in_color():
    image = paint(INK, TRACE, trace_color=TRACES["red"])
    image[110:125] = paint(INK, TRACE, trace_color=TRACES["blue"])[110:125]
    assert set(read_drawing(u8(image)).traces) == {"red", "blue"}
    blue_ink = read_drawing(u8(paint(INK, TRACE, color=(50, 80, 200), trace_color=TRACES["red"])))
    assert_separated(blue_ink, "red")


def test_a_hue_that_only_one_drawing_has():
    plain, marked = u8(paint(INK)), u8(paint(INK, TRACE, trace_color=TRACES["orange"]))
    reader = DrawingReader([plain] * 30)
    assert list(reader(marked).traces) == ["orange"] and not reader(plain).traces


def test_trace_lines_can_be_ink():
    drawing = read_drawing(u8(paint(INK, TRACE, trace_color=TRACES["red"])), DrawingSettings(traces=False))
    assert not drawing.traces and drawing.ink[TRACE == 1].min() > 0.5


def test_shadows_that_are_colored_in_part_nothing():
    shade = np.zeros((H, W))
    shade[115:148, 43:108] = 0.5
    drawing = read_drawing(u8(paint(INK, shade, trace_color=(120, 160, 255))))
    assert not drawing.lines[120:140, 50:100].any() and np.quantile(drawing.ink[INK > 0.9], 0.1) > 0.9


# --- transparency -----------------------------------------------------------------------------------------------------


def cel(color, alpha):
    return np.dstack([u8(color * np.ones((H, W, 3))), u8(255 * alpha)])


@pytest.mark.parametrize("color", [BLACK, WHITE, (30, 30, 220), (90, 90, 90)])
@pytest.mark.parametrize("premultiplied", [False, True])
def test_one_ink_on_transparency(color, premultiplied):
    painted = np.array(color) * (INK[..., None] if premultiplied else 1)
    drawing = read_drawing(cel(painted, INK))
    np.testing.assert_allclose(drawing.ink, INK, atol=0.01)
    np.testing.assert_allclose(drawing.alpha, INK, atol=0.01)
    assert not drawing.traces


def test_a_cel_with_white_fills():
    white = np.zeros((H, W))
    white[75:150, 40:110] = 1
    alpha = np.maximum(white, INK)
    drawing = read_drawing(cel(paint(INK) * (white > 0)[..., None], alpha))
    np.testing.assert_allclose(drawing.ink, INK, atol=0.02)


@pytest.mark.parametrize("premultiplied", [False, True])
def test_trace_lines_on_transparency(premultiplied):
    alpha = np.maximum(INK, TRACE)
    color = np.where((TRACE > INK)[..., None], TRACES["red"], BLACK) * (alpha[..., None] if premultiplied else 1)
    assert_separated(read_drawing(cel(color, alpha)), "red")


# --- colored frames ---------------------------------------------------------------------------------------------------


def colored_frame():
    frame = np.ones((H, W, 3)) * (150, 200, 240)
    frame[150:] = (200, 170, 110)
    frame[75:150, 40:110] = (60, 160, 80)
    cv2.circle(frame, (230, 75), 40, (220, 60, 50), -1)
    return u8(frame * (1 - INK[..., None]))


def test_colored_frames_are_no_drawings():
    with pytest.raises(InputError, match="--lines extract") as caught:
        DrawingReader([colored_frame()] * 3)
    assert str(caught.value).isprintable()
    assert DrawingReader([colored_frame()], DrawingSettings(lines="dark")).lines == "dark"
    extracted = read_drawing(colored_frame(), DrawingSettings(lines="extract"))
    assert np.median(extracted.ink[INK > 0.9]) > 0.9 and np.median(extracted.ink[BLANK]) == 0


@pytest.mark.parametrize("seed", range(6))
def test_cartoons_and_their_line_art_are_told_apart(seed):
    clip = draw(seed, 5, 144, 256)
    reader = DrawingReader(255 - clip.lines)
    assert reader.lines == "dark" and not reader.notes
    for lines in clip.lines:
        np.testing.assert_array_equal(reader(255 - lines).ink, to_sketch(255 - lines, "dark")[0])
    with pytest.raises(InputError, match="--lines extract"):
        DrawingReader(clip.frames)


def test_grain_is_no_trace_line():
    image = u8(paint(pencil(INK), TRACE, paper=(225, 212, 188), color=(60,) * 3, trace_color=(210, 60, 60)) * light()
               + grain(5))  # fmt: skip
    assert list(read_drawing(image).traces) == ["red"]


def test_a_colored_figure_on_white_is_mentioned():
    frame = paint(INK)
    frame[77:149, 42:109] = (60, 160, 80)
    frame[120:149, 42:109] = (40, 60, 160)
    cv2.circle(frame, (230, 75), 38, (220, 60, 50), -1)
    frame = u8(frame)
    reader = DrawingReader([frame])
    assert "extract" in reader.notes[0]


@pytest.mark.parametrize("field", ["lines", "paper"])
def test_unknown_settings(field):
    with pytest.raises(InputError, match="purple"):
        DrawingSettings(**{field: "purple"})
