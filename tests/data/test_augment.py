"""The same change for the whole clip, sketches and frames together, and palettes that only the reference can tell."""

from __future__ import annotations

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from lvcd.data.augment import Augment, recolor
from lvcd.data.augment import line_style as lines
from lvcd.data.augment.palette import INK, LUMA, random_palette
from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from tests.helpers.configs import composed

cv2.setNumThreads(1)
NAMES = [field.name for field in fields(Augment)]


def clip_of(seed: int, t: int = 3, style: str = "shapes") -> tuple[torch.Tensor, torch.Tensor]:
    """frames (t 3 48 80) in [-1, 1], sketches (t 1 48 80)."""
    clip = draw(seed, t, 48, 80, style)
    frames = torch.from_numpy(clip.frames).movedim(-1, 1).float() / 127.5 - 1
    return frames, torch.from_numpy(clip.lines)[:, None].float() / 255


def seeded(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


# ------------------------------------------------------------------------------------------------------------ the whole


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(NAMES)), st.integers(0, 2**32))
def test_shapes_ranges_and_seeds(on, seed):
    frames, sketches = clip_of(1)
    before = frames.clone(), sketches.clone()
    augment = Augment(**dict.fromkeys(on, 1.0))
    first, second = (augment(frames, sketches, seeded(seed)) for _ in range(2))
    for new, again, old, kept in zip(first, second, (frames, sketches), before):
        assert torch.equal(new, again), "the seed decides everything"
        assert torch.equal(old, kept), "what is given stays as it is"
        assert new.shape == old.shape and new.dtype == old.dtype and new.min() >= old.min().sign() and new.max() <= 1
    if not on & {"crop", "flip", "recolor"}:
        assert torch.equal(first[0], frames)
        assert torch.equal(augment(None, sketches, seeded(seed))[1], first[1]), "latents see the same lines"
    if on <= {"recolor"}:
        assert torch.equal(first[1], sketches), "recoloring leaves the lines alone"
    assert augment.pixels_only == bool(on & {"crop", "flip", "recolor"})


@pytest.mark.parametrize("name", NAMES)
def test_each_change_alone_changes_something_and_zero_is_off(name):
    frames, sketches = clip_of(2)
    new = Augment(**{name: 1.0})(frames, sketches, seeded(0))
    assert not (torch.equal(new[0], frames) and torch.equal(new[1], sketches))
    same = Augment()(frames, sketches, seeded(0))
    assert torch.equal(same[0], frames) and torch.equal(same[1], sketches)
    if name != "recolor":
        assert not torch.equal(new[1], sketches)


def test_a_probability_is_how_often():
    frames, sketches = clip_of(2, t=1)
    rng = seeded(5)
    count = sum(not torch.equal(Augment(flip=0.3)(frames, sketches, rng)[1], sketches) for _ in range(2000))
    assert abs(count - 600) < 3.3 * (2000 * 0.3 * 0.7) ** 0.5


def test_switching_one_on_does_not_alter_what_the_others_do():
    frames, sketches = clip_of(3)
    alone = Augment(recolor=1)(frames, sketches, seeded(9))[0]
    both = Augment(recolor=1, breaks=1, binarize=1)(frames, sketches, seeded(9))[0]
    assert torch.equal(alone, both)


def test_frames_and_sketches_move_together():
    _, sketches = clip_of(4)
    frames = sketches.expand(-1, 3, -1, -1) * 1.0
    for seed in range(6):
        moved, drawn = Augment(crop=1, flip=0.5)(frames, sketches, seeded(seed))
        assert torch.equal(moved[:, :1], drawn)
    flipped = Augment(flip=1)(frames, sketches, seeded(0))
    assert torch.equal(flipped[0], frames.flip(-1)) and torch.equal(flipped[1], sketches.flip(-1))


