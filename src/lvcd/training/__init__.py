"""Training with Lightning.

`networks` loads or builds the networks, `trainable` selects the weights that are trained, `finetune` and `vae_module`
are the LightningModules, `optimizer`, `checkpoint` and `fsdp` serve both. `combinations` refuses what cannot run
together, `callbacks` watch a run, `plan` estimates the memory and work of a step, `run_folder` reads what a run left.
"""

from .checkpoint import AtomicCheckpointIO
from .finetune import ControlNetModule, FineTuneModule
from .networks import networks_from_config, networks_from_folder
from .optimizer import Optimization
from .vae_module import VaeModule

__all__ = [
    "AtomicCheckpointIO",
    "ControlNetModule",
    "FineTuneModule",
    "Optimization",
    "VaeModule",
    "networks_from_config",
    "networks_from_folder",
]
