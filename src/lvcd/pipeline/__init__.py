"""The pipeline: a reference and a clip of line art in, the painted clip out."""

from .lineart_video import LineartVideoOutput, LineartVideoPipeline, Painted, quiet

__all__ = ["LineartVideoOutput", "LineartVideoPipeline", "Painted", "quiet"]
