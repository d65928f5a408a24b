"""AlexNet's features at five depths, plain for LPIPS or shift-tolerant for ST-LPIPS and the offline Frechet distance.

Weights: torchvision's, a file of the user's; or the shift-tolerant ones that the package stlpips_pytorch ships.

letters: b clips, t frames, n frames of all clips, c channels, d features, H W pixels, h w pixels at some depth
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from . import weight_files as weights
from .cpu_kernels import Downsample, convolution, max_pool_dim
from .frame_tensors import frames_per_chunk, in_chunks

DEPTHS = 5
LAYERS = "64,11,4,2 > P 192,5,1,2 > P 384,3,1,1 > 256,3,1,1 > 256,3,1,1"
"""The five depths of AlexNet, parted by >: P is a max pooling of 3 by stride 2, else a convolution: width, kernel,
stride, padding."""
TORCHVISION_FILE = "alexnet-owt-7be5be79.pth"
TORCHVISION_SHA256 = "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"
SHIFT_TOLERANT_FILE = "weights/vST0.0/alex_shift_tolerant.pth"
"""In the package stlpips_pytorch 0.0.2."""
SHIFT_TOLERANT_SHA256 = "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee"
SHIFT_TOLERANT_NAME = "a weight file of stlpips_pytorch 0.0.2"
ADVICE = "pip install stlpips_pytorch==0.0.2"
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
"""Of pixel values in [0, 1]; the shift and scale of LPIPS are these in [-1, 1]."""


class MaxPool(nn.Module):
    """Max pooling of stride 1: (n c H W) -> (n c H-k+1 W-k+1)."""

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return max_pool_dim(max_pool_dim(x, 2, self.k), 3, self.k)


class AlexNet(nn.Module):
    """Frames (n 3 H W) in [0, 1] -> features (n c h w) at five depths.

    Krizhevsky 2014 (arXiv 1404.5997) in torchvision's form; shift-tolerant as in Ghildyal and Liu 2022
    (arXiv 2207.13686), where every stride is a blur and a subsampling.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, shift_tolerant: bool, convolutions: list[Tensor]):
        """convolutions: weight and bias of one after the other."""
        super().__init__()
        tensors, depths = iter(convolutions), []
        for depth in LAYERS.split(" > "):
            layers: list[nn.Module] = []
            for layer in depth.split():
                if layer == "P":
                    layers += [MaxPool(3), Downsample()] if shift_tolerant else [nn.MaxPool2d(3, 2)]
                    continue
                stride, padding = (int(x) for x in layer.split(",")[2:])
                conv = convolution(next(tensors), next(tensors), stride, padding, blur=shift_tolerant and stride > 1)
                layers += [conv, nn.ReLU(inplace=True)]
            depths.append(nn.Sequential(*layers))
        self.depths = nn.ModuleList(depths)
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = ((frames - self.mean) / self.std).contiguous(memory_format=torch.channels_last)  # faster on a CPU
        return [x := depth(x) for depth in self.depths]


def torchvision_alexnet(path: str | Path) -> tuple[AlexNet, str]:
    """Return AlexNet with torchvision's weights, and their SHA-256. InputError: not the published file."""
    what = f"torchvision's {TORCHVISION_FILE}"
    data, sha256 = weights.read(path, TORCHVISION_SHA256, what)
    state = weights.tensors(data, what)
    return AlexNet(False, [value for key, value in state.items() if key.startswith("features.")]), sha256


def lpips_heads(state: dict[str, Tensor]) -> list[Tensor]:
    """Return the weights (1 c 1 1) of LPIPS' linear layer at each depth from a state dict of LPIPS or ST-LPIPS."""
    return [state[f"lin{i}.model.1.weight"] for i in range(DEPTHS)]


