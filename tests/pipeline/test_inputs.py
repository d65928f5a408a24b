"""Images of every kind, to tensors at the size that is painted."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.lineart.reading import DrawingSettings
from lvcd.pipeline.image_forms import array, size_of
from lvcd.pipeline.inputs import Padding, SketchClip, color, resize, sketch

H, W = 6, 9


def noise(*shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


RGB = noise(H, W, 3)
WANT = torch.from_numpy(RGB.astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
EXACT = {"atol": 1e-6, "rtol": 0}


# ---------------------------------------------------------------------------------------------------------------- color


@pytest.mark.parametrize(
    "image",
    [
        PIL.Image.fromarray(RGB),
        RGB,
        torch.from_numpy(RGB).permute(2, 0, 1).float() / 255,
        torch.from_numpy(RGB).permute(2, 0, 1).double() / 255,
        PIL.Image.fromarray(np.dstack([RGB, np.full((H, W), 255, np.uint8)])),
        np.dstack([RGB, np.full((H, W), 255, np.uint8)]),
        torch.cat([torch.from_numpy(RGB).permute(2, 0, 1) / 255, torch.ones(1, H, W)]),
    ],
    ids=["PIL", "numpy", "tensor", "double", "PIL opaque", "numpy opaque", "tensor opaque"],
)
def test_one_picture_in_many_forms(image):
    got = color(image, (H, W))
    assert got.dtype == torch.float32 and got.shape == (3, H, W)
    torch.testing.assert_close(got, WANT, **EXACT)


@pytest.mark.parametrize("kind", ["PIL", "numpy", "tensor"])
def test_grey_becomes_color(kind):
    grey = noise(H, W)
    image = {
        "PIL": PIL.Image.fromarray(grey),
        "numpy": grey,
        "tensor": torch.from_numpy(grey)[None].float() / 255,
    }[kind]
    want = (torch.from_numpy(grey.astype(np.float32)) / 127.5 - 1).expand(3, H, W)
    torch.testing.assert_close(color(image, (H, W)), want, **EXACT)


def test_a_palette_becomes_color():
    image = PIL.Image.fromarray(RGB).convert("P", palette=PIL.Image.Palette.ADAPTIVE)
    want = torch.from_numpy(np.asarray(image.convert("RGB")).astype(np.float32)).permute(2, 0, 1) / 127.5 - 1
    torch.testing.assert_close(color(image, (H, W)), want, **EXACT)


def test_16_bit_grey_keeps_its_tones():
    image = PIL.Image.fromarray(np.linspace(0, 65535, H * W, dtype=np.uint16).reshape(H, W))
    got = color(image, (H, W))
    torch.testing.assert_close(got[0].flatten(), torch.linspace(-1, 1, H * W), atol=0.01, rtol=0)


@pytest.mark.parametrize("kind", ["PIL", "numpy", "tensor"])
def test_what_is_transparent_is_white(kind):
    alpha = noise(H, W, seed=1)
    alpha[0], alpha[1] = 0, 255
    rgba = np.dstack([RGB, alpha])
    image = {
        "PIL": PIL.Image.fromarray(rgba),
        "numpy": rgba,
        "tensor": torch.from_numpy(rgba).permute(2, 0, 1) / 255,
    }[kind]
    share = torch.from_numpy(alpha.astype(np.float32)) / 255
    want = ((WANT + 1) / 2 * share + (1 - share)) * 2 - 1
    got = color(image, (H, W))
    torch.testing.assert_close(got, want, **EXACT)
    assert (got[:, 0] == 1).all()


def test_a_transparent_palette_entry_is_white():
    image = PIL.Image.new("P", (W, H), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    image.info["transparency"] = 0
    got = color(image, (H, W))
    assert got[:, 0, 0].tolist() == [1, 1, 1] and got[:, 1, 1].tolist() == [-1, -1, 1]


def test_the_input_is_left_alone():
    tensor, pixels = torch.rand(4, H, W), RGB.copy()
    before = tensor.clone()
    color(tensor, (H, W)), color(pixels, (H, W))
    assert torch.equal(tensor, before) and np.array_equal(pixels, RGB)


# ------------------------------------------------------------------------------------------------------ size and aspect


def test_size():
    assert size_of(PIL.Image.fromarray(RGB)) == size_of(RGB) == size_of(RGB[..., 0]) == (H, W)
    assert tuple(size_of(torch.zeros(3, H, W))) == tuple(size_of(torch.zeros(1, H, W))) == (H, W)


@pytest.mark.parametrize("size", [(12, 18), (3, 4), (60, 91), (600, 889), (6, 9)])
def test_a_reference_of_nearly_that_aspect_is_resized(size):
    if abs(H * size[1] / (W * size[0]) - 1) <= 0.02:
        assert color(RGB, size).shape == (3, *size)
    else:
        with pytest.raises(InputError, match="aspect"):
            color(RGB, size)


@pytest.mark.parametrize("size", [(9, 6), (6, 10), (6, 8), (320, 576)])
def test_a_reference_of_another_aspect(size):
    with pytest.raises(InputError, match=f"9x6.*{size[1]}x{size[0]}"):
        color(RGB, size)


def test_resizing():
    pixels = torch.rand(3, 8, 12)
    assert resize(pixels, (8, 12)) is pixels
    flat = torch.full((3, 8, 12), 0.4)
    torch.testing.assert_close(resize(flat, (16, 5)), torch.full((3, 16, 5), 0.4))
    edge = torch.zeros(1, 8, 8)
    edge[..., 4:] = 1
    for size in ((16, 16), (5, 5), (64, 3)):
        got = resize(edge, size)
        assert got.shape == (1, *size) and got.min() >= 0 and got.max() <= 1  # bicubic alone overshoots
        assert got[0, 0, 0] == pytest.approx(0, abs=0.06) and got[0, 0, -1] == pytest.approx(1, abs=0.06)


def test_shrinking_averages():
    """Antialiased: of pure noise little is left, and it does not depend on which pixels are looked at."""
    dots = (torch.rand(1, 64, 64, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    got = resize(dots, (8, 8))
    assert abs(got.mean() - dots.mean()) < 0.02 and got.std() < 0.12


def test_color_stays_in_range_when_resized():
    got = color(
        np.kron(np.array([[0, 255], [255, 0]], np.uint8), np.ones((8, 8), np.uint8))[..., None].repeat(3, 2), (40, 40)
    )
    assert got.min() >= -1 and got.max() <= 1


# ------------------------------------------------------------------------------------------------------------- sketches


def drawing(ground: int, line: int) -> np.ndarray:
    pixels = np.full((H, W), ground, np.uint8)
    pixels[2] = line
    return pixels


ONE_LINE = torch.zeros(1, H, W)
ONE_LINE[:, 2] = 1
DRAWINGS = {
    "dark": drawing(255, 0),
    "light": drawing(0, 255),
    "alpha": np.dstack([np.zeros((H, W, 3), np.uint8), drawing(0, 255)]),
}


def reader(clip, lines="auto"):
    return SketchClip(clip).reader(DrawingSettings(lines))


@pytest.mark.parametrize("mode", DRAWINGS)
@pytest.mark.parametrize("wrap", [PIL.Image.fromarray, lambda x: x], ids=["PIL", "numpy"])
def test_lines_are_found_however_they_are_drawn(mode, wrap):
    image = wrap(DRAWINGS[mode])
    assert reader([image] * 3).lines == mode
    assert torch.equal(sketch(SketchClip(image)[0], reader([image] * 3), (H, W)), ONE_LINE)


@pytest.mark.parametrize("mode", DRAWINGS)
def test_lines_can_be_forced(mode):
    assert reader([DRAWINGS["dark"]], mode).lines == mode


def test_forced_lines_count():
    assert torch.equal(sketch(DRAWINGS["dark"], reader([DRAWINGS["dark"]], "light"), (H, W)), 1 - ONE_LINE)


def test_one_odd_frame_does_not_decide():
    clip = [DRAWINGS["dark"]] * 20
    clip[0] = DRAWINGS["light"]
    assert reader(clip).lines == "dark"


def test_few_frames_of_a_long_clip_are_looked_at():
    class Clip(list):
        asked = set()

        def __getitem__(self, i):
            self.asked.add(i)
            return super().__getitem__(i)

    clip = Clip([DRAWINGS["light"]] * 1000)
    assert reader(clip).lines == "light"
    assert len(clip.asked) <= 5 and {0, 999} <= clip.asked


def test_a_tensor_is_a_sketch_already():
    tensor = torch.rand(1, H, W)
    assert reader([tensor]) is None
    assert torch.equal(sketch(tensor, None, (H, W)), tensor)
    assert sketch(tensor, None, (12, 18)).shape == (1, 12, 18)


def test_unknown_lines():
    with pytest.raises(InputError, match="purple"):
        reader([DRAWINGS["dark"]], "purple")


def test_arrays_are_bytes():
    assert np.array_equal(array(torch.tensor([[[0.0, 0.5, 1.0, 2.0, -1.0]]]))[0, :, 0], [0, 128, 255, 255, 0])
    assert array(PIL.Image.fromarray(RGB).convert("L")).shape == (H, W, 3)
    assert array(PIL.Image.fromarray(RGB).convert("LA")).shape == (H, W, 4)


# -------------------------------------------------------------------------------------------------------------- padding


@settings(deadline=None)
@given(
    st.integers(1, 20), st.integers(1, 20), st.sampled_from((1, 4, 8, 16)), st.sampled_from(((2,), (2, 3), (1, 2, 2)))
)
def test_growing_and_cropping(height, width, multiple, lead):
    pixels = torch.randn(*lead, height, width)
    padding = Padding(height, width, multiple)
    for mode in ("constant", "replicate"):
        grown = padding.pad(pixels, mode)
        assert grown.shape[:-2] == pixels.shape[:-2]
        for size, side in zip(grown.shape[-2:], (height, width)):
            assert size % multiple == 0 and side <= size < side + multiple
        assert torch.equal(padding.crop(grown), pixels)
        down, right = grown[..., height:, :], grown[..., :, width:]
        if mode == "constant":
            assert (down == 0).all() and (right == 0).all()
        else:
            assert torch.equal(down, grown[..., height - 1 : height, :].expand_as(down))
            assert torch.equal(right, grown[..., :, width - 1 : width].expand_as(right))
