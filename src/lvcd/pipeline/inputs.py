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


def batch_of_clips(
    reference: Any, sketches: Any, many: bool = False
) -> tuple[list[np.ndarray | Tensor] | None, list[SketchClip]]:
    """Sort what a pipeline call is given => references in standard form, and for each a clip; all clips of one length.

    A list of references, or a tensor (b ...) with b > 1, wants a list of clips, or a tensor (b N ...). None: there are
    no references; `many` says whether there are many clips.
    Raises InputError if there are not as many clips as references, or their lengths or sizes differ.
    """
    many_references = many or _is_list(reference) or (_has_dims(reference, 4) and len(reference) > 1)
    many_clips = _has_dims(sketches, 5) or (many_references and _is_list(sketches))
    references = list(reference) if many_references and reference is not None else [reference]
    clips = list(sketches) if many_clips else [sketches]
    if reference is not None and len(references) != len(clips):
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
    return None if reference is None else [standard_form(one, "the reference") for one in references], read


def keys_of_clips(keys: Any, count: int) -> list[dict[int, np.ndarray | Tensor]]:
    """Sort the keys of a pipeline call, one mapping for each of `count` clips or None => mappings of standard forms.

    Raises InputError if they are not as many, or name other sketches in one clip than in another.
    """
    found = [{}] * count if keys is None else list(keys) if _is_list(keys) else [keys]
    if len(found) != count or len({frozenset(one) for one in found}) > 1:
        raise InputError("the keys of a batch need one mapping for each clip, all with the same numbers of sketches")
    return [{number: standard_form(one[number], f"key {number}") for number in one} for one in found]


def sheets_of_clips(sheets: Any, count: int) -> list[list[np.ndarray | Tensor]]:
    """Sort the sheets of a pipeline call, a list for one clip, a list of lists for several => lists of standard forms.

    Raises InputError if there are not as many lists as clips, or they have not equally many sheets.
    """
    lists = [[]] * count if not len(sheets) else list(sheets) if _is_list(sheets[0]) else [sheets]
    if len(lists) != count or len(set(map(len, lists))) > 1:
        raise InputError("the sheets of a batch need one list for each clip, all with equally many")
    return [[standard_form(one, "the sheet") for one in each] for each in lists]


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
    check_shape((pixels.shape[-2], pixels.shape[-1]), size, name)
    return resize(pixels, size) * 2 - 1


def sheet(image: np.ndarray | Tensor, size: tuple[int, int]) -> Tensor:
    """Convert a model sheet of any size and aspect, in standard form, to a tensor (3 H W) in [-1, 1] at `size`."""
    return color(pad_to_shape(array(image), size), size, "the sheet")


def pad_to_shape(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pad a picture, uint8 (h w c), to the aspect ratio of `size`, with the most common color of its border."""
    (h, w), (height, width) = pixels.shape[:2], size
    if same_shape((h, w), size):
        return pixels
    large = max(h, round(w * height / width)), max(w, round(h * width / height))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colors, counts = np.unique(border, axis=0, return_counts=True)
    whole = np.empty((*large, pixels.shape[2]), np.uint8)
    whole[:] = colors[counts.argmax()]
    top, left = (large[0] - h) // 2, (large[1] - w) // 2
    whole[top : top + h, left : left + w] = pixels
    return whole


def check_shape(own: tuple[int, int], size: tuple[int, int], name: str) -> None:
    """InputError: a colored image of size `own` (height, width) has another aspect ratio than sketches of `size`."""
    (h, w), (height, width) = own, size
    if not same_shape(own, size):
        raise InputError(
            f"{name} is {w}x{h} and the sketches are {width}x{height}: crop one to the aspect ratio of the other"
        )


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
