"""EDMD, the Euclidean distance map difference between the lines of a generated frame and those of its sketch.

LVCD (arXiv 2409.12960), section 6; distance maps: Danielsson 1980.

letters: b clips, t frames, n frames of all clips, c channels, H W pixels, h w pixels after resizing
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import cv2
import torch
from torch import Tensor

from lvcd.errors import InputError

from .base import ClipMean, Extractor
from .distance import distance_map, distances
from .frame_tensors import Array, ClipBatch, Filter, check_resize, frames_of, in_chunks, in_threads, resized
from .lines import XDoGLines

FRAMES_PER_CHUNK = 16
"""Frames that lines are drawn from at once."""


def edmd_from_lines(pred_lines: Tensor, lines: Tensor) -> Tensor:
    r"""Return the EDMD of two sets of line masks (b t 1 H W) in {0, 1}, line = 1, in px: (b t) float64.

    .. math:: EDMD = \sqrt{\frac{1}{H W} \sum_{y, x} (D(L)_{y x} - D(L')_{y x})^2}

    where D is the Euclidean distance map of a frame's lines. It is 0 where the lines are equal, and the
    diagonal where one frame is all line and the other has none. InputError: other values or shapes.

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
    pred, sketch = (mask.bool().flatten(0, 2) for mask in (pred_lines, lines))  # (b t 1 H W) => (n H W)
    if lines.device.type == "cpu":
        found = torch.tensor(in_threads(_differences, [*torch.stack([pred, sketch], 1).numpy()]), dtype=torch.float64)
    else:
        found = (distance_map(pred) - distance_map(sketch)).square().mean((1, 2)).sqrt()
    return found.unflatten(0, lines.shape[:2])


def _differences(pairs: list[Array]) -> list[float]:
    """Return the EDMD of each pair of masks (2 H W) bool on the CPU, in float64, a frame at a time."""
    found = []
    for pred, sketch in pairs:
        difference = distances(pred)
        difference -= distances(sketch)
        found.append(cv2.norm(difference) / math.sqrt(difference.size))  # numpy's vdot would start all threads of BLAS
    return found


def sketches_of(sketches: Tensor, frames: Tensor) -> Tensor:
    """Return sketches (b t 1 H W) in [0, 1] as float32, one for each of the frames. InputError: they are not that."""
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

    See `edmd_from_lines`. The value reads as the average shift of the lines. A frame without a line pixel has the
    diagonal as its distance everywhere; the report counts such frames. An extractor takes frames (n 3 H W) in [0, 1]
    and returns lines (n 1 H W) in [0, 1], line = 1, drawn from the resized frames.

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
        threshold: float = 0.5,  # a pixel above it is a line, of the drawn lines and of the sketches
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        if not 0 <= threshold < 1:
            raise InputError(f"the threshold of a line lies in [0, 1), not at {threshold}: the default is 0.5")
        self.threshold, self.size, self.filter = threshold, size, filter
        self.extractor = Extractor(extractor or XDoGLines())
        self.extractor.name = extractor_name or self.extractor.name
        self.add_state("blank", torch.zeros(2, dtype=torch.long), "sum")

    def update(self, preds: Tensor, sketches: Tensor) -> None:
        """Add generated frames (b t 3 H W) and the sketches that they follow (b t 1 H W), both in [0, 1], line = 1."""
        preds = frames_of("preds", preds)
        sketches = sketches_of(sketches, preds).to(preds.device)
        if self.size is None and sketches.shape[-2:] != preds.shape[-2:]:
            raise InputError(
                f"sketches are {tuple(sketches.shape[-2:])} and frames {tuple(preds.shape[-2:])} large: give a size"
            )
        drawn = self._draw(resized(preds, self.size, self.filter))
        masks = [x > self.threshold for x in (drawn, resized(sketches, self.size, self.filter))]
        self.add(edmd_from_lines(*masks).mean(1), preds.shape[1])
        self.blank += torch.stack([(~mask.flatten(2).any(2)).sum() for mask in masks])

    def _draw(self, frames: Tensor) -> Tensor:
        """Extract the lines (b t 1 h w) of frames (b t 3 h w)."""
        flat = frames.flatten(0, 1)
        drawn = in_chunks(self.extractor.on(frames.device), FRAMES_PER_CHUNK, flat).float()
        if drawn.shape != (len(flat), 1, *flat.shape[2:]):
            raise InputError(
                f"{self.extractor.name} makes {tuple(drawn.shape)} of {tuple(flat.shape)}: it is to return (n 1 H W)"
            )
        return drawn.unflatten(0, frames.shape[:2])

    def update_from_clips(self, clips: ClipBatch) -> None:
        self.update(clips.resized(*self.resize_spec)[0], clips.sketches)

    def settings(self) -> dict[str, Any]:
        """Return the settings; "lines", the frames that lines are drawn from, is part of the key of existing boards."""
        return {"threshold": self.threshold, "lines": "resized", "size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()

    def notes(self) -> list[str]:
        kinds = zip(("generated frames", "sketches"), self.blank.tolist())
        return [f"{n} {kind} have no line: their distance is the diagonal" for kind, n in kinds if n]
