"""Euclidean distance map difference: how far the lines of a generated frame lie from those of its sketch.

LVCD (arXiv 2409.12960), section 6; distance maps: Danielsson 1980.

letters: b clips, t frames, n frames of all clips, c channels, H W pixels, h w pixels after resizing
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import cv2
import torch
from torch import Tensor

from lvcd.errors import InputError

from .base import ClipMean, Extractor
from .distance import distance_map, distances
from .inputs import Array, Filter, check_resize, frames_of, in_chunks, in_threads, resized
from .lines import XDoGLines

CHUNK = 16
"""Frames that lines are drawn from at once."""
When = Literal["resized", "full"]
"""Whether lines are drawn from the resized frames, or from the whole frames and resized then."""


def edmd_from_lines(pred_lines: Tensor, lines: Tensor) -> Tensor:
    """Root mean square difference of two distance maps in px: masks (b t 1 H W) in {0, 1}, line = 1 -> (b t) float64.

    0 where the lines are the same, up to the diagonal where one frame is all line and the other has none. InputError:
    other values or shapes.

    >>> lines = torch.eye(4).view(1, 1, 1, 4, 4)
    >>> edmd_from_lines(lines, lines)
    tensor([[0.]], dtype=torch.float64)
    """
    for name, mask in (("pred_lines", pred_lines), ("lines", lines)):
        if mask.ndim != 5 or mask.shape[2] != 1 or not mask.numel():
            raise InputError(f"{name}: line masks are (b t 1 H W), these are {tuple(mask.shape)}: reshape them")
        if mask.dtype != torch.bool and not bool(((mask == 0) | (mask == 1)).all()):
            raise InputError(f"{name}: line masks are 0 or 1 everywhere, these are not: compare them with a threshold")
    if pred_lines.shape != lines.shape:
        raise InputError(
            f"pred_lines are {tuple(pred_lines.shape)}, lines {tuple(lines.shape)}: give as many of the same size"
        )
    pred, own = (mask.bool().flatten(0, 2) for mask in (pred_lines, lines))  # (b t 1 H W) => (n H W)
    if lines.device.type == "cpu":
        found = torch.tensor(in_threads(_difference, [*torch.stack([pred, own], 1).numpy()]), dtype=torch.float64)
    else:
        found = (distance_map(pred) - distance_map(own)).square().mean((1, 2)).sqrt()
    return found.unflatten(0, lines.shape[:2])


def _difference(pairs: list[Array]) -> list[float]:
    """Masks on the CPU, each (2 H W) bool -> root mean square difference of the two maps, of each. In float64, a frame
    at a time."""
    found = []
    for pred, own in pairs:
        apart = distances(pred)
        apart -= distances(own)
        found.append(cv2.norm(apart) / math.sqrt(apart.size))  # numpy's vdot would start all threads of BLAS for it
    return found


def sketches_of(sketches: Tensor, frames: Tensor) -> Tensor:
    """Sketches (b t 1 H W) in [0, 1], line = 1, one for each of the frames -> float32. InputError: they are not."""
    if not isinstance(sketches, Tensor) or sketches.ndim != 5 or sketches.shape[2] != 1:
        kind = tuple(sketches.shape) if isinstance(sketches, Tensor) else type(sketches).__name__
        raise InputError(f"sketches are (b t 1 H W), these are {kind}: reshape them")
    if sketches.shape[:2] != frames.shape[:2]:
        raise InputError(
            f"there are {tuple(sketches.shape[:2])} sketches for {tuple(frames.shape[:2])} frames: give one for each"
        )
    return frames_of("sketches", sketches.expand(-1, -1, 3, -1, -1))[:, :, :1]


class EDMD(ClipMean):
    """EDMD, mean over frames, in px: 0 where the generated lines lie on the sketch's; lower is better.

    Reads as the average shift of the lines. A frame without a line pixel counts with the diagonal as its distance; the
    report says how many those were. An extractor takes frames in [0, 1] and gives lines in [0, 1], line = 1.

    >>> edmd = EDMD(lambda frames: 1 - frames.amax(1, keepdim=True), "darkness", size=None)
    >>> paper = torch.ones(1, 1, 3, 4, 4)
    >>> paper[..., 1] = 0
    >>> edmd.update(paper, 1 - paper[:, :, :1])
    >>> edmd.compute()
    tensor(0., dtype=torch.float64)
    """

    higher_is_better = False
    blank: Tensor

    def __init__(
        self,
        extractor: Callable[[Tensor], Tensor] | None = None,  # frames (n 3 H W) -> lines (n 1 H W); None = XDoGLines()
        extractor_name: str | None = None,  # None = its own
        threshold: float = 0.5,  # what is darker is a line pixel: of the drawn lines, and of the sketches
        lines: When = "resized",
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        if not 0 <= threshold < 1:
            raise InputError(f"the threshold of a line lies in [0, 1), not at {threshold}: the default is 0.5")
        if lines not in get_args(When):
            raise InputError(f"lines are drawn from {' or '.join(get_args(When))} frames, not {lines!r}: choose one")
        self.threshold, self.lines, self.size, self.filter = threshold, lines, size, filter
        self.extractor = Extractor(extractor or XDoGLines())
        self.extractor.name = extractor_name or self.extractor.name
        self.add_state("blank", torch.zeros(2, dtype=torch.long), "sum")

    def update(self, preds: Tensor, sketches: Tensor) -> None:
        """Generated frames (b t 3 H W) and the sketches that they follow (b t 1 H W), both in [0, 1], line = 1."""
        preds = frames_of("preds", preds)
        sketches = sketches_of(sketches, preds).to(preds.device)
        if self.size is None and sketches.shape[-2:] != preds.shape[-2:]:
            raise InputError(
                f"sketches are {tuple(sketches.shape[-2:])} and frames {tuple(preds.shape[-2:])} large: give a size"
            )
        if self.lines == "resized":
            drawn = self._draw(resized(preds, self.size, self.filter))
        else:
            drawn = resized(self._draw(preds), self.size, self.filter)
        own = resized(sketches, self.size, self.filter)
        masks = [x > self.threshold for x in (drawn, own)]
        self.add(edmd_from_lines(*masks).mean(1), preds.shape[1])
        self.blank += torch.stack([(~mask.flatten(2).any(2)).sum() for mask in masks])

    def _draw(self, frames: Tensor) -> Tensor:
        """(b t 3 h w) -> (b t 1 h w)"""
        flat = frames.flatten(0, 1)
        drawn = in_chunks(self.extractor.on(frames.device), CHUNK, flat).float()
        if drawn.shape != (len(flat), 1, *flat.shape[2:]):
            raise InputError(
                f"{self.extractor.name} makes {tuple(drawn.shape)} of {tuple(flat.shape)}: it is to return (n 1 H W)"
            )
        return drawn.unflatten(0, frames.shape[:2])

    @property
    def sees(self) -> tuple[int | None, Filter]:
        return None if self.lines == "full" else self.size, self.filter

    def feed(self, preds: Tensor, target: Tensor, sketches: Tensor, index: Tensor) -> None:
        self.update(preds, sketches)

    def settings(self) -> dict[str, Any]:
        return {"threshold": self.threshold, "lines": self.lines, "size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def notes(self) -> list[str]:
        kinds = zip(("generated frames", "sketches"), self.blank.tolist())
        return [f"{n} {kind} have no line: their distance is the diagonal" for kind, n in kinds if n]
