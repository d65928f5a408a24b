"""Layers of the networks that metrics look through, made for a CPU, where most of an evaluation's metrics are spent.

Convolutions with fewer multiplications are Winograd's minimal filtering (Lavin and Gray 2016, arXiv 1509.09308).

letters: b clips, t frames, H W pixels, c channels in, d out, k of a kernel, m pixels a side of a tile, n those it
needs, which are m + k - 1
"""

from __future__ import annotations

import functools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TILE = 4
"""m: more saves more, and loses more digits."""
POINTS = (0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0)
"""Where the polynomials behind it are evaluated, besides infinity; as many as n - 1."""
AT_ONCE = 512
"""Tiles that are worked on together, so that they stay near a core."""


class Winograd(nn.Module):
    """A convolution of stride 1, zeros beyond the edges: (b t H W c) -> (b t H W d), as large as before. For networks
    that are not trained.

    On a CPU by tiles of 4 x 4 pixels, with a quarter of the multiplications for a kernel of 3 x 3 and a sixth for one
    of 5 x 5. It differs from torch's own convolution by at most some 5e-5 of how much the values spread. Elsewhere it
    is torch's own.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, weight: Tensor, bias: Tensor):
        """weight: (d c k_t k k), k_t odd, k 3 or 5; bias: (d)"""
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)

    @functools.cached_property
    def _filtering(self) -> tuple[Tensor, Tensor, Tensor]:
        """into (n*n n*n), kernels (k_t n*n c d) and out_of (m*m n*n), for a CPU alone: four times the weights."""
        out_of, of_kernel, into = minimal_filtering(TILE, self.weight.shape[-1])
        kernels = torch.einsum("xi,yj,dctij->txycd", of_kernel, of_kernel, self.weight.double())
        return torch.kron(into, into).float(), kernels.flatten(1, 2).float(), torch.kron(out_of, out_of).float()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.directly(x)
        b, t, H, W, _ = x.shape
        k = self.weight.shape[-1]
        rows, columns = (-(-size // TILE) for size in (H, W))
        below, right = (n * TILE - size + k // 2 for n, size in ((rows, H), (columns, W)))
        x = F.pad(x, (0, 0, k // 2, right, k // 2, below))
        result = x.new_empty(b, t, rows, TILE, columns, TILE, len(self.bias))
        step = max(1, AT_ONCE // (b * t * columns))
        for first in range(0, rows, step):
            part = x[:, :, first * TILE : (first + step) * TILE + k - 1]
            torch.add(self._tiles(part), self.bias, out=result[:, :, first : first + step])
        return result.flatten(4, 5).flatten(2, 3)[:, :, :H, :W]

    def _tiles(self, x: Tensor) -> Tensor:
        """Some rows of tiles with what surrounds them (b t h w c) -> (b t rows m columns m d)."""
        into, kernels, out_of = self._filtering
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

    def directly(self, x: Tensor) -> Tensor:
        """The same by torch's own convolution."""
        inner = x.permute(0, 4, 1, 2, 3).contiguous()
        return F.conv3d(inner, self.weight, self.bias, padding="same").permute(0, 2, 3, 4, 1)


def maxima(x: Tensor, dim: int, k: int, stride: int = 1, before: int = 0, after: int = 0) -> Tensor:
    """Of each k neighbors along one dimension of x, at every stride-th place. One dimension after the other, they are a
    max pooling, in less time than torch's own.

    The first window begins so many places before x, the last one may end so many after it; nothing is there.
    """
    along, size = x.movedim(dim, 0), x.shape[dim]
    n = (size + before + after - k) // stride + 1
    own = along[: (n - 1) * stride + 1 : stride]  # of each window the place `before`, which lies in x
    result, so_far = torch.empty_like(own), own
    for place in (i - before for i in range(k) if i != before):
        first, stop = max(0, -(place // stride)), min(n, (size - 1 - place) // stride + 1)
        there = along[first * stride + place : (stop - 1) * stride + place + 1 : stride]
        torch.maximum(so_far[first:stop], there, out=result[first:stop])
        if so_far is own:
            result[:first], result[stop:] = own[:first], own[stop:]
            so_far = result
    return so_far.movedim(0, dim)


def minimal_filtering(m: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """out_of (m n), of_kernel (n k), into (n n), float64: out_of ((of_kernel g) * (into d)) are the m values that a
    filter g (k) gives along d (n), n = m + k - 1.

    >>> out_of, of_kernel, into = minimal_filtering(2, 3)
    >>> d, g = torch.tensor([1.0, 2.0, 4.0, 8.0]).double(), torch.tensor([1.0, 10.0, 100.0]).double()
    >>> (out_of @ ((of_kernel @ g) * (into @ d))).round(decimals=9)
    tensor([421., 842.], dtype=torch.float64)
    """
    n = m + k - 1
    points = torch.tensor(POINTS[: n - 1], dtype=torch.float64)

    def powers(size: int) -> Tensor:
        """Of each point, from 0 up; at infinity only the highest counts: (n size)"""
        return torch.cat([points[:, None] ** torch.arange(size), torch.eye(size, dtype=torch.float64)[-1:]])

    into = torch.linalg.inv(powers(n)).T
    scale = into.norm(dim=1, keepdim=True)  # without which some products were much larger than others
    return powers(m).T, powers(k) * scale, into / scale
