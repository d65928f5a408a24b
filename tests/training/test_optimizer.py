"""AdamW in 8 bits, where bitsandbytes is installed."""

from __future__ import annotations

import pytest
import torch

from lvcd.training import Optimization


def test_eight_bits_step_nearly_as_32():
    """Three steps of 1e-3; a matrix has its moments in one byte each, a small weight in 32 bits."""
    pytest.importorskip("bitsandbytes", reason="pip install '.[8bit]'")
    trained = {}
    for bits in (32, 8):
        torch.manual_seed(0)
        weights = [torch.nn.Parameter(torch.randn(128, 64)), torch.nn.Parameter(torch.randn(7))]
        optimizer = Optimization(1e-3, bits=bits).build({"unet": weights}, 10)["optimizer"]
        for _ in range(3):
            optimizer.zero_grad()
            sum(((w - 1) ** 2).sum() for w in weights).backward()
            optimizer.step()
        trained[bits] = torch.cat([w.detach().flatten() for w in weights])
    assert optimizer.state[weights[0]]["state1"].dtype == torch.uint8
    assert 0 < (trained[8] - trained[32]).abs().max() < 2e-3
