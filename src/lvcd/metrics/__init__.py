"""Metrics that torchmetrics lacks or that must be the published ones: each says with its value how it came about."""

from .backbones import PooledFeatures
from .fid import FID
from .frechet import FrechetDistance
from .fvd import FVD
from .i3d import I3D, ScriptedI3D
from .lpips import LPIPS, ShiftTolerantLPIPS

__all__ = [
    "FID",
    "FVD",
    "FrechetDistance",
    "I3D",
    "LPIPS",
    "PooledFeatures",
    "ScriptedI3D",
    "ShiftTolerantLPIPS",
]
