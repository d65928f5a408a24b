"""Images, and animations in image formats: read and written with Pillow.

letters: H W pixels. Every image is a uint8 array in [0, 255], RGB (H W 3) or RGBA (H W 4).
"""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from lvcd.errors import InputError

from .disk import atomic, printable, reading, require_file
from .exr import read_exr
from .layered import read_psd

IMAGE_SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".webp", ".avif", ".bmp", ".tif", ".tiff", ".tga", ".psd", ".psb", ".exr",
)  # fmt: skip
"""Endings of files that are read as images."""
_IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "TIFF", "GIF", "PSD")
"""By content; the ending only says "an image". A TGA does not say what it is, so there the ending decides."""
_PSD, _EXR, _TIFF = b"8BPS", b"\x76\x2f\x31\x01", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""What files of these formats begin with."""

Image.init()  # Pillow knows WebP and TIFF only after this when it is given a list of formats


def read_image(path: str | os.PathLike, psd_layer: str | None = None) -> np.ndarray:
    """Read one image, upright (EXIF orientation applied) => uint8 (H W 3), or (H W 4) if the file has transparency.

    16 bits a channel come down to 8: grey is rounded, color keeps its high byte. Of an animation, the first frame. Of a
    Photoshop file the whole picture, or the layer of the name `psd_layer`. OpenEXR is shown by the curve of sRGB.
    InputError: missing, empty, truncated, or not an image; no such layer.
    """
    path = Path(path)
    require_file(path)
    start = _start(path)
    if start == _PSD:
        with reading("image", path, "replace or remove the file"):
            return to_uint8(read_psd(path, psd_layer))
    if start == _EXR:
        with reading("image", path, "replace or remove the file"):
            return read_exr(path)
    try:
        with _image(path) as image:
            tags = getattr(image, "tag_v2", {})
            deep = max(tags.get(ExifTags.Base.BitsPerSample, (8,))) > 8
            if deep and tags.get(ExifTags.Base.PlanarConfiguration) == 2:  # which Pillow takes for 8 bits
                raise InputError(f"cannot read image {printable(path)} (planes of 16 bits): convert it to PNG")
            pixels = to_uint8(ImageOps.exif_transpose(image))
            inverse = deep and tags.get(ExifTags.Base.PhotometricInterpretation) == 0  # Pillow inverts 8 bits only
            return 255 - pixels if inverse else pixels
    except InputError:
        other = _read_tiff(path) if start in _TIFF else None
        if other is None:
            raise
        return other


def _start(path: Path) -> bytes:
    with reading("image", path, "replace or remove the file"), path.open("rb") as file:
        return file.read(4)


def _read_tiff(path: Path) -> np.ndarray | None:
    """Read the first page of a TIFF of a kind that Pillow does not know, 8 or 16 bits; None if that fails too."""
    import tifffile

    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            pixels, white_is_zero = page.asarray(), int(page.photometric) == 0  # type: ignore[union-attr]
            planes = int(page.planarconfig) == 2  # type: ignore[union-attr]
    except Exception:  # what Pillow said of it is told
        return None
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if pixels.dtype != np.uint8:
        return None
    pixels = np.moveaxis(pixels, 0, -1) if planes and pixels.ndim == 3 else pixels
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    if pixels.ndim != 3 or not 1 <= pixels.shape[2] <= 4:
        return None
    pixels = 255 - pixels if white_is_zero else pixels
    if pixels.shape[2] < 3:
        pixels = np.concatenate([np.repeat(pixels[..., :1], 3, 2), pixels[..., 1:]], 2)
    return np.ascontiguousarray(pixels)


@contextmanager
def _image(path: Path) -> Iterator[Image.Image]:
    """The file opened, nothing decoded yet. What goes wrong inside is an InputError; Pillow's warnings are dropped."""
    formats = (*_IMAGE_FORMATS, "TGA") if path.suffix.lower() == ".tga" else _IMAGE_FORMATS
    with reading("image", path, "replace or remove the file"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(path, formats=formats) as image:
            yield image


def to_uint8(image: Image.Image) -> np.ndarray:
    """Convert an image of any mode => uint8 (H W 3), or (H W 4) if it has transparency. ValueError: floating point."""
    if image.mode == "F":
        raise ValueError("floating-point pixels instead of 8 or 16 bits")
    if image.mode.startswith("I"):  # grey of 16 bits: 65535 is white
        grey = (np.clip(np.asarray(image).astype(np.int64), 0, 65535) + 128) // 257
        return np.repeat(grey[..., None].astype(np.uint8), 3, axis=2)
    transparent = image.getbands()[-1] in "Aa" or "transparency" in image.info
    if image.mode == "La":
        image = image.convert("LA")
    return np.array(image.convert("RGBA" if transparent else "RGB"))


def image_size(path: Path, psd_layer: str | None = None) -> tuple[int, int]:
    """Return (height, width), upright, from the header; a file that does not end as its format does is decoded.

    InputError: missing, empty, truncated, or not an image.
    """
    require_file(path)
    start = _start(path)
    if start in (_PSD, _EXR, *_TIFF):
        return read_image(path, psd_layer).shape[:2]  # type: ignore[return-value]
    with _image(path) as image:
        width, height = image.size
        # the method of the base class: PNG's own decodes the whole image first
        turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        kind, mode = image.format, image.mode
    if mode == "F" or not _ends_well(path, kind):
        read_image(path)
    return (width, height) if turned else (height, width)


def _ends_well(path: Path, kind: str | None) -> bool:
    with reading("image", path, "replace or remove the file"), path.open("rb") as file:
        head = file.read(8)
        length = file.seek(0, os.SEEK_END)
        file.seek(max(0, length - 8))
        tail = file.read()
    if kind == "PNG":
        return tail.startswith(b"IEND")
    if kind in ("JPEG", "MPO"):
        return tail.endswith(b"\xff\xd9")
    if kind == "WEBP":
        return int.from_bytes(head[4:8], "little") + 8 <= length
    return False


def is_animation(path: Path) -> bool:
    """Return whether an image file has several frames or pages, as WebP, AVIF, PNG, GIF and TIFF may."""
    if _start(path) in (_PSD, _EXR):
        return False
    with _image(path) as image:
        return getattr(image, "n_frames", 1) > 1


def decode_animation(path: Path) -> Generator[Image.Image]:
    """Yield every frame of an animation in order. InputError: the file breaks; the message names the frame."""
    advice = "replace the file"
    with reading("animation", path, advice), Image.open(path, formats=_IMAGE_FORMATS) as image:
        for index in range(getattr(image, "n_frames", 1)):
            with reading(f"frame {index} of", path, advice):
                image.seek(index)
                frame = image.copy()
            yield frame


def write_png(path: str | os.PathLike, image: np.ndarray, advice: str = "run again") -> None:
    """Write uint8 (H W 3) RGB or (H W 4) RGBA as a PNG file, whole or not at all. InputError: it cannot be written."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        raise ValueError(f"want a uint8 array (H W 3) or (H W 4), got {image.dtype} {image.shape}")
    data = encode_png(image)
    with atomic(Path(path), advice) as temp:
        temp.write_bytes(data)


def over_white(picture: np.ndarray) -> np.ndarray:
    """Lay a picture, uint8 (H W 3) or (H W 4), over white => (H W 3)."""
    if picture.shape[2] == 3:
        return picture
    alpha = picture[..., 3:].astype(np.float32) / 255
    return np.rint(picture[..., :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)


def encode_png(pixels: np.ndarray, compress_level: int = 6) -> bytes:
    """Encode uint8 (H W) grey, (H W 3) RGB or (H W 4) RGBA as a PNG with Pillow.

    compress_level  zlib's, from 0, no compression, to 9, the smallest file
    """
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, format="PNG", compress_level=compress_level)
    return data.getvalue()


def encode_png_fast(pixels: np.ndarray) -> bytes:
    """Encode uint8 (H W) grey or (H W 3) RGB as a PNG with OpenCV, by run lengths and Huffman codes.

    These search for nothing, so that the bytes do not depend on the processor. On cartoons they are smaller than
    Pillow's level 3 (67 kB for 88, 569 x 320) in less than half of its time.
    """
    import cv2

    color = pixels.ndim == 3
    row_filter = cv2.IMWRITE_PNG_FILTER_SUB if color else cv2.IMWRITE_PNG_FILTER_NONE
    settings = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
                cv2.IMWRITE_PNG_FILTER, row_filter)  # fmt: skip
    done, data = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if color else pixels, settings)
    assert done
    return data.tobytes()


def decode_png(data: bytes, mode: str) -> np.ndarray:
    """Decode a PNG to uint8 (H W 3) for mode "RGB", or (H W) for mode "L". Decoders raise nearly any exception."""
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        return np.array(image.convert(mode))
