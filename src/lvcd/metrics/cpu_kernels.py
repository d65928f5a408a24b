"""Convolutions and max pooling for a CPU, where an evaluation spends most of the time of its metrics.

The networks of the metrics use `convolution` and `max_pool_dim` alone. Results are torch's but for rounding.

letters: b clips, t frames, n frames of all clips, H W pixels, c channels in, d channels out, k side of a kernel, m side
of a Winograd tile of results, m + k - 1 side of the tile of pixels that it needs
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 4
"""m: more saves more multiplications and loses more digits."""
POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
"""Points at which Winograd's polynomials are evaluated besides infinity; m + k - 2 of them are used."""
TILES_PER_CHUNK = 512
"""Tiles that are transformed together, so that they stay in a core's cache."""


def convolution(weight: Tensor, bias: Tensor, stride: int = 1, padding: int = 0, blur: bool = False) -> nn.Module:
    """Return a fixed convolution with these weights, in the form that is fastest on a CPU.

    weight (d c k k): of images (n c H W), with `padding` px of zeros around them. With `blur` it is followed by
    `Downsample` in place of its stride.
    weight (d c k_t k k): of videos with channels last, (b t H W c), with TensorFlow's "SAME" padding.

    Measured on 2 cores with AVX-512, clips of 15 frames at 256 x 256, values equal to 2e-6 of their spread:
    two frames at once, `ThinnedConv` and `max_pool_dim` took ST-LPIPS from 2.6 s to 1.05 s a clip and FVD from 1.36 s
    to 0.71 s; `Winograd` then took all ten metrics together from 5.9 to 10.6 frames/s.
    """
    if weight.ndim == 5:
        if stride > 1:
            return StridedVideoConv(weight, bias)
        return Winograd(weight, bias) if weight.shape[-1] > 1 else PointwiseConv(weight, bias)
    if blur:
        return ThinnedConv(weight, bias, padding).to(memory_format=torch.channels_last)
    if stride == 1 and weight.shape[1] > 3 and 2 * padding == weight.shape[-1] - 1:
        return WinogradImageConv(weight, bias)
    conv = nn.Conv2d(weight.shape[1], len(bias), weight.shape[-1], stride, padding)
    conv.load_state_dict({"weight": weight, "bias": bias})
    return conv.to(memory_format=torch.channels_last)


def same_padding(size: int, k: int, stride: int) -> tuple[int, int]:
    """Return the zeros that TensorFlow's "SAME" padding puts before and after `size` px.

    >>> same_padding(8, 3, 2)
    (0, 1)
    """
    total = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
    return total // 2, total - total // 2


