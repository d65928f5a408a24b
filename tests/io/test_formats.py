"""Image files as other programs write them: each is one picture, whatever its format."""

from __future__ import annotations

import numpy as np
import OpenEXR
import pytest
import tifffile
from PIL import Image
from psd_tools import PSDImage

from lvcd.errors import InputError
from lvcd.io.images import image_size, read_image
from lvcd.io.reader import FrameSelection, open_frames

H, W = 18, 32
PICTURE = np.full((H, W, 3), 255, np.uint8)
PICTURE[4:14, 6:8] = 0
PICTURE[8, 10:28] = (30, 180, 60)
ALPHA = np.where((PICTURE < 255).any(2), 255, 0).astype(np.uint8)
ALPHA[4:14, 6] = 128
DEEP = PICTURE.astype(np.uint16) * 257


@pytest.mark.parametrize("suffix", ["png", "bmp", "tga", "tif", "gif", "webp", "avif"])
def test_opaque(tmp_path, suffix):
    lossless = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}
    Image.fromarray(PICTURE).save(tmp_path / f"a.{suffix}", **lossless.get(suffix, {}))
    got = read_image(tmp_path / f"a.{suffix}")
    assert got.shape == (H, W, 3) and image_size(tmp_path / f"a.{suffix}") == (H, W)
    assert np.abs(got.astype(int) - PICTURE).max() <= (3 if suffix == "avif" else 0)


@pytest.mark.parametrize("suffix", ["png", "tga", "tif", "webp"])
def test_transparent(tmp_path, suffix):
    rgba = np.dstack([PICTURE, ALPHA])
    Image.fromarray(rgba).save(
        tmp_path / f"a.{suffix}", **({"lossless": True, "exact": True} if suffix == "webp" else {})
    )
    assert np.array_equal(read_image(tmp_path / f"a.{suffix}"), rgba)


@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("orientation", [1, -1])
def test_tga_in_any_order_of_rows(tmp_path, rle, orientation):
    image = Image.fromarray(PICTURE)
    image.save(tmp_path / "A0001.TGA", format="TGA", compression="tga_rle" if rle else None, orientation=orientation)
    assert np.array_equal(read_image(tmp_path / "A0001.TGA"), PICTURE)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planar", ["contig", "separate"])
def test_tiff_of_16_bits(tmp_path, compression, planar):
    data = DEEP if planar == "contig" else np.ascontiguousarray(DEEP.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", data, photometric="rgb", planarconfig=planar, compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif"), PICTURE)


@pytest.mark.parametrize("extra", ["unassalpha", "assocalpha"])
def test_tiff_of_16_bits_with_transparency(tmp_path, extra):
    alpha = ALPHA.astype(np.uint16) * 257
    color = DEEP if extra == "unassalpha" else (DEEP.astype(np.uint32) * alpha[..., None] // 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", np.dstack([color, alpha]), photometric="rgb", extrasamples=[extra])
    got = read_image(tmp_path / "a.tif")
    solid = ALPHA > 0
    assert np.array_equal(got[..., 3], ALPHA)
    assert np.abs(got[solid].astype(int) - np.dstack([PICTURE, ALPHA])[solid]).max() <= 2


def test_grey_tiff_with_zero_white_or_transparency(tmp_path):
    grey = DEEP[..., 0]
    tifffile.imwrite(tmp_path / "white.tif", 65535 - grey, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "white.tif")[..., 0], PICTURE[..., 0])
    both = np.dstack([grey, ALPHA.astype(np.uint16) * 257])
    tifffile.imwrite(tmp_path / "la.tif", both, photometric="minisblack", extrasamples=["unassalpha"])
    got = read_image(tmp_path / "la.tif")
    assert np.array_equal(got[..., 0], PICTURE[..., 0]) and np.array_equal(got[..., 3], ALPHA)


@pytest.mark.parametrize("compression", ["group4", None, "packbits"])
def test_scans_of_one_bit(tmp_path, compression):
    Image.fromarray(PICTURE[..., 0]).convert("1").save(tmp_path / "a.tif", compression=compression)
    assert np.array_equal(read_image(tmp_path / "a.tif"), np.where(PICTURE[..., :1] > 127, 255, 0) * np.ones(3))


def exr(path, channels, window=None):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    header |= {"displayWindow": window} if window else {}
    OpenEXR.File(header, channels).write(str(path))


def linear(picture):
    value = picture.astype(np.float32) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4).astype(np.float32)