def perceptual_distance(preds: list[Tensor], target: list[Tensor], heads: list[Tensor]) -> Tensor:
    r"""Return LPIPS' distance of pairs of frames from their features: (n).

    .. math:: d = \sum_l \frac{1}{h_l w_l} \sum_{y, x} w_l^T (\hat p_{l y x} - \hat t_{l y x})^2

    where the hat scales the features of a pixel to length 1 (Zhang et al. 2018, arXiv 1801.03924, equation 1).
    preds, target: features (n c h w) of each depth. heads: weights (c) of each depth.

    >>> up, right = torch.tensor([0.0, 2.0]).view(1, 2, 1, 1), torch.tensor([3.0, 0.0]).view(1, 2, 1, 1)
    >>> perceptual_distance([up], [right], [torch.tensor([0.5, 0.25])])
    tensor([0.7500])
    """
    total = torch.zeros(len(preds[0]), device=preds[0].device)
    for p, t, head in zip(preds, target, heads):
        difference = _normalized(p).sub_(_normalized(t)).square_()  # (n h w c)
        total += (difference @ head).mean((1, 2))
    return total


def _normalized(x: Tensor) -> Tensor:
    """Move the channels last and scale each pixel to length 1: (n c h w) => (n h w c)."""
    x = x.movedim(1, -1)
    return x * (torch.linalg.vector_norm(x, dim=-1, keepdim=True) + 1e-10).reciprocal()


class SharedFeatures(NamedTuple):
    """What one pass of a PerceptualNetwork over generated and original frames gives several metrics."""

    distances: Tensor
    """(b t)"""
    preds: Tensor
    """Features averaged over each frame (b t d)."""
    target: Tensor
    """Features averaged over each frame (b t d)."""


class PerceptualNetwork(nn.Module):
    """A backbone with LPIPS' heads: frames and their originals, both (n 3 H W) in [0, 1] -> distances (n)."""

    def __init__(self, backbone: nn.Module, heads: list[Tensor], name: str, sha256: str):
        super().__init__()
        self.backbone, self.name, self.sha256 = backbone, name, sha256
        self.heads = nn.ParameterList(nn.Parameter(head.flatten(), requires_grad=False) for head in heads)

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        return perceptual_distance(self.backbone(preds), self.backbone(target), list(self.heads))

    def shared_features(self, preds: Tensor, target: Tensor) -> SharedFeatures:
        """Pass generated and original frames, both (b t 3 H W) in [0, 1], through the backbone once."""
        network, device = self.to(preds.device), preds.device
        flat = (x.flatten(0, 1) for x in (preds, target))  # (b t 3 H W) => (n 3 H W)
        found = in_chunks(network._distances_and_means, frames_per_chunk(device), *flat)
        return SharedFeatures(*(x.unflatten(0, preds.shape[:2]) for x in found))

    def _distances_and_means(self, preds: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Frames (n 3 H W) => (n), (n d), (n d)."""
        features = self.backbone(preds), self.backbone(target)
        means = [spatial_means(depths) for depths in features]
        return perceptual_distance(*features, list(self.heads)), means[0], means[1]


def shift_tolerant_alexnet() -> PerceptualNetwork:
    """Return the network of ST-LPIPS with the weights that stlpips_pytorch ships.

    InputError: the package is not installed, or its file was changed.
    """
    path = weights.in_package("stlpips_pytorch", SHIFT_TOLERANT_FILE, ADVICE)
    data, sha256 = weights.read(path, SHIFT_TOLERANT_SHA256, SHIFT_TOLERANT_NAME)
    state = weights.tensors(data, SHIFT_TOLERANT_NAME)
    names = [key for key in state if key.startswith("net.") and key.endswith((".weight", ".bias"))]
    backbone = AlexNet(True, [state[name] for name in names])
    return PerceptualNetwork(backbone, lpips_heads(state), "shift-tolerant-alex", sha256)


def spatial_means(depths: list[Tensor]) -> Tensor:
    """Average the features of each depth over the frame: depths of (n c h w) -> (n d), d the sum of all c."""
    return torch.cat([depth.mean((2, 3)) for depth in depths], 1)


class PooledFeatures(nn.Module):
    """Frames (n 3 H W) in [0, 1] -> features of shift-tolerant AlexNet averaged over the frame, of all depths (n 1152).

    For FrechetDistance where Inception's weights are missing. The early depths see color and texture, the late ones
    shapes. InputError: the package stlpips_pytorch is not installed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.network = shift_tolerant_alexnet()
        self.name, self.sha256 = self.network.name, self.network.sha256
        self.features = sum(head.numel() for head in self.network.heads)

    def forward(self, frames: Tensor) -> Tensor:
        return spatial_means(self.network.backbone(frames))
