"""Frechet Video Distance: Unterthiner et al. 2018 (arXiv 1812.01717)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .frechet import FrechetDistance
from .i3d import I3D, windows
from .inputs import Filter, in_chunks

CHUNK = 4
"""Clips that go through the network at once."""


class FVD(FrechetDistance):
    """Frechet distance of the I3D logits of clips (b t 3 H W) in [0, 1]; t >= 9. From 0 up, lower is better.

    Offline with the packaged weights; `extractor=ScriptedI3D(path)` takes the user's file. A further callable is
    shown as FrechetDistance[its name], never as FVD.

    >>> fvd = FVD(size=None)
    >>> fvd.update(torch.zeros(2, 9, 3, 32, 32), real=True)
    >>> fvd.update(torch.ones(2, 9, 3, 32, 32), real=False)
    >>> fvd.compute() > 100
    tensor(True)
    """

    WHAT = "clips"

    def __init__(
        self,
        extractor: Callable[[Tensor], Tensor] | None = None,  # clips (b t 3 H W) in [0, 1] -> (b d); None = I3D()
        length: int | None = None,  # frames of each window that a clip is cut into; None = the whole clip
        stride: int | None = None,  # frames from one window's start to the next; None = end to end
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        groups: int = 10,
        **kwargs: Any,
    ):
        self.length, self.stride = length, stride
        super().__init__(extractor or I3D(), size, filter, groups, **kwargs)

    @property
    def name(self) -> str:
        published = self.extractor.name in ("i3d-kinetics-400", "i3d-torchscript")
        return "FVD" if published else f"FrechetDistance[{self.extractor.name}]"

    def settings(self) -> dict[str, Any]:
        resize = getattr(self.extractor.call, "resize", None)
        return {**super().settings(), "length": self.length, "stride": self.stride, "to_224": resize}

    def update(self, videos: Tensor, real: bool, index: Tensor | None = None) -> None:
        """videos (b t 3 H W) in [0, 1]; the rest as in FrechetDistance."""
        super().update(videos, real, index)

    def _features(self, frames: Tensor) -> Tensor:
        parts = [frames[:, window] for window in windows(frames.shape[1], self.length, self.stride)]
        extract = self.extractor.on(frames.device)
        return torch.stack([in_chunks(extract, CHUNK, part) for part in parts], 1)  # (b windows d)
