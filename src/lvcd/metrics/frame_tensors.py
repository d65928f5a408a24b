"""Check what metrics are given, resize it, and compute in chunks or threads.

letters: b clips, t frames, n frames of all clips, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.errors import InputError

Array = np.ndarray[Any, Any]
T = TypeVar("T")
R = TypeVar("R")

Filter = Literal["bilinear_antialias", "bilinear"]
"""How frames are resized: from all pixels that a new one covers, as PIL does (this project's protocol), or from the
nearest four, as torch-fidelity and the ports of FVD do."""

SLACK = 1e-3
"""How far outside [0, 1] rounding may take a pixel value; it is clamped."""


def frames_of(what: str, frames: Tensor) -> Tensor:
    """Return frames (b t 3 H W) of any float type in [0, 1] as float32.

    InputError: another type, shape or range, NaN or infinite values. `what` names the argument in the message.
    """
    if not isinstance(frames, Tensor) or not frames.is_floating_point():
        kind = frames.dtype if isinstance(frames, Tensor) else type(frames).__name__
        raise InputError(f"{what}: frames are floats in [0, 1], these are {kind}: divide 8-bit values by 255")
    if frames.ndim != 5 or frames.shape[2] != 3 or not frames.numel():
        raise InputError(f"{what}: frames are (b t 3 H W) and not empty, these are {tuple(frames.shape)}: reshape them")
    frames = frames.float()
    low, high = (x.item() for x in frames.aminmax())
    if not (low >= -SLACK and high <= 1 + SLACK):  # written so that NaN fails
        if not bool(frames.isfinite().all()):
            raise InputError(f"{what}: some pixels are not numbers (NaN or infinite): check what made these frames")
        raise InputError(f"{what}: frames are in [0, 1], these reach from {low:.4g} to {high:.4g}: rescale them")
    return frames if low >= 0 and high <= 1 else frames.clamp(0, 1)


def pairs_of(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Return generated and original frames, both (b t 3 H W) in [0, 1], as float32. InputError: they do not match."""
    preds, target = frames_of("preds", preds), frames_of("target", target)
    if preds.shape != target.shape:
        raise InputError(
            f"preds are {tuple(preds.shape)} and target is {tuple(target.shape)}: give as many frames of the same size"
        )
    return preds, target


def check_resize(size: int | None, filter: Filter) -> None:
    """Check the arguments of `resized`. InputError: a size below 1 or an unknown filter."""
    if size is not None and size < 1:
        raise InputError(f"size is a number of pixels or None, not {size}: the paper's is 256")
    if filter not in get_args(Filter):
        raise InputError(f"filter is {' or '.join(get_args(Filter))}, not {filter!r}: choose one of these")


def resized(frames: Tensor, size: int | None, filter: Filter) -> Tensor:
    """Resize frames (b t c H W) in [0, 1] to (b t c size size), whatever their aspect ratio; None leaves them."""
    if size is None or frames.shape[-2:] == (size, size):
        return frames
    mode, _, antialias = filter.partition("_")
    flat = frames.flatten(0, 1)  # (b t c H W) => (n c H W)
    flat = F.interpolate(flat, (size, size), mode=mode, antialias=bool(antialias))
    return flat.clamp(0, 1).unflatten(0, frames.shape[:2])


@dataclass
class ClipBatch:
    """Some clips, and what several metrics need of them, computed once for all.

    The reference frame is not among the frames. `preds` and `target` are checked and float32.
    """

    preds: Tensor
    """Generated frames (b t 3 H W) in [0, 1]."""
    target: Tensor
    """Original frames (b t 3 H W) in [0, 1]."""
    sketches: Tensor
    """(b t 1 H W) in [0, 1], line = 1."""
    index: Tensor
    """Numbers of the clips in the test set: (b) long."""
    shared: dict[Hashable, Any] = field(default_factory=dict)
    """`Reported.shared_key` -> what `Reported.compute_shared` gave, of keys that several metrics of a suite have."""
    _resized: dict[Hashable, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def resized(self, size: int | None, filter: Filter) -> tuple[Tensor, Tensor]:
        """Return `preds` and `target`, both (b t 3 size size)."""
        spec = size, filter
        if spec not in self._resized:
            self._resized[spec] = resized(self.preds, *spec), resized(self.target, *spec)
        return self._resized[spec]


def frames_per_chunk(device: torch.device) -> int:
    """Return how many frames an image network takes at once: on a CPU so few that they stay in a core's cache."""
    return 2 if device.type == "cpu" else 16


def in_chunks(function: Callable[..., Any], chunk: int, *inputs: Tensor) -> Any:
    """Call `function` on `chunk` rows at a time of each of the inputs (n ...) and concatenate its tensors, or each of
    the tensors of its tuple.

    It runs without gradients, without the mixed precision of a training run and without TF32.
    """
    with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False), _exact_products():
        parts = [function(*rows) for rows in zip(*(x.split(chunk) for x in inputs))]
    if isinstance(parts[0], Tensor):
        return torch.cat(parts)
    return tuple(torch.cat(tensors) for tensors in zip(*parts))


@contextmanager
def _exact_products() -> Iterator[None]:
    """Turn TF32 off for convolutions and products of matrices."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def levels(frame: Array) -> list[Array]:
    """Return the three channels of a frame (3 H W) float32 in [0, 1], each (H W) uint8."""
    return [np.asarray(cv2.convertScaleAbs(color, alpha=255)) for color in frame]


def in_threads(function: Callable[[list[T]], list[R]], items: list[T]) -> list[R]:
    """Return `function(items)`, computed in as many threads as torch uses, each on a stretch of the items.

    For functions of OpenCV and numpy, which release the interpreter's lock, and whose result of an item depends on no
    other item.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return function(items)
    cuts = [len(items) * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(function, [items[a:b] for a, b in zip(cuts, cuts[1:])])
        return [result for part in parts for result in part]
