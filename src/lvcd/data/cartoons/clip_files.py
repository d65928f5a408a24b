"""The files of a drawn clip in a shard. Little is imported here: worker processes start with it."""

from __future__ import annotations

import hashlib
import json
import signal
from typing import Any

import cv2

from lvcd.io.images import encode_png
from lvcd.lineart.sketch import png_from_ink
from lvcd.shards.format import metadata_json
from lvcd.system import end_with_parent

from . import FPS, draw
from .splits import ClipRecipe

PNG_LEVEL = 6
"""Of compression: the corpus is drawn once and read often."""


def start_process() -> None:
    """Prepare a worker process: it uses one core, and leaves Ctrl-C to its parent."""
    end_with_parent()
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def clip_files(recipe: ClipRecipe, height: int, width: int) -> tuple[str, dict[str, bytes]]:
    """Draw a clip and return its key and its files by field, as `ShardWriter.add_files` takes them."""
    clip = draw(recipe.seed, recipe.frames, height, width, recipe.style, away=recipe.away)
    source: dict[str, Any] = {"style": recipe.style, "seed": recipe.seed, "height": height, "width": width}
    if recipe.away is not None:
        source["away"] = list(recipe.away)
    about = source | {
        "film": "cartoon",
        "film_sha256": hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest(),
        "start": 0,
        "frames": recipe.frames,
        "fps": FPS,
        "sketches": "exact",
        "credit": clip.credit,
        "license": clip.license,
    }
    files = {"json": metadata_json(about)}
    for t, (frame, lines) in enumerate(zip(clip.frames, clip.lines)):
        files[f"frame{t:03d}.png"] = encode_png(frame, PNG_LEVEL)
        files[f"sketch{t:03d}.png"] = encode_png(png_from_ink(lines), PNG_LEVEL)
    return f"{recipe.style}-{recipe.seed:08d}-000000", files
