"""Inputs: images as people have them become tensors at the size that is painted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.reader import FrameReader
from lvcd.lineart.reading import DrawingReader, DrawingSettings

Image = PIL.Image.Image | np.ndarray | Tensor
"""PIL, uint8 array (H W), (H W 3) or (H W 4), or tensor (c H W) in [0, 1]; a sketch as tensor (1 H W) has line = 1."""

ASPECT_TOLERANCE = 0.02
"""A reference may differ from the sketches' aspect ratio by this share: rounding of a resize, not another shape."""


def array(image: Image) -> np.ndarray:
    """Convert an image to uint8 (H W 3), or (H W 4) with transparency; palettes and grey become RGB."""
    if isinstance(image, PIL.Image.Image):
        if image.mode.startswith("I;16"):  # which PIL would clip
            return array((np.asarray(image).astype(np.uint32) * 255 + 32767) // 65535)
        clear = "A" in image.getbands() or "transparency" in image.info
        return np.asarray(image.convert("RGBA" if clear else "RGB"))
    if isinstance(image, Tensor):
        return array((image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy())
    if image.ndim == 2:
        image = image[..., None]
    return np.repeat(image, 3, axis=-1).astype(np.uint8) if image.shape[-1] == 1 else image


def size_of(image: Image) -> tuple[int, int]:
    """Return the height and width of an image in pixels."""
    if isinstance(image, PIL.Image.Image):
        return image.height, image.width
    return tuple(image.shape[-2:]) if isinstance(image, Tensor) else tuple(image.shape[:2])  # type: ignore[return-value]


def color(image: Image, size: tuple[int, int], name: str = "the reference") -> Tensor:
    """Convert a colored image to a tensor (3 H W) in [-1, 1] at `size`; what is transparent becomes white.

    Raises InputError if its aspect ratio is not that of `size`; `name` names the image in the message.
    """
    if isinstance(image, Tensor):
        pixels = image.float().expand(3, -1, -1) if image.shape[0] == 1 else image.float()
    else:
        pixels = torch.from_numpy(array(image).copy()).float().movedim(-1, 0) / 255
    if pixels.shape[0] == 4:
        pixels = pixels[:3] * pixels[3:] + (1 - pixels[3:])
    (h, w), (height, width) = pixels.shape[-2:], size
    if not same_shape((h, w), size):
        raise InputError(
            f"{name} is {w}x{h} and the sketches are {width}x{height}: crop one to the aspect ratio of the other"
        )
    return resize(pixels, size) * 2 - 1


def same_shape(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Return whether two sizes (height, width) have one aspect ratio, but for the rounding of a resize."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) <= ASPECT_TOLERANCE


class _Arrays:
    """The images of a clip as arrays."""

    def __init__(self, clip: Sequence[Image] | FrameReader):
        self._clip = clip

    def __len__(self) -> int:
        return len(self._clip)

    def __getitem__(self, index: int) -> np.ndarray:
        return array(self._clip[index])


def drawing_reader(clip: Sequence[Image] | FrameReader, settings: DrawingSettings) -> DrawingReader | None:
    """Return what reads the images of a clip, all in one way; None for tensors, which are sketches already."""
    return None if isinstance(clip[0], Tensor) else DrawingReader(_Arrays(clip), settings)


def sketch(image: Image, reader: DrawingReader | None, size: tuple[int, int]) -> Tensor:
    """Convert a line drawing to a sketch (1 H W) in [0, 1], line = 1, at `size`; a tensor is one already."""
    if isinstance(image, Tensor):
        return resize(image.float(), size)
    assert reader is not None, "a clip is tensors or images, not both"
    return resize(reader(array(image)).sketch, size)


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize (c h w) => (c H W), bicubic with antialiasing, clamped to the range that came in."""
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels
    low, high = pixels.min(), pixels.max()
    return F.interpolate(pixels[None], size, mode="bicubic", antialias=True)[0].clamp(low, high)


class Padding:
    """Pads images at the right and bottom to a multiple of some pixels, and crops them back."""

    def __init__(self, height: int, width: int, multiple: int):
        self.height, self.width = height, width
        self.more = (0, -width % multiple, 0, -height % multiple)

    def pad(self, pixels: Tensor, mode: str) -> Tensor:
        """Pad (... c H W) => (... c H' W'); mode "constant" adds zeros, "replicate" the last row and column."""
        grown = F.pad(pixels.flatten(0, -4) if pixels.ndim > 4 else pixels, self.more, mode)
        return grown.unflatten(0, pixels.shape[:-3]) if pixels.ndim > 4 else grown

    def crop(self, pixels: Tensor) -> Tensor:
        """Remove the padding (... H' W') => (... H W)."""
        return pixels[..., : self.height, : self.width]
