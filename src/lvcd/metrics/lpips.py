"""LPIPS, the learned perceptual distance of two frames (Zhang et al. 2018, arXiv 1801.03924), and shift-tolerant LPIPS.

letters: b clips, t frames, n frames of all clips, H W pixels
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

from torch import Tensor

from lvcd.errors import InputError

from . import weight_files as weights
from .backbones import (
    TORCHVISION_FILE,
    PerceptualNetwork,
    SharedFeatures,
    lpips_heads,
    shift_tolerant_alexnet,
    torchvision_alexnet,
)
from .base import ClipMean, Extractor
from .frame_tensors import ClipBatch, Filter, check_resize, frames_per_chunk, in_chunks, pairs_of, resized

HEADS_SHA256 = "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0"
"""Of the linear heads for AlexNet, version 0.1, that torchmetrics ships."""


class _Perceptual(ClipMean):
    higher_is_better = False

    def __init__(self, network: PerceptualNetwork, size: int | None, filter: Filter, **kwargs: Any):
        super().__init__(**kwargs)
        check_resize(size, filter)
        self.size, self.filter = size, filter
        self.extractor = Extractor(network)  # not a submodule: see Reported

    def update(self, preds: Tensor, target: Tensor, distances: Tensor | None = None) -> None:
        """Add generated and original frames, both (b t 3 H W) in [0, 1]; distances (b t): theirs, where known."""
        if distances is None:
            preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
            flat = (x.flatten(0, 1) for x in (preds, target))  # (b t 3 H W) => (n 3 H W)
            found = in_chunks(self.extractor.on(preds.device), frames_per_chunk(preds.device), *flat)
            distances = found.unflatten(0, preds.shape[:2])
        self.add(distances.double().mean(1), distances.shape[1])

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()


class LPIPS(_Perceptual):
    """LPIPS version 0.1 with AlexNet, mean over frames: 0 for equal frames, rarely above 1, lower is better.

    `weights` is torchvision's alexnet-owt-7be5be79.pth, which no package ships. InputError: none, or another file.

    >>> lpips = LPIPS("alexnet-owt-7be5be79.pth")  # doctest: +SKIP
    >>> lpips.update(generated, original)  # doctest: +SKIP
    >>> lpips.compute()  # doctest: +SKIP
    tensor(0.0560, dtype=torch.float64)
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        if weights is None:
            raise InputError(
                f"LPIPS needs torchvision's {TORCHVISION_FILE}: give its path as weights=, "
                "or use ShiftTolerantLPIPS, whose weights a package ships"
            )
        backbone, sha256 = torchvision_alexnet(weights)
        super().__init__(PerceptualNetwork(backbone, _heads(), "torchvision-alex", sha256), size, filter, **kwargs)


def _heads() -> list[Tensor]:
    path = weights.in_package("torchmetrics", "functional/image/lpips_models/alex.pth", "pip install torchmetrics")
    data, _ = weights.read(path, HEADS_SHA256, "the heads of LPIPS 0.1")
    return lpips_heads(weights.tensors(data, "the heads of LPIPS 0.1"))


class ShiftTolerantLPIPS(_Perceptual):
    """ST-LPIPS (Ghildyal and Liu 2022, arXiv 2207.13686), mean over frames: 0 for equal frames, lower is better.

    It runs offline: the package stlpips_pytorch ships its weights. It is not LPIPS: it forgives shifts of a pixel, and
    its values differ.

    >>> metric = ShiftTolerantLPIPS(size=None)
    >>> frames = torch.linspace(0, 1, 3 * 64 * 64).view(1, 1, 3, 64, 64)
    >>> metric.update(frames, frames)
    >>> metric.compute()
    tensor(0., dtype=torch.float64)
    """

    def __init__(self, size: int | None = 256, filter: Filter = "bilinear_antialias", **kwargs: Any):
        super().__init__(shift_tolerant_alexnet(), size, filter, **kwargs)

    def shared_key(self) -> Hashable:
        return self.extractor.name, self.extractor.sha256, self.resize_spec

    def compute_shared(self, preds: Tensor, target: Tensor) -> SharedFeatures:
        network = self.extractor.call
        assert isinstance(network, PerceptualNetwork)
        return network.shared_features(preds, target)

    def update_from_clips(self, clips: ClipBatch) -> None:
        shared: SharedFeatures | None = clips.shared.get(self.shared_key())
        self.update(*clips.resized(*self.resize_spec), None if shared is None else shared.distances)
