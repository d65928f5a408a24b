"""Every form in which Python users have an image: it has one meaning, or is refused."""

from __future__ import annotations

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.io.images import write_png
from lvcd.pipeline.image_forms import array, is_sketch, size_of, standard_form, standard_sketch

H, W = 6, 9
RGB = np.random.default_rng(0).integers(0, 256, (H, W, 3), dtype=np.uint8)
UNIT = RGB.astype(np.float32) / 255


def channels_first(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.moveaxis(pixels, -1, 0).copy())


ONE_PICTURE = {
    "PIL": PIL.Image.fromarray(RGB),
    "uint8": RGB,
    "uint8 channels first": np.moveaxis(RGB, -1, 0),
    "uint16": RGB.astype(np.uint16) * 257,
    "big-endian uint16": (RGB.astype(np.uint16) * 257).astype(">u2"),
    "float32": UNIT,
    "float64": UNIT.astype(np.float64),
    "long double": UNIT.astype(np.longdouble),
    "mirrored view": UNIT[:, ::-1][:, ::-1],
    "batch of one": UNIT[None],
    "tensor": channels_first(UNIT),
    "tensor, channels last": torch.from_numpy(UNIT),
    "tensor (1 3 H W)": channels_first(UNIT)[None],
    "tensor (1 H W 3)": torch.from_numpy(UNIT)[None],
    "uint8 tensor": channels_first(RGB),
    "uint16 tensor": channels_first(RGB.astype(np.uint16) * 257),
    "double tensor": channels_first(UNIT).double(),
    "tensor that asks for gradients": channels_first(UNIT).requires_grad_(),
}


@pytest.mark.parametrize("form", ONE_PICTURE)
def test_one_picture_in_every_form(form):
    image = ONE_PICTURE[form]
    assert size_of(image) == (H, W)
    assert np.array_equal(array(standard_form(image)), RGB)
    assert np.array_equal(standard_sketch(image), RGB)  # three channels are a picture of line art


def test_a_path(tmp_path):
    write_png(tmp_path / "key.png", RGB)
    for path in (tmp_path / "key.png", str(tmp_path / "key.png")):
        assert size_of(path) == (H, W) and np.array_equal(standard_form(path), RGB)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"])
def test_modes_of_pil(mode):
    levels = np.linspace(0, 255, H * W).reshape(H, W)
    if mode in ("I", "I;16"):
        image = PIL.Image.fromarray((levels * 257).astype(np.int32 if mode == "I" else np.uint16))
    elif mode == "F":
        image = PIL.Image.fromarray((levels / 255).astype(np.float32))
    else:
        image = PIL.Image.fromarray(levels.astype(np.uint8)).convert("RGB")
        image = image.convert(mode, palette=PIL.Image.Palette.ADAPTIVE) if mode == "P" else image.convert(mode)
    got = array(standard_form(image))[..., :3].astype(int)
    tolerance = {"1": 255, "LAB": 4, "YCbCr": 2}.get(mode, 1)  # "1" has black and white alone
    assert image.mode == mode and abs(got - levels[..., None]).max() <= tolerance


def test_grey_and_transparency():
    grey, alpha = RGB[..., :1], np.full((H, W, 1), 7, np.uint8)
    for image in (grey, grey[..., 0], np.moveaxis(grey, -1, 0)):
        assert np.array_equal(array(standard_form(image)), grey.repeat(3, -1))
    rgba = np.concatenate([RGB, alpha], -1)
    for image in (rgba, channels_first(rgba), rgba.astype(np.float32) / 255):
        assert np.array_equal(array(standard_form(image)), rgba)
    assert np.array_equal(array(standard_form(RGB > 127)), np.where(RGB > 127, 255, 0))


def test_a_tensor_of_one_channel_is_a_sketch():
    lines = torch.rand(H, W)
    for tensor in (lines, lines[None], lines[..., None], lines[None, None]):
        assert is_sketch(tensor) and torch.equal(standard_sketch(tensor), lines[None])
    for other in (lines.numpy(), channels_first(UNIT), PIL.Image.new("L", (W, H))):
        assert not is_sketch(other)


@pytest.mark.parametrize(
    "image",
    [
        UNIT * 2 - 1,
        UNIT * 255,
        channels_first(UNIT) * 2 - 1,
        np.full((H, W, 3), np.nan),
        np.full((H, W, 3), np.inf, np.float32),
        RGB.astype(np.int64),
        RGB.astype(np.int16),
        channels_first(RGB).long(),
        RGB.astype(complex),
        RGB.astype(object),
        np.zeros((H, W, 2), np.uint8),
        np.zeros((2, H, W, 3), np.uint8),
        np.zeros((0, 3), np.uint8),
        np.zeros(5),
        torch.zeros(24, H, W),
        torch.tensor(1.0),
        None,
        7,
        [[1, 2], [3, 4]],
        {"image": RGB},
        "nowhere.png",
        "",
    ],
    ids=str,
)
def test_anything_else_is_one_line(image):
    with pytest.raises(InputError) as error:
        standard_form(image, "the reference")
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


def test_a_resize_may_overshoot():
    over = UNIT.copy()
    over[0, 0], over[0, 1] = -0.03, 1.04
    got = standard_form(over)
    assert got.min() >= 0 and got.max() <= 1


@given(st.lists(st.integers(0, 5), min_size=0, max_size=5), st.sampled_from([torch.tensor, np.asarray]))
def test_any_shape_is_read_or_refused(shape, kind):
    image = kind(np.zeros(shape, np.float32))
    try:
        size = size_of(image)
    except InputError:
        with pytest.raises(InputError):
            standard_form(image)
    else:
        assert array(standard_form(image)).shape[:2] == size and 0 not in size
