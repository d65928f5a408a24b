"""AlexNet and VGG16 up to their five depths, as LPIPS looks through them, plain or shift-tolerant.

Weights: torchvision's, a file of the user; or the shift-tolerant ones that the package stlpips_pytorch ships.

letters: n frames, c channels, d features, H W pixels, h w at some depth
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .cpu_kernels import Winograd, maxima

Net = Literal["alex", "vgg"]
LAYERS = {
    "alex": "64,11,4,2 > P 192,5,1,2 > P 384,3,1,1 > 256,3,1,1 > 256,3,1,1",
    "vgg": "64 64 > P 128 128 > P 256 256 256 > P 512 512 512 > P 512 512 512",
}
"""Five depths, parted by >: P a pooling (3 by 2, VGG 2 by 2), else a convolution: width, kernel, stride, padding."""
TORCHVISION = {
    "alex": ("alexnet-owt-7be5be79.pth", "7be5be791159472b1fbf3c69796f7cb30dca7ad8466c2df70058c37116cdee02"),
    "vgg": ("vgg16-397923af.pth", "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0"),
}
"""Published file and its SHA-256."""
SHIFT_TOLERANT = {
    "alex": "b356b382f96010f77d085ee8343ecd9fd322d0a56e8de2b2d0549fafcad8b9ee",
    "vgg": "44597da68f49c1837c100ff52299050f274d102eb102e5837178c79be6f0e250",
}
"""SHA-256 of the files in stlpips_pytorch 0.0.2."""
ADVICE = "pip install stlpips_pytorch==0.0.2"
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet, in [0, 1]; the shift and scale of LPIPS are these in [-1, 1]."""


class Downsample(nn.Module):
    """Blur with [1 2 1] x [1 2 1] / 16 and take every second pixel, mirrored 2 px beyond the edge. (n c h w)"""

    def forward(self, x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device)
        kernel = (torch.outer(row, row) / 16).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class Maxima(nn.Module):
    """Max pooling of stride 1: (n c h w) -> (n c h-k+1 w-k+1)."""

    def __init__(self, k: int):
        super().__init__()
        self.k = k

    def forward(self, x: Tensor) -> Tensor:
        return maxima(maxima(x, 2, self.k), 3, self.k)


class SameConv(nn.Module):
    """A convolution at every pixel, zeros beyond the edge: (n c h w) -> (n d h w)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.conv = Winograd(weight[:, :, None], bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 2, 3, 1)[:, None])[:, 0].permute(0, 3, 1, 2)


class ThinnedConv(nn.Module):
    """A convolution at every pixel and `Downsample` of it, in one step, with a kernel 2 px wider: a third of the work.

    (n 3 H W). Mirrored beyond the edge, the first row of the result is the second again, and the last one that before
    it; where the convolution has an even number of rows, it is the mean of its last two, by a kernel of its own.
    Columns likewise.
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int):
        super().__init__()
        self.size, self.padding = weight.shape[-1], padding
        self.bias = nn.Parameter(bias)
        blurs = {"all": torch.tensor([0.25, 0.5, 0.25]), "last": torch.tensor([0.5, 0.5])}
        self.kernels = nn.ParameterDict(
            {f"{y} {x}": _blurred(weight, blurs[y], blurs[x]) for y in blurs for x in blurs}
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, [self.padding] * 4)
        y_more, x_more = (int((side - self.size) % 2) for side in x.shape[2:])  # 1 = the last is by its own kernel
        rows = [self._row(x, "all", x_more), *[self._row(x[..., -self.size - 1 :, :], "last", x_more)] * y_more]
        return F.pad(torch.cat(rows, 2), (1, 1 - x_more, 1, 1 - y_more), mode="replicate")

    def _row(self, x: Tensor, y: str, more: int) -> Tensor:
        parts = [F.conv2d(x, self.kernels[f"{y} all"], self.bias, 2)]
        if more:
            parts.append(F.conv2d(x[..., -self.size - 1 :], self.kernels[f"{y} last"], self.bias, 2))
        return torch.cat(parts, 3)


