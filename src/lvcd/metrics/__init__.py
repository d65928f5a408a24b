"""Metrics that torchmetrics lacks or that must be the published ones: each says with its value how it came about."""

from .backbones import PooledFeatures
from .edmd import EDMD
from .fid import FID
from .flow import DIS, RAFT
from .frechet import FrechetDistance
from .fvd import FVD
from .i3d import I3D, ScriptedI3D
from .lpips import LPIPS, ShiftTolerantLPIPS
from .pixels import PSNR, SSIM
from .segments import SegmentAccuracy
from .tc import TC

__all__ = [
    "DIS",
    "EDMD",
    "FID",
    "FVD",
    "FrechetDistance",
    "I3D",
    "LPIPS",
    "PSNR",
    "PooledFeatures",
    "RAFT",
    "SSIM",
    "ScriptedI3D",
    "SegmentAccuracy",
    "ShiftTolerantLPIPS",
    "TC",
]
