"""Methods that paint a clip: our model and simple baselines, each a `Method` in a file of its own."""

from .copy_reference import CopyReference
from .flow_warp import FlowWarp
from .image_only import ImageOnly
from .lazybrush import LazyBrush
from .method import Method, NetworkMethod
from .ours import Ours
from .segment_match import SegmentMatch

__all__ = ["CopyReference", "FlowWarp", "ImageOnly", "LazyBrush", "Method", "NetworkMethod", "Ours", "SegmentMatch"]
