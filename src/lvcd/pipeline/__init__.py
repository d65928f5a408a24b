"""The pipeline: it takes a reference and a clip of line art, and paints the clip.

`LineartVideoPipeline` is for tensors and images, `paint_clip` for one clip in memory, `render_clip` for files.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lvcd.system import paused_garbage_collection

if TYPE_CHECKING:
    from lvcd.sampling.config import SamplingConfig

    from .flat_filler import FlatFiller
    from .lineart_video import LineartVideoOutput, LineartVideoPipeline, PaintedChunk
    from .load import load_pipeline, silence_libraries
    from .paint import fill_flat, paint_clip
    from .render import RenderCancelled, RenderProgress, RenderResult, RenderSettings, RenderStart, render_clip

# diffusers and transformers take seconds to import: files and settings are checked before that.
_HOMES = {
    "lvcd.sampling.config": ("SamplingConfig",),
    "lvcd.pipeline.lineart_video": ("LineartVideoOutput", "LineartVideoPipeline", "PaintedChunk"),
    "lvcd.pipeline.load": ("load_pipeline", "silence_libraries"),
    "lvcd.pipeline.flat_filler": ("FlatFiller",),
    "lvcd.pipeline.paint": ("fill_flat", "paint_clip"),
    "lvcd.pipeline.render": (
        "RenderCancelled", "RenderProgress", "RenderResult", "RenderSettings", "RenderStart", "render_clip",
    ),
}  # fmt: skip
__all__ = [
    "FlatFiller",
    "LineartVideoOutput",
    "LineartVideoPipeline",
    "PaintedChunk",
    "RenderCancelled",
    "RenderProgress",
    "RenderResult",
    "RenderSettings",
    "RenderStart",
    "SamplingConfig",
    "fill_flat",
    "load_pipeline",
    "paint_clip",
    "render_clip",
    "silence_libraries",
]


def __getattr__(name: str) -> Any:
    """Import a name of this package when it is first used."""
    for module, names in _HOMES.items():
        if name in names:
            with paused_garbage_collection():
                return getattr(import_module(module), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