class Winograd(nn.Module):
    """Convolution of stride 1 by Winograd's minimal filtering (Lavin and Gray 2016, arXiv 1509.09308).

    (b t H W c) -> (b t H W d), zeros beyond the edges, for weights that are not trained. On a CPU it works on tiles of
    4 x 4 px, with a quarter of the multiplications for a kernel of 3 x 3 and a sixth for 5 x 5. It differs from torch's
    convolution by at most about 5e-5 of the standard deviation of the values. On other devices it is torch's own.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor):
        """weight: (d c k_t k k), k_t odd, k 3 or 5; bias: (d)"""
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @functools.cached_property
    def _transforms(self) -> tuple[Tensor, Tensor, Tensor]:
        """input transform (n*n n*n), kernels (k_t n*n c d) and output transform (m*m n*n), n = m + k - 1.

        Made at the first use on a CPU, because they take four times the memory of the weights.
        """
        out_of, of_kernel, into = minimal_filtering(TILE, self.weight.shape[-1])
        kernels = torch.einsum("xi,yj,dctij->txycd", of_kernel, of_kernel, self.weight.double())
        return torch.kron(into, into).float(), kernels.flatten(1, 2).float(), torch.kron(out_of, out_of).float()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.by_torch(x)
        b, t, H, W, _ = x.shape
        k = self.weight.shape[-1]
        rows, columns = (-(-size // TILE) for size in (H, W))
        below, right = (n * TILE - size + k // 2 for n, size in ((rows, H), (columns, W)))
        x = F.pad(x, (0, 0, k // 2, right, k // 2, below))
        result = x.new_empty(b, t, rows, TILE, columns, TILE, len(self.bias))
        step = max(1, TILES_PER_CHUNK // (b * t * columns))
        for first in range(0, rows, step):
            part = x[:, :, first * TILE : (first + step) * TILE + k - 1]
            torch.add(self._tiles(part), self.bias, out=result[:, :, first : first + step])
        return result.flatten(4, 5).flatten(2, 3)[:, :, :H, :W]

    def _tiles(self, x: Tensor) -> Tensor:
        """Convolve some rows of tiles, given with the k - 1 px around them: (b t h w c) -> (b t rows m columns m d)."""
        into, kernels, out_of = self._transforms
        (b, t, h, w, c), k = x.shape, self.weight.shape[-1]
        n, rows, columns = TILE + k - 1, (h - k + 1) // TILE, (w - k + 1) // TILE
        of_b, of_t, of_h, of_w, of_c = x.stride()
        size, stride = (t, b, rows, columns, c), (of_t, of_b, TILE * of_h, TILE * of_w, of_c)
        tiles = x.as_strided((n, n, *size), (of_h, of_w, *stride), x.storage_offset()).reshape(n * n, -1)
        tiles = (into @ tiles).view(n * n, -1, c)  # (n*n t*b*rows*columns c)
        middle, frame = len(kernels) // 2, b * rows * columns
        products = torch.bmm(tiles, kernels[middle])  # (n*n t*b*rows*columns d)
        for tap, kernel in enumerate(kernels):
            late = abs(tap - middle) * frame
            if 0 < late < t * frame:
                to, source = products[:, : t * frame - late], tiles[:, late:]
                if tap < middle:
                    to, source = products[:, late:], tiles[:, : t * frame - late]
                to.baddbmm_(source, kernel)
        done = out_of @ products.view(n * n, -1)
        return done.view(TILE, TILE, t, b, rows, columns, -1).permute(3, 2, 4, 0, 5, 1, 6)

    def by_torch(self, x: Tensor) -> Tensor:
        """Convolve by torch's own layer."""
        inner = x.permute(0, 4, 1, 2, 3).contiguous()
        return F.conv3d(inner, self.weight, self.bias, padding="same").permute(0, 2, 3, 4, 1)


class Downsample(nn.Module):
    """Blur with [1 2 1] x [1 2 1] / 16 and take every second pixel: (n c H W) -> (n c (H+1)//2+1 (W+1)//2+1).

    Frames are mirrored 2 px beyond their edges, as shift-tolerant LPIPS does (Ghildyal and Liu 2022, arXiv 2207.13686).
    """

    def forward(self, x: Tensor) -> Tensor:
        row = torch.tensor([1.0, 2.0, 1.0], dtype=x.dtype, device=x.device)
        kernel = (torch.outer(row, row) / 16).expand(x.shape[1], 1, 3, 3)
        return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, stride=2, groups=x.shape[1])


class WinogradImageConv(nn.Module):
    """`Winograd` of images: (n c H W) -> (n d H W)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__()
        self.conv = Winograd(weight[:, :, None], bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.permute(0, 2, 3, 1)[:, None])[:, 0].permute(0, 3, 1, 2)


class ThinnedConv(nn.Module):
    """Convolution of stride 1 and `Downsample` of it in one step, with a kernel 2 px wider and a third of the work.

    (n c H W) -> (n d H' W'). Because frames are mirrored beyond the edge, the first row of the result repeats the
    second, and the last one the row before it; where the convolution has an even number of rows, the last one is
    the mean of its last two, by a kernel of its own. Columns likewise.
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
        rows = [self._rows(x, "all", x_more), *[self._rows(x[..., -self.size - 1 :, :], "last", x_more)] * y_more]
        return F.pad(torch.cat(rows, 2), (1, 1 - x_more, 1, 1 - y_more), mode="replicate")

    def _rows(self, x: Tensor, y: str, more: int) -> Tensor:
        parts = [F.conv2d(x, self.kernels[f"{y} all"], self.bias, 2)]
        if more:
            parts.append(F.conv2d(x[..., -self.size - 1 :], self.kernels[f"{y} last"], self.bias, 2))
        return torch.cat(parts, 3)


