"""Convolutions over time, and how the rights in a FrameLayout are carried out inside them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Shared


def over_time(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A (3, 1, 1) or (1, 1, 1) convolution of (b c t h w), zeros before and after => (b c' t h w).

    Computed as one in two dimensions, time and all places in a row, which gives the same numbers: in float32 a CPU
    takes a third of the time that its convolution in three dimensions does.
    """
    flat = F.conv2d(x.flatten(3), weight.squeeze(-1), bias, padding=(weight.shape[2] // 2, 0))
    return flat.unflatten(3, x.shape[3:])


class TemporalConv3d(nn.Conv3d):
    """A (3, 1, 1) convolution over time, zero-padded; names and shapes of the parameters are nn.Conv3d's."""

    def __init__(self, conv: nn.Conv3d):
        assert conv.kernel_size == (3, 1, 1) and conv.padding == (1, 0, 0) and conv.bias is not None
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)

    def forward(self, x: Tensor) -> Tensor:
        """x: (b c t h w) => (b c' t h w)"""
        return over_time(x, self.weight, self.bias)


class IsolatedConv3d(TemporalConv3d):
    """One in which each reference frame is convolved alone (method, section 5).

    The video frames form one zero-padded sequence. Note that the GroupNorm before it still takes its statistics over
    all frames, references included, as in the original.
    """

    def __init__(self, conv: nn.Conv3d, shared: Shared):
        super().__init__(conv)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        """x: (b c t h w) => (b c' t h w)"""
        refs = self.shared.layout.num_refs
        if not refs:
            return super().forward(x)
        alone = over_time(x[:, :, :refs], self.weight[:, :, 1:2], self.bias)  # zero neighbors: the middle tap is left
        return torch.cat([alone, super().forward(x[:, :, refs:])], dim=2)
