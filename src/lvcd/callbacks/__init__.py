"""What happens around the steps of a training run."""

from .ema import Ema
from .progress import ProgressLine
from .sigma import SigmaLoss
from .stop import StopOnNan, StopOnSignal

__all__ = ["Ema", "ProgressLine", "SigmaLoss", "StopOnNan", "StopOnSignal"]
