"""What happens around the steps of a training run."""

from .ema import Ema
from .progress import ProgressLine
from .sigma import SigmaLoss

__all__ = ["Ema", "ProgressLine", "SigmaLoss"]
