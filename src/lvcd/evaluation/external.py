"""Frames that another program painted, in the place of a method's."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.io.disk import in_pixels, printable
from lvcd.io.movies import MOVIE_SUFFIXES
from lvcd.io.reader import digest, open_frames

from .testset import TestClip, TestSet


class ExternalFrames:
    """A folder with KEY/000.png ... or KEY.mp4 for each clip of a test set: the frames after the reference, in order.

    InputError: a clip is missing, or has another number or size of frames; all are checked before one is scored.
    """

    def __init__(self, name: str, folder: Path, tests: TestSet):
        if not folder.is_dir():
            raise InputError(
                f"{printable(folder)} is no folder: give the one that holds a folder or a movie for each clip"
            )
        self.name, self._files = name, {key: _find(folder, key) for key in tests.keys}
        for index, (key, count) in enumerate(zip(tests.keys, tests.lengths)):
            self._check(key, count, tests.size(index))
        hashes = "".join(f"{key} {digest(file)}\n" for key, file in self._files.items())
        self.settings: dict[str, Any] = {"kind": "frames", "sha256": hashlib.sha256(hashes.encode()).hexdigest()}

    def frames_of(self, clip: TestClip) -> Tensor:
        """Return the frames of a clip (n 3 H W) in [0, 1]. InputError: they cannot be read."""
        with open_frames(self._files[clip.key]) as frames:
            pixels = np.stack([frame[..., :3] for frame in frames])
        return torch.from_numpy(pixels).movedim(-1, 1).float() / 255

    def _check(self, key: str, count: int, size: tuple[int, int]) -> None:
        with open_frames(self._files[key]) as frames:
            if len(frames) != count:
                raise InputError(
                    f"{printable(self._files[key])} has {len(frames)} frames, and clip {key} wants {count}: "
                    "all that the protocol paints, without the reference"
                )
            if frames.size != size:
                raise InputError(
                    f"{printable(self._files[key])} is {in_pixels(frames.size)}, and clip {key} {in_pixels(size)}: "
                    "paint at that size"
                )


def _find(folder: Path, key: str) -> Path:
    tried = [folder / key, *(folder / f"{key}{suffix}" for suffix in MOVIE_SUFFIXES)]
    if found := next((path for path in tried if path.exists()), None):
        return found
    raise InputError(f"{printable(folder)} has nothing for clip {key}: give {key}/000.png ... or {key}.mp4")