def _blurred(weight: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Kernels (c 3 k k) of a convolution => of one that is blurred by y along columns and x along rows thereafter."""
    blur = torch.outer(y, x).double()[None, None]
    wide = F.conv2d(weight.double().flatten(0, 1)[:, None], blur, padding=(len(y) - 1, len(x) - 1))
    return wide.float().unflatten(0, weight.shape[:2])[:, :, 0]


class Backbone(nn.Module):
    """Frames (n 3 H W) in [0, 1] -> features (n c h w) at five depths. Shift-tolerant: Ghildyal and Liu 2022."""

    mean: Tensor
    std: Tensor

    def __init__(self, net: Net, shift_tolerant: bool, convolutions: list[Tensor]):
        """convolutions: weight and bias of one after the other."""
        super().__init__()
        pool, tensors, inside = 3 if net == "alex" else 2, iter(convolutions), 3
        depths = []
        for depth in LAYERS[net].split(" > "):
            layers: list[nn.Module] = []
            for layer in depth.split():
                if layer == "P":
                    layers += [Maxima(pool), Downsample()] if shift_tolerant else [nn.MaxPool2d(pool, 2)]
                    continue
                width, kernel, stride, padding = ([int(x) for x in layer.split(",")] + [3, 1, 1])[:4]
                weight, bias = next(tensors), next(tensors)
                if stride == 1 and inside > 3:
                    conv: nn.Module = SameConv(weight, bias)
                elif shift_tolerant and stride > 1:  # AlexNet's first: at every pixel, then thinned out
                    conv = ThinnedConv(weight, bias, padding).to(memory_format=torch.channels_last)
                else:
                    conv = nn.Conv2d(inside, width, kernel, stride, padding).to(memory_format=torch.channels_last)
                    conv.load_state_dict({"weight": weight, "bias": bias})
                layers += [conv, nn.ReLU(inplace=True)]
                inside = width
            depths.append(nn.Sequential(*layers))
        self.depths = nn.ModuleList(depths)
        self.register_buffer("mean", torch.tensor(MEAN).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, frames: Tensor) -> list[Tensor]:
        x = ((frames - self.mean) / self.std).contiguous(memory_format=torch.channels_last)  # sooner done, on a CPU
        return [x := depth(x) for depth in self.depths]


def torchvision_backbone(net: Net, path: str | Path) -> tuple[Backbone, str]:
    """The plain network with torchvision's weights, and their SHA-256. InputError: not the published file."""
    file, published = TORCHVISION[net]
    data, sha256 = weights.read(path, published, f"torchvision's {file}")
    state = weights.tensors(data, f"torchvision's {file}")
    return Backbone(net, False, [value for key, value in state.items() if key.startswith("features.")]), sha256


def shift_tolerant_state(net: Net) -> tuple[dict[str, Tensor], str]:
    """All tensors of the packaged file, and its SHA-256. InputError: not installed, or changed."""
    path = weights.in_package("stlpips_pytorch", f"weights/vST0.0/{net}_shift_tolerant.pth", ADVICE)
    data, sha256 = weights.read(path, SHIFT_TOLERANT[net], "a weight file of stlpips_pytorch 0.0.2")
    return weights.tensors(data, "a weight file of stlpips_pytorch 0.0.2"), sha256


def shift_tolerant_backbone(state: dict[str, Tensor], net: Net) -> Backbone:
    names = [key for key in state if key.startswith("net.") and key.endswith((".weight", ".bias"))]
    return Backbone(net, True, [state[name] for name in names])


class PooledFeatures(nn.Module):
    """Frames (n 3 H W) in [0, 1] -> means over the frame of the features at five depths (n d), offline.

    For FrechetDistance where Inception's weights are missing. d: AlexNet 1152, VGG16 1472. The early depths see color
    and texture, the late ones shapes. InputError: the package stlpips_pytorch is not installed.
    """

    def __init__(self, net: Net = "alex"):
        super().__init__()
        check_net(net)
        state, self.sha256 = shift_tolerant_state(net)
        self.backbone = shift_tolerant_backbone(state, net)
        self.name = f"shift-tolerant-{net}"
        self.features = sum(state[f"lin{i}.model.1.weight"].shape[1] for i in range(5))

        self._seen: dict[tuple, tuple[Tensor, Tensor]] = {}

    def forward(self, frames: Tensor) -> Tensor:
        _, known = self._seen.pop(_place(frames), (None, None))
        return _means(self.backbone(frames)) if known is None else known

    def look(self, frames: Tensor) -> list[Tensor]:
        """The depths themselves (n c h w); `forward` of these very frames then knows its result, until `forget`."""
        depths = self.backbone(frames)
        self._seen[_place(frames)] = frames, _means(depths)  # kept, so that no others take their place
        return depths

    def forget(self) -> None:
        self._seen.clear()


def _means(depths: list[Tensor]) -> Tensor:
    return torch.cat([depth.mean((2, 3)) for depth in depths], 1)


def _place(frames: Tensor) -> tuple:
    return frames.device, frames.data_ptr(), frames.shape, frames.stride()


def check_net(net: str) -> None:
    if net not in LAYERS:
        raise InputError(f"net is {' or '.join(LAYERS)}, not {net!r}: choose one of these")
