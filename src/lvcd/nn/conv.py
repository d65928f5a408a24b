"""How the rights in a FrameLayout are carried out inside temporal convolutions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import Shared


class IsolatedConv3d(nn.Conv3d):
    """A (3, 1, 1) convolution over time in which each reference frame is convolved alone (method, section 5).

    The video frames form one zero-padded sequence. Parameter names are those of nn.Conv3d. Note that the GroupNorm
    before it still takes its statistics over all frames, references included, as in the original.
    """

    def __init__(self, conv: nn.Conv3d, shared: Shared):
        assert conv.kernel_size == (3, 1, 1) and conv.padding == (1, 0, 0) and conv.bias is not None
        super().__init__(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)
        self.shared = shared

    def forward(self, x: Tensor) -> Tensor:
        """x: (b c t h w) => (b c' t h w)"""
        refs = self.shared.layout.num_refs
        if not refs:
            return super().forward(x)
        alone = F.conv3d(x[:, :, :refs], self.weight[:, :, 1:2], self.bias)  # zero neighbors: the middle tap is left
        return torch.cat([alone, super().forward(x[:, :, refs:])], dim=2)
