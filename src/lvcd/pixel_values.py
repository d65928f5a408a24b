"""Pixels as 8-bit values of files and as the floats of networks, one function each way for each range.

unit      [0, 1], as metrics and pictures have them
signed    [-1, 1], as the networks have frames
"""

from __future__ import annotations

from torch import Tensor


def unit_from_uint8(values: Tensor) -> Tensor:
    """Map uint8 to float32 in [0, 1]."""
    return values.float() / 255


def uint8_from_unit(values: Tensor) -> Tensor:
    """Round floats in [0, 1] to uint8; what is out of range is clamped."""
    return (values.clamp(0, 1) * 255).round().byte()


def signed_from_uint8(values: Tensor) -> Tensor:
    """Map uint8 to float32 in [-1, 1]."""
    return values.float() / 127.5 - 1


def uint8_from_signed(values: Tensor) -> Tensor:
    """Round floats in [-1, 1] to uint8; what is out of range is clamped."""
    return ((values.clamp(-1, 1) + 1) * 127.5).round().byte()
