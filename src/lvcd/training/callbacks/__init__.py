"""What happens around the steps of a training run."""

from .ema import Ema
from .gradient import GradientNorm
from .progress import ProgressLine
from .samples import Samples
from .scores import Scores
from .sigma import SigmaLoss
from .speed import Speed
from .stop import NoNumberError, StopOnNan, StopOnSignal

__all__ = [
    "Ema",
    "GradientNorm",
    "NoNumberError",
    "ProgressLine",
    "Samples",
    "Scores",
    "SigmaLoss",
    "Speed",
    "StopOnNan",
    "StopOnSignal",
]
