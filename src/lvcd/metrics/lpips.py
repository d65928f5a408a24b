"""Learned perceptual distance of two pictures: Zhang et al. 2018 (arXiv 1801.03924), and its shift-tolerant kin.

letters: b clips, t frames, n frames of all clips, c channels, H W pixels, h w at some depth
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .backbones import (
    TORCHVISION,
    Net,
    PooledFeatures,
    check_net,
    shift_tolerant_backbone,
    shift_tolerant_state,
    torchvision_backbone,
)
from .base import ClipMean, Extractor
from .inputs import Filter, at_once, check_resize, in_chunks, pairs_of, resized

HEADS = {
    "alex": "df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    "vgg": "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
}
"""SHA-256 of the linear heads, version 0.1, as torchmetrics ships them."""


def perceptual_distance(preds: list[Tensor], target: list[Tensor], heads: list[Tensor]) -> Tensor:
    """Sum over depths of the mean over h w of heads . (p - t)^2, p and t scaled to length 1 over c => (n).

    preds, target: features (n c h w) of each depth; heads: weights (c) of each depth.

    >>> up, right = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    >>> perceptual_distance([up], [right], [torch.tensor([0.5, 0.25])])
    tensor([0.7500])
    """
    total = torch.zeros(len(preds[0]), device=preds[0].device)
    for p, t, head in zip(preds, target, heads):
        apart = _unit(p).sub_(_unit(t)).square_()  # (n h w c)
        total += (apart @ head).mean((1, 2))
    return total


def _unit(x: Tensor) -> Tensor:
    """(n c h w) -> (n h w c), each pixel of length 1"""
    x = x.movedim(1, -1)
    return x * (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-10).reciprocal()


class _Pair(nn.Module):
    """Frames and their originals, both (n 3 H W) in [0, 1] -> distances (n)."""

    def __init__(self, backbone: nn.Module, heads: list[Tensor], name: str, sha256: str):
        super().__init__()
        self.backbone, self.name, self.sha256 = backbone, name, sha256
        self.heads = nn.ParameterList(nn.Parameter(head.flatten(), requires_grad=False) for head in heads)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return perceptual_distance(self.backbone(preds), self.backbone(target), list(self.heads))


class _Look(nn.Module):
    """The backbone of pooled features, which then know what it saw."""

    def __init__(self, features: PooledFeatures):
        super().__init__()
        self.features = features

    def forward(self, frames: Tensor) -> list[Tensor]:
        return self.features.look(frames)


class _Perceptual(ClipMean):
    higher_is_better = False

    def __init__(self, pair: _Pair, size: int | None, filter: Filter, **kwargs: Any):
        super().__init__(**kwargs)
        check_resize(size, filter)
        self.size, self.filter = size, filter
        self.extractor = Extractor(pair)

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Generated and original frames, both (b t 3 H W) in [0, 1]."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        flat = (x.flatten(0, 1) for x in (preds, target))  # (b t 3 H W) => (n 3 H W)
        distance = in_chunks(self.extractor.on(preds.device), at_once(preds.device), *flat)
        self.add(distance.double().unflatten(0, preds.shape[:2]).mean(1), preds.shape[1])

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter}

    def extractor_identity(self) -> dict[str, str | None]:
        return self.extractor.identity()


class LPIPS(_Perceptual):
    """LPIPS version 0.1, mean over frames: 0 for equal frames, rarely above 1, lower is better.

    `weights` is torchvision's file of the backbone, alexnet-owt-7be5be79.pth or vgg16-397923af.pth, which no package
    ships. InputError: none given, or another file.

    >>> lpips = LPIPS(weights="alexnet-owt-7be5be79.pth")  # doctest: +SKIP
    >>> lpips.update(generated, original)  # doctest: +SKIP
    >>> lpips.compute()  # doctest: +SKIP
    tensor(0.0560, dtype=torch.float64)
    """

    def __init__(
        self,
        net: Net = "alex",  # papers that do not say mean this one
        weights: str | Path | None = None,
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        check_net(net)
        if weights is None:
            raise InputError(
                f"LPIPS needs torchvision's {TORCHVISION[net][0]}: give its path as weights=, "
                "or use ShiftTolerantLPIPS, whose weights a package ships"
            )
        backbone, sha256 = torchvision_backbone(net, weights)
        super().__init__(_Pair(backbone, _heads(net), f"torchvision-{net}", sha256), size, filter, **kwargs)


def _heads(net: Net) -> list[Tensor]:
    """Weights of the five depths, from torchmetrics."""
    path = weights.in_package("torchmetrics", f"functional/image/lpips_models/{net}.pth", "pip install torchmetrics")
    data, _ = weights.read(path, HEADS[net], "the heads of LPIPS 0.1")
    state = weights.tensors(data, "the heads of LPIPS 0.1")
    return [state[f"lin{i}.model.1.weight"] for i in range(5)]


class ShiftTolerantLPIPS(_Perceptual):
    """ST-LPIPS (Ghildyal and Liu 2022, arXiv 2207.13686), mean over frames: 0 for equal frames, lower is better.

    Offline: the package stlpips_pytorch ships its weights. Not LPIPS: it forgives shifts of a pixel, and its numbers
    are others.

    >>> metric = ShiftTolerantLPIPS(size=None)
    >>> frames = torch.linspace(0, 1, 3 * 64 * 64).view(1, 1, 3, 64, 64)
    >>> metric.update(frames, frames)
    >>> metric.compute()
    tensor(0., dtype=torch.float64)
    """

    def __init__(
        self,
        net: Net = "alex",
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        looks: PooledFeatures | None = None,  # of the same net, to be spared looking at the same frames again
        **kwargs: Any,
    ):
        check_net(net)
        state, sha256 = shift_tolerant_state(net)
        heads = [state[f"lin{i}.model.1.weight"] for i in range(5)]
        backbone = _Look(looks) if looks else shift_tolerant_backbone(state, net)
        pair = _Pair(backbone, heads, f"shift-tolerant-{net}", sha256)
        super().__init__(pair, size, filter, **kwargs)
