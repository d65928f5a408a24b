"""Metrics of colorized video: those of the LVCD paper and stand-ins that run offline, each with a report on its value.

A metric of one's own derives from `ClipMean`; a `Suite` updates several with the same clips.
"""

from .backbones import PooledFeatures
from .base import ClipMean, Reported
from .edmd import EDMD
from .fid import FID
from .flow import DIS, RAFT
from .frechet import FrechetDistance
from .fvd import FVD
from .i3d import I3D, ScriptedI3D
from .lpips import LPIPS, ShiftTolerantLPIPS
from .pixels import PSNR, SSIM
from .segment_accuracy import SegmentAccuracy
from .suite import Suite, paper
from .tc import TC

__all__ = [
    "ClipMean",
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
    "Reported",
    "SSIM",
    "ScriptedI3D",
    "SegmentAccuracy",
    "ShiftTolerantLPIPS",
    "Suite",
    "TC",
    "paper",
]
