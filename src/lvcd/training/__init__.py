"""What Lightning trains.

`networks` loads or builds what is trained, `trainable` says which weights those are, `color` and `vae` are the
LightningModules, `optimizer` and `checkpoint` what they have in common.
"""

from .checkpoint import WholeFiles
from .color import ControlNetModule, FineTuneModule
from .networks import fresh, load
from .optimizer import Optimization
from .vae import VaeModule

__all__ = ["ControlNetModule", "FineTuneModule", "Optimization", "VaeModule", "WholeFiles", "fresh", "load"]
