"""A cartoon => the files of a clip in a shard. Nothing heavy is imported here: processes start with it."""

from __future__ import annotations

import hashlib
import io
import json
import signal
from typing import Any

import cv2
import numpy as np
from PIL import Image

from . import draw
from .art import Array
from .splits import Recipe

FPS = 12
"""Of a film on twos; the motion is made for it."""


def start_process() -> None:
    """One core each; an interrupt is the parent's to handle."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def clip_files(recipe: Recipe, height: int, width: int) -> tuple[str, dict[str, bytes]]:
    """=> key, files of the clip by field, as `data.shards.ShardWriter.add_files` takes them."""
    clip = draw(recipe.seed, recipe.frames, height, width, recipe.style)
    source: dict[str, Any] = {"style": recipe.style, "seed": recipe.seed, "height": height, "width": width}
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
    files = {"json": json.dumps(about, indent=1, sort_keys=True).encode()}
    for t, (frame, lines) in enumerate(zip(clip.frames, clip.lines)):
        files |= {f"frame{t:03d}.png": _png(frame), f"sketch{t:03d}.png": _png(255 - lines)}
    return f"{recipe.style}-{recipe.seed:08d}-000000", files


def _png(pixels: Array) -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(data, format="PNG", compress_level=6)
    return data.getvalue()
