"""Frechet Video Distance: Unterthiner et al. 2018 (arXiv 1812.01717).

letters: b clips, t frames, d features, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from .frame_tensors import Filter, in_chunks
from .frechet import FrechetDistance
from .i3d import I3D, MIN_FRAMES

CLIPS_PER_CHUNK = 4
"""Clips that go through the network at once."""


class FVD(FrechetDistance):
    """Frechet distance of the I3D logits of whole clips (b t 3 H W) in [0, 1], t >= 9. From 0 up, lower is better.

    It runs offline with the packaged weights; `extractor=ScriptedI3D(path)` takes the user's file. The distance of
    another extractor is named FrechetDistance[its name], never FVD.

    >>> fvd = FVD(size=None)
    >>> fvd.update(torch.zeros(2, 9, 3, 32, 32), real=True)
    >>> fvd.update(torch.ones(2, 9, 3, 32, 32), real=False)
    >>> fvd.compute() > 100
    tensor(True)
    """

    SAMPLES = "clips"
    min_frames = MIN_FRAMES

    def __init__(
        self,
        extractor: Callable[[Tensor], Tensor] | None = None,  # clips (b t 3 H W) in [0, 1] -> (b d); None = I3D()
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        groups: int = 10,
        **kwargs: Any,
    ):
        super().__init__(extractor or I3D(), size, filter, groups, **kwargs)

    @property
    def name(self) -> str:
        published = self.extractor.name in ("i3d-kinetics-400", "i3d-torchscript")
        return "FVD" if published else f"FrechetDistance[{self.extractor.name}]"

    def settings(self) -> dict[str, Any]:
        """Return the settings; "length" and "stride", None for whole clips, are part of the key of existing boards."""
        resize = getattr(self.extractor.call, "resize", None)
        return {**super().settings(), "length": None, "stride": None, "to_224": resize}

    def _features(self, frames: Tensor) -> Tensor:
        return in_chunks(self.extractor.on(frames.device), CLIPS_PER_CHUNK, frames)[:, None]  # (b 1 d)
