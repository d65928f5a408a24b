"""Convolutions over time against PyTorch's in three dimensions."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.nn.conv import TemporalConv3d, temporal_conv

sizes = st.integers(1, 5)


@settings(max_examples=25, deadline=None)
@given(b=sizes, c=sizes, t=sizes, h=sizes, w=sizes, taps=st.sampled_from([1, 3]))
def test_over_time_is_the_convolution_in_three_dimensions(b, c, t, h, w, taps):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(b, c, t, h, w, generator=g, dtype=torch.float64)
    weight, bias = (torch.randn(size, generator=g, dtype=torch.float64) for size in ((3, c, taps, 1, 1), (3,)))
    torch.testing.assert_close(temporal_conv(x, weight, bias), F.conv3d(x, weight, bias, padding=(taps // 2, 0, 0)))


def test_gradients_are_the_same():
    conv = torch.nn.Conv3d(4, 6, (3, 1, 1), padding=(1, 0, 0)).double()
    ours = TemporalConv3d(conv).double()
    ours.load_state_dict(conv.state_dict())
    x = torch.randn(2, 4, 5, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for net in (conv, ours):
        net(x).sin().sum().backward()
    for name, p in conv.named_parameters():
        torch.testing.assert_close(dict(ours.named_parameters())[name].grad, p.grad)


def test_another_kernel_is_refused():
    with pytest.raises(AssertionError):
        TemporalConv3d(torch.nn.Conv3d(4, 4, 3, padding=1))
