"""What the metrics are given: frames as they must be, brought to one size.

letters: b clips, t frames, n frames of all clips, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
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

Filter = Literal["bilinear_antialias", "bicubic_antialias", "bilinear", "area", "nearest"]
"""How frames are resized. The first two weigh all pixels that a new one covers, as PIL does, the third only four."""

SLACK = 1e-3
"""How far outside [0, 1] rounding may take a pixel; it is clamped."""


def frames_of(what: str, frames: Tensor) -> Tensor:
    """Frames (b t 3 H W) of any float type in [0, 1] -> the same in float32.

    Raises InputError for anything else, for NaN and for infinities.
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
            raise InputError(f"{what}: some pixels are not numbers (NaN or infinite): look at what made these frames")
        raise InputError(f"{what}: frames are in [0, 1], these reach from {low:.4g} to {high:.4g}: rescale them")
    return frames if low >= 0 and high <= 1 else frames.clamp(0, 1)


def pairs_of(preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Generated and original frames, both (b t 3 H W) in [0, 1], checked, float32. InputError: they do not match."""
    preds, target = frames_of("preds", preds), frames_of("target", target)
    if preds.shape != target.shape:
        raise InputError(
            f"preds are {tuple(preds.shape)} and target is {tuple(target.shape)}: give as many frames of the same size"
        )
    return preds, target


def check_resize(size: int | None, filter: Filter) -> None:
    """InputError: no size or filter that `resized` knows."""
    if size is not None and size < 1:
        raise InputError(f"size is a number of pixels or None, not {size}: the paper's is 256")
    if filter not in get_args(Filter):
        raise InputError(f"filter is one of {', '.join(get_args(Filter))}, not {filter!r}: choose one of these")


def resized(frames: Tensor, size: int | None, filter: Filter) -> Tensor:
    """Frames (b t 3 H W) in [0, 1] -> (b t 3 size size), whatever their proportions were; None leaves them."""
    if size is None or frames.shape[-2:] == (size, size):
        return frames
    mode, _, antialias = filter.partition("_")
    flat = frames.flatten(0, 1)  # (b t 3 H W) => (n 3 H W)
    flat = F.interpolate(flat, (size, size), mode=mode, antialias=bool(antialias))
    return flat.clamp(0, 1).unflatten(0, frames.shape[:2])  # bicubic overshoots


def at_once(device: torch.device) -> int:
    """Frames that go through a network of pictures together: on a CPU so few that they stay near a core."""
    return 2 if device.type == "cpu" else 16


def in_chunks(extract: Callable[..., Tensor], chunk: int, *inputs: Tensor) -> Tensor:
    """extract over `chunk` rows at a time of each of the inputs: without gradients, the mixed precision of a training
    run, and TF32."""
    with torch.no_grad(), torch.autocast(inputs[0].device.type, enabled=False), _exact():
        return torch.cat([extract(*parts) for parts in zip(*(x.split(chunk) for x in inputs))])


@contextmanager
def _exact() -> Iterator[None]:
    """Neither convolutions nor products of matrices in TF32."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=torch.backends.cudnn.enabled, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


def levels(frame: Array) -> list[Array]:
    """(3 H W) float32 in [0, 1] -> its three colors, each (H W) uint8."""
    return [np.asarray(cv2.convertScaleAbs(color, alpha=255)) for color in frame]


def in_threads(work: Callable[[list[T]], list[R]], items: list[T]) -> list[R]:
    """work(items), for work of OpenCV and numpy that minds no other item: cut into a stretch for each of torch's
    threads, which run at once."""
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return work(items)
    cuts = [len(items) * i // threads for i in range(threads + 1)]
    with ThreadPoolExecutor(threads) as pool:
        parts = pool.map(work, [items[a:b] for a, b in zip(cuts, cuts[1:])])
        return [result for part in parts for result in part]
