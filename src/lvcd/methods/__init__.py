"""What paints a clip: our model, and what a rival would pick instead. One file each, one protocol: `Method`."""

from .base import Method
from .copy_reference import CopyReference
from .ours import Ours
from .sampling import Sampling

__all__ = ["CopyReference", "Method", "Ours", "Sampling"]