def _blurred(weight: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Return the kernels of a convolution (d c k k) that is blurred by y along columns and x along rows afterwards."""
    blur = torch.outer(y, x).double()[None, None]
    wide = F.conv2d(weight.double().flatten(0, 1)[:, None], blur, padding=(len(y) - 1, len(x) - 1))
    return wide.float().unflatten(0, weight.shape[:2])[:, :, 0]


class StridedVideoConv(nn.Conv3d):
    """Convolution of stride 2 by torch: (b t H W c) -> (b t/2 H/2 W/2 d), rounded up."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__(weight.shape[1], len(bias), weight.shape[-1], 2)
        self.load_state_dict({"weight": weight, "bias": bias})
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        pads = [side for size in x.shape[3:0:-1] for side in same_padding(size, self.weight.shape[-1], 2)]
        return super().forward(F.pad(x.permute(0, 4, 1, 2, 3), pads)).permute(0, 2, 3, 4, 1).contiguous()


class PointwiseConv(nn.Linear):
    """Convolution with a kernel of one pixel, as a matrix product: (b t H W c) -> (b t H W d)."""

    def __init__(self, weight: Tensor, bias: Tensor):
        super().__init__(weight.shape[1], len(bias))
        self.load_state_dict({"weight": weight.flatten(1), "bias": bias})
        self.requires_grad_(False)


def max_pool_dim(x: Tensor, dim: int, k: int, stride: int = 1, before: int = 0, after: int = 0) -> Tensor:
    """Return the maxima of each k neighbors along one dimension of x, at every stride-th place.

    Applied to one dimension after the other it is a max pooling, faster than torch's on a CPU. The first window begins
    `before` places before x, the last one ends at most `after` places behind it; places outside x never count.
    """
    along, size = x.movedim(dim, 0), x.shape[dim]
    n = (size + before + after - k) // stride + 1
    inside = along[: (n - 1) * stride + 1 : stride]  # of each window the place `before`, which lies in x
    result, so_far = torch.empty_like(inside), inside
    for place in (i - before for i in range(k) if i != before):
        first, stop = max(0, -(place // stride)), min(n, (size - 1 - place) // stride + 1)
        there = along[first * stride + place : (stop - 1) * stride + place + 1 : stride]
        torch.maximum(so_far[first:stop], there, out=result[first:stop])
        if so_far is inside:
            result[:first], result[stop:] = inside[:first], inside[stop:]
            so_far = result
    return so_far.movedim(0, dim)


def minimal_filtering(m: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the transforms of Winograd's minimal filtering: out_of (m n), of_kernel (n k), into (n n), float64.

    out_of ((of_kernel g) * (into d)) are the m results of filtering d (n) by g (k), where n = m + k - 1.

    >>> out_of, of_kernel, into = minimal_filtering(2, 3)
    >>> d, g = torch.tensor([1.0, 2.0, 4.0, 8.0]).double(), torch.tensor([1.0, 10.0, 100.0]).double()
    >>> (out_of @ ((of_kernel @ g) * (into @ d))).round(decimals=9)
    tensor([421., 842.], dtype=torch.float64)
    """
    n = m + k - 1
    points = torch.tensor(POINTS[: n - 1], dtype=torch.float64)

    def powers(size: int) -> Tensor:
        """Return the powers of each point from 0 up, and the highest alone for the point at infinity: (n size)."""
        return torch.cat([points[:, None] ** torch.arange(size), torch.eye(size, dtype=torch.float64)[-1:]])

    into = torch.linalg.inv(powers(n)).T
    scale = into.norm(dim=1, keepdim=True)  # keeps the products of one size, which saves digits
    return powers(m).T, powers(k) * scale, into / scale