def test_a_crop_is_one_window_of_the_whole_clip():
    """A ramp of x and y, which bicubic interpolation keeps a ramp: every pixel tells where it was."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 48), torch.linspace(-1, 1, 80), indexing="ij")
    frames = torch.stack([y, x, torch.zeros_like(x)]).expand(4, 3, 48, 80)
    _, sketches = clip_of(1, t=4)
    zooms = []
    for seed in range(12):
        new, _ = Augment(crop=1)(frames, sketches, seeded(seed))
        assert torch.equal(new[0], new[3])
        zooms.append(2 / 79 / new[0, 1, 24].diff()[8:-8].mean().item())
        assert zooms[-1] == pytest.approx(2 / 47 / new[0, 0, :, 40].diff()[8:-8].mean().item(), rel=0.04)
    assert 0.99 < min(zooms) < 1.15 and 1.25 < max(zooms) < 1.43


def test_wrong_use_is_named():
    for bad in (-0.1, 1.5, float("nan")):
        with pytest.raises(InputError, match="flip"):
            Augment(flip=bad)
    with pytest.raises(InputError, match="latents"):
        Augment(recolor=0.1)(None, clip_of(1)[1], seeded(0))


def test_the_configurations():
    made = {name: instantiate(composed("train", f"augment={name}").data.augment) for name in ("none", "full", "lines")}
    assert made["none"] == Augment()
    assert made["full"].pixels_only and all(getattr(made["full"], name) > 0 for name in NAMES)
    assert made["lines"] == replace(made["full"], crop=0.0, flip=0.0, recolor=0.0)


# ---------------------------------------------------------------------------------------------------------------- lines


def strokes(width: int) -> torch.Tensor:
    """Two straight lines of a whole width, one lying and one standing, on 64 rows: (1 1 64 96)."""
    sheet = torch.zeros(1, 1, 64, 96)
    sheet[..., 20 : 20 + width, 10:60] = 1
    sheet[..., 5:60, 75 : 75 + width] = 1
    return sheet


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_thickness_changes_by_a_pixel_and_no_line_is_lost(width):
    sheet = strokes(width)
    for seed in range(4):
        wide, narrow = (change(sheet, seeded(seed))[0, 0] for change in (lines.thicken, lines.thin))
        for across, where in ((wide[:, 30], width + 1), (wide[40], width + 1)):
            assert across.sum() == where
        for across in (narrow[:, 30], narrow[40]):
            assert across.sum() == max(1, width - 1)
        assert ((narrow > 0) <= (sheet[0, 0] > 0)).all() and ((wide > 0) >= (sheet[0, 0] > 0)).all()


@pytest.mark.parametrize("style", ["shapes", "characters"])
def test_thinning_lets_no_color_through_that_was_held_in(style):
    """It loses next to none of the lines' skeleton: whatever was a line has ink within a pixel of it."""
    for seed in range(3):
        _, sketches = clip_of(seed, style=style)
        thin = lines.thin(sketches, seeded(seed))[:, 0].numpy()
        assert thin.sum() < sketches.sum()
        near = ndimage.maximum_filter(thin, (1, 3, 3)) > 0.3
        assert near[sketches[:, 0].numpy() > 0.9].mean() > 0.98


def test_binarized_lines_are_black_or_white_whatever_else_is_done():
    frames, sketches = clip_of(5)
    for seed in range(4):
        _, new = Augment(**dict.fromkeys(NAMES, 1.0))(frames, sketches, seeded(seed))
        assert set(new.unique().tolist()) == {0.0, 1.0}


def test_gaps_take_a_share_of_the_lines_and_add_nothing():
    sketches = torch.ones(2, 1, 96, 160)
    shares = []
    for seed in range(12):
        new = lines.breaks(sketches, seeded(seed))
        assert new.max() <= 1
        shares.append((new < 0.5).float().mean().item())
    assert min(shares) > 0.01 and max(shares) < 0.17


def test_dust_adds_a_little_and_takes_nothing():
    _, sketches = clip_of(6)
    for seed in range(6):
        new = lines.specks(sketches, seeded(seed))
        assert (new >= sketches).all() and 0 < (new - sketches).mean() < 0.05


def test_wobble_stays_within_a_pixel_or_two():
    _, sketches = clip_of(7)
    ink = sketches[:, 0].numpy() > 0.5
    near = ndimage.maximum_filter(sketches[:, 0].numpy(), (1, 5, 5))
    new = lines.wobble(sketches, seeded(0))[:, 0].numpy() > 0.5
    assert 0.8 < new.sum() / ink.sum() < 1.2 and (near[new] > 0.3).all()


@pytest.mark.parametrize("change", [lines.wobble, lines.breaks, lines.specks])
def test_noise_is_new_on_every_drawing_and_stays_on_a_held_one(change):
    _, sketches = clip_of(8, t=1)
    other = clip_of(9, t=1)[1]
    new = change(torch.cat([sketches, sketches, other, sketches]), seeded(3))
    assert torch.equal(new[0], new[1]) and not torch.equal(new[0], new[3])


