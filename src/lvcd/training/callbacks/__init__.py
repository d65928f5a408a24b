"""Callbacks of a training run: what is logged, shown, painted, averaged and saved around its steps."""

from .ema import Ema
from .gradient import GradientNorm
from .last import SaveLast
from .progress import ProgressLine
from .samples import Samples
from .scores import Scores
from .sigma import SigmaLoss
from .speed import Speed
from .stop import NanLossError, StopOnNan, StopOnSignal

__all__ = [
    "Ema",
    "GradientNorm",
    "NanLossError",
    "ProgressLine",
    "Samples",
    "SaveLast",
    "Scores",
    "SigmaLoss",
    "Speed",
    "StopOnNan",
    "StopOnSignal",
]
