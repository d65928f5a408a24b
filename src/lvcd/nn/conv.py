"""Convolutions over time, and the one that carries out a FrameLayout."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import LayoutContext


def temporal_conv(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve x (b c t h w) over time with a kernel of (3, 1, 1) or (1, 1, 1), zero-padded => (b c' t h w).

    It runs as a convolution in two dimensions, time and all places in a row, which gives the same numbers: in float32 a
    CPU takes a third of the time of a convolution in three dimensions.
    """
    flat = F.conv2d(x.flatten(3), weight.squeeze(-1), bias, padding=(weight.shape[2] // 2, 0))
    return flat.unflatten(3, x.shape[3:])


class TemporalConv3d(nn.Conv3d):
    """A (3, 1, 1) convolution over time, zero-padded; names and shapes of the parameters are nn.Conv3d's."""

    def __init__(self, conv: nn.Conv3d):
        assert conv.kernel_size == (3, 1, 1) and conv.padding == (1, 0, 0) and conv.bias is not None
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x: (b c t h w) => (b c' t h w)."""
        return temporal_conv(x, self.weight, self.bias)


class IsolatedConv3d(TemporalConv3d):
    """A convolution over time in which each reference frame is convolved alone (method, section 5).

    The video frames form one zero-padded sequence. The GroupNorm before it still takes its statistics over all frames,
    references included, as in the original.
    """

    def __init__(self, conv: nn.Conv3d, context: LayoutContext):
        super().__init__(conv)
        self.context = context

    def forward(self, x: Tensor) -> Tensor:
        """Convolve x: (b c t h w) => (b c' t h w)."""
        refs = self.context.layout.num_refs
        if not refs:
            return super().forward(x)
        alone = temporal_conv(
            x[:, :, :refs], self.weight[:, :, 1:2], self.bias
        )  # zero neighbors: the middle tap is left
        return torch.cat([alone, super().forward(x[:, :, refs:])], dim=2)