# ----------------------------------------------------------------------------------------------------------- recoloring


def flat_colors(seed: int, style: str) -> np.ndarray:
    """(n 3) uint8, the fills of a cartoon: what covers more than a few pixels away from the lines."""
    clip = draw(seed, 1, 72, 128, style)
    colors, counts = np.unique(clip.frames[clip.lines < 8], axis=0, return_counts=True)
    return colors[(counts > 20) & (colors.max(1) > 255 * INK)]


@pytest.mark.parametrize("style", ["shapes", "characters"])
def test_old_luminance_says_nothing_about_new(style):
    """Over many palettes the correlation vanishes, and in single ones it is high as often as low."""
    clips = [flat_colors(seed, style) for seed in range(20)]
    old, new, each = [], [], []
    for seed in range(600):
        colors = clips[seed % len(clips)]
        a, b = colors @ LUMA, random_palette(seeded(seed))(colors) @ LUMA
        old, new = [*old, a], [*new, b]
        each.append(np.corrcoef(a, b)[0, 1])
    assert abs(np.corrcoef(np.concatenate(old), np.concatenate(new))[0, 1]) < 0.1
    assert abs(np.mean(each)) < 0.1
    assert np.std(each) > 0.25, "light stays light in some palettes and turns dark in others"


def test_different_colors_stay_different():
    lost = total = 0
    for seed in range(150):
        colors = flat_colors(seed % 12, "shapes")
        new = random_palette(seeded(seed))(colors).astype(int)
        apart = np.abs(colors[:, None].astype(int) - colors).max(-1) > 64
        lost += (np.abs(new[:, None] - new).max(-1)[apart] < 12).sum()
        total += apart.sum()
    assert lost / total < 0.005


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_no_two_colors_become_one(seed):
    """Every step on a coarse grid of light enough colors is still a step."""
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 51)] * 3), -1).reshape(-1, 3).astype(np.uint8)
    grid = grid[grid.max(1) > 60]
    new = random_palette(seeded(seed))(grid)
    assert len(np.unique(new, axis=0)) > 0.98 * len(grid)


def test_ink_stays_ink_and_paper_takes_any_color():
    rng = seeded(0)
    ink = rng.integers(0, int(255 * INK), (200, 3)).astype(np.uint8)
    paper = []
    for seed in range(200):
        palette = random_palette(seeded(seed))
        assert (palette(ink).max(1) <= ink.max(1)).all()
        assert (palette(np.zeros((1, 3), np.uint8)) == 0).all()
        paper.append(palette(np.full((1, 3), 255, np.uint8))[0])
    assert (np.ptp(np.array(paper), axis=0) > 150).all() and np.std(np.array(paper) @ LUMA) > 20


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.tuples(*[st.integers(0, 255)] * 3).filter(lambda c: max(c) > 90))
def test_no_halo_grows_along_a_line(seed, fill):
    """From ink to fill, as across an antialiased edge: brightness only rises, and never above that of the fill."""
    edge = (np.linspace(0, 1, 33)[:, None] * np.array(fill)).round().astype(np.uint8)
    bright = random_palette(seeded(seed))(edge).max(1).astype(int)
    assert (np.diff(bright) >= -8).all() and bright.max() <= bright[-1] + 8


def test_one_map_for_the_clip_and_flat_stays_flat():
    frames, _ = clip_of(11, t=4, style="characters")
    new = recolor(frames, seeded(1))
    before, after = ((x.movedim(1, -1).reshape(-1, 3) * 127.5 + 127.5).round().byte().numpy() for x in (frames, new))
    pairs = np.unique(np.concatenate([before, after], 1), axis=0)
    assert len(pairs) == len(np.unique(before, axis=0)), "a color becomes one color, in all frames"
    np.testing.assert_array_equal(random_palette(seeded(1))(before), after)
    assert torch.equal(recolor(frames[2:], seeded(1)), new[2:])


def test_palettes_are_many():
    frames, _ = clip_of(12, t=1)
    shown = [recolor(frames, seeded(seed)) for seed in range(8)]
    apart = [(a - b).abs().mean().item() for i, a in enumerate(shown) for b in shown[:i]]
    assert min(apart) > 0.1
