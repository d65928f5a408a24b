"""Inputs: references and clips of line art become tensors at the size that is painted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.reader import FrameReader, open_frames
from lvcd.lineart.reading import DrawingReader, DrawingSettings

from .image_forms import array, is_sketch, size_of, standard_form, standard_sketch

ASPECT_TOLERANCE = 0.02
"""A reference may differ from the sketches' aspect ratio by this fraction: rounding of a resize, not another shape."""


class SketchClip(Sequence):
    """The line drawings of one clip, each in its standard form (`standard_sketch`) when it is asked for.

    sketches   a list of images, an array or tensor (N ...), one image, a frame reader, or the path of a folder, a
               movie or an image
    name       of a drawing, for messages; its number follows
    Raises InputError if there are none, they are not of one size, or some are sketches already and some are pictures.
    """

    def __init__(self, sketches: Any, name: str = "sketch"):
        if isinstance(sketches, (str, os.PathLike)):
            sketches = open_frames(sketches)
        elif isinstance(sketches, (np.ndarray, Tensor)) and sketches.ndim == 4:
            sketches = list(sketches)
        elif isinstance(sketches, (np.ndarray, Tensor, PIL.Image.Image)):
            sketches = [sketches]
        elif not isinstance(sketches, (Sequence, FrameReader)):
            raise InputError(f"the sketches are of type {type(sketches).__name__}: give a list of images")
        if not len(sketches):
            raise InputError("there are no sketches to colorize: give at least one")
        self._images, self._name = sketches, name
        read = isinstance(sketches, FrameReader)
        self.size = sketches.size if read else size_of(sketches[0], f"{name} 0")
        """Height and width of every drawing in pixels."""
        self.are_sketches = not read and is_sketch(sketches[0])
        """Whether they are sketches already, tensors with line = 1, and no pictures of line art."""
        for number, image in enumerate([] if read else sketches):
            if (size := size_of(image, f"{name} {number}")) != self.size:
                sizes = " but ".join(f"{name} {n} is {w}x{h}" for n, (h, w) in ((number, size), (0, self.size)))
                raise InputError(f"{sizes}: make all sketches of a clip the same size")
            if is_sketch(image) != self.are_sketches:
                raise InputError("some sketches are tensors of one channel and some are pictures: give all in one form")

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: Any) -> Any:
        image = self._images[index]
        return image if isinstance(self._images, FrameReader) else standard_sketch(image, f"{self._name} {index}")

    def __iter__(self) -> Iterator[Any]:
        return (self[index] for index in range(len(self)))

    def reader(self, settings: DrawingSettings) -> DrawingReader | None:
        """Return what reads the drawings, all in one way; None if they are sketches already."""
        return None if self.are_sketches else DrawingReader(self, settings)


def batch_of_clips(reference: Any, sketches: Any) -> tuple[list[np.ndarray | Tensor], list[SketchClip]]:
    """Sort what a pipeline call is given => references in standard form, and for each a clip; all clips of one length.

    A list of references, or a tensor (b ...) with b > 1, wants a list of clips, or a tensor (b N ...).
    Raises InputError if there are not as many clips as references, or their lengths or sizes differ.
    """
    many_references = _is_list(reference) or (_has_dims(reference, 4) and len(reference) > 1)
    many_clips = _has_dims(sketches, 5) or (many_references and _is_list(sketches))
    references = list(reference) if many_references else [reference]
    clips = list(sketches) if many_clips else [sketches]
    if len(references) != len(clips):
        raise InputError(f"there are {len(references)} references and {len(clips)} clips of sketches: give each clip "
                         "one reference")  # fmt: skip
    if not clips:
        raise InputError("there are no sketches to colorize: give at least one")
    names = [f"clip {number}, sketch" for number in range(len(clips))] if many_clips else ["sketch"]
    read = [SketchClip(clip, name) for clip, name in zip(clips, names)]
    for what, values in (("lengths", [len(clip) for clip in read]), ("sizes", [clip.size for clip in read])):
        if len(set(values)) > 1:
            raise InputError(f"the clips of a batch have the {what} {', '.join(map(str, values))}: give each as many "
                             "sketches of one size, or paint them one by one")  # fmt: skip
    return [standard_form(one, "the reference") for one in references], read


def single_drawings(drawings: Any, count: int) -> list[SketchClip]:
    """Sort the references' own drawings: one image, or `count` of them => clips of one drawing each.

    Raises InputError if they are not as many.
    """
    many = list(drawings) if _is_list(drawings) or (_has_dims(drawings, 4) and len(drawings) > 1) else [drawings]
    if len(many) != count:
        raise InputError(f"there are {len(many)} reference sketches and {count} clips: give each clip one")
    return [SketchClip([one], "reference sketch") for one in many]


def _is_list(thing: Any) -> bool:
    return isinstance(thing, Sequence) and not isinstance(thing, (str, SketchClip))


def _has_dims(thing: Any, count: int) -> bool:
    return isinstance(thing, (np.ndarray, Tensor)) and thing.ndim == count


def color(image: PIL.Image.Image | np.ndarray | Tensor, size: tuple[int, int], name: str = "the reference") -> Tensor:
    """Convert a colored image to a tensor (3 H W) in [-1, 1] at `size`; what is transparent becomes white.

    image   PIL, or in standard form
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


def sketch(drawing: np.ndarray | Tensor, reader: DrawingReader | None, size: tuple[int, int]) -> Tensor:
    """Convert a line drawing in standard form to a sketch (1 H W) in [0, 1], line = 1, at `size`.

    reader   of the clip it belongs to; None = it is a sketch already
    """
    if isinstance(drawing, Tensor):
        return resize(drawing, size)
    assert reader is not None, "pictures of line art need a reader"
    return resize(reader(drawing).sketch, size)


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