def test_exr(tmp_path):
    light, alpha = linear(PICTURE), ALPHA.astype(np.float32) / 255
    exr(tmp_path / "rgb.exr", {"RGB": light})
    assert np.array_equal(read_image(tmp_path / "rgb.exr"), PICTURE) and image_size(tmp_path / "rgb.exr") == (H, W)
    exr(tmp_path / "rgba.exr", {"RGBA": np.dstack([light * alpha[..., None], alpha])})
    got = read_image(tmp_path / "rgba.exr")
    assert np.array_equal(got[..., 3], ALPHA) and np.array_equal(got[ALPHA > 0][:, :3], PICTURE[ALPHA > 0])
    exr(tmp_path / "y.exr", {"Y": np.ascontiguousarray(light[..., 0])})
    assert np.array_equal(read_image(tmp_path / "y.exr")[..., 0], PICTURE[..., 0])
    exr(tmp_path / "layer.exr", {f"line.{c}": np.ascontiguousarray(light[..., i]) for i, c in enumerate("RGB")})
    assert np.array_equal(read_image(tmp_path / "layer.exr"), PICTURE)
    exr(tmp_path / "z.exr", {"Z": np.ascontiguousarray(light[..., 0])})
    with pytest.raises(InputError, match="z.exr"):
        read_image(tmp_path / "z.exr")


def test_an_exr_that_is_none(tmp_path):
    (tmp_path / "a.exr").write_bytes(b"\x76\x2f\x31\x01" + bytes(40))
    with pytest.raises(InputError, match="a.exr"):
        open_frames(tmp_path)


def psd(path, mode="RGBA"):
    """Lines on a hidden layer of their own, over tinted paper; in RGB their transparency is a mask."""
    document = PSDImage.new(mode, (W, H), color=255)
    document.create_pixel_layer(Image.new("RGB", (W, H), (200, 220, 240)), name="paper")
    lines = Image.fromarray(np.dstack([PICTURE, ALPHA]))
    box = lines.getbbox()
    document.create_pixel_layer(lines.crop(box), name="Line", top=box[1], left=box[0]).visible = False
    document.save(path)
    return path


@pytest.mark.parametrize("mode", ["RGBA", "RGB"])
def test_a_layer_of_a_psd_by_its_name(tmp_path, mode):
    for number in range(2):
        psd(tmp_path / f"A{number}.psd", mode)
    for name in ("Line", "line"):
        with open_frames(tmp_path, FrameSelection(psd_layer=name)) as frames:
            shown = frames[0][..., 3:] / 255
            assert np.array_equal(frames[0][..., 3], ALPHA) and frames.size == (H, W)
            over_white = frames[0][..., :3] * shown + 255 * (1 - shown)
            solid = ALPHA != 128
            assert np.abs(over_white[solid] - PICTURE[solid]).max() <= 1
    with pytest.raises(InputError, match=r"A0\.psd.*paper, Line"):
        open_frames(tmp_path, FrameSelection(psd_layer="ink"))


def test_the_whole_picture_of_a_psd(tmp_path):
    PSDImage.frompil(Image.fromarray(PICTURE)).save(tmp_path / "flat.psd")
    assert np.array_equal(read_image(tmp_path / "flat.psd"), PICTURE)
    got = read_image(psd(tmp_path / "layers.psd"))
    assert got.shape[:2] == (H, W)


def test_layers_are_of_psd_files(tmp_path):
    Image.fromarray(PICTURE).save(tmp_path / "0.png")
    for path in (tmp_path, tmp_path / "0.png"):
        with pytest.raises(InputError, match="Line"):
            open_frames(path, FrameSelection(psd_layer="Line"))


@pytest.mark.parametrize("suffix", ["png", "apng", "webp", "tif", "gif", "avif"])
def test_animations_alone(tmp_path, suffix):
    pages = [Image.fromarray(np.roll(PICTURE, 3 * step, 1)) for step in range(3)]
    kind = {"apng": "PNG", "tif": "TIFF"}.get(suffix, suffix.upper())
    pages[0].save(tmp_path / f"a.{suffix}", format=kind, save_all=True, append_images=pages[1:], duration=100)
    with open_frames(tmp_path / f"a.{suffix}") as frames:
        assert len(frames) == 3 and frames.names == ["00000", "00001", "00002"] and frames.numbers == [0, 1, 2]
        for page, frame in zip(pages, frames):
            assert np.abs(np.asarray(page, int) - frame[..., :3]).mean() < 5
