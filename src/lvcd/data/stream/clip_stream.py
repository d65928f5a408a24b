"""Samples -> batches, as a list of stages: iterator -> iterator, one item in for each out until they are collated.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, d width of a token, H W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial, reduce
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from lvcd.io.images import decode_png
from lvcd.shards.format import DEFAULT_FPS, Manifest

from ..augment import Augment
from ..clip import WindowSampling, fit
from .epoch_plan import EpochPlan, Slot
from .raw_batch import RawBatch, to_frames, to_sketches
from .read import StoredSample, read
from .source import RetryPolicy, ShardSource, reason

SAMPLE_KINDS = {"pixels": ("frame", "sketch"), "latents": ("latents", "sketches", "tokens")}

StreamStage = Callable[[Iterator[Any]], Iterator[Any]]


@dataclass
class DecodedSample:
    """A decoded sample holds the frames and sketches of one window."""

    slot: Slot
    key: str = ""
    fps: float = DEFAULT_FPS
    drawings: Tensor | None = None  # (t 1 H W) as in RawBatch
    pixels: Tensor | None = None  # (t 3 H W) as in RawBatch
    latents: Tensor | None = None  # (t c h w)
    tokens: Tensor | None = None  # (1 d)
    error: str = ""
    """Why the planned sample could not be read; another may stand in for it."""


@dataclass(frozen=True, eq=False)
class ClipStream(IterableDataset[RawBatch]):
    """The batches of one rank in one epoch, for a loader that asks `plan.workers` workers in turn."""

    source: ShardSource
    manifest: Manifest
    plan: EpochPlan
    height: int  # px
    width: int
    sampling: WindowSampling
    augment: Augment | None = None
    retry: RetryPolicy = RetryPolicy()
    encoded: bool = False  # latents in place of pixels
    rank: int = 0
    epoch: int = 0
    done: int = 0  # batches of this epoch, delivered before the run was stopped

    @property
    def identity(self) -> str:
        """What is read, apart from the order."""
        return self.manifest.sha256

    def __iter__(self) -> Iterator[RawBatch]:
        info = get_worker_info()
        return self.consumer(((info.id if info else 0) + self.done) % self.plan.workers)

    def consumer(self, worker: int) -> Iterator[RawBatch]:
        """Yield the batches of one worker; the loader's first is the one whose turn it was when the run was stopped."""
        done = self.plan.delivered(worker, self.done)
        finish: list[StreamStage] = [
            partial(fill_gaps, spare=lambda: self.decoded(worker, 0)) if self.plan.train else iter,
            partial(augment_samples, augment=self.augment, rng=self.rng) if self.augment else iter,
            partial(batch_samples, sizes=self.plan.sizes(self.rank, worker)[done:]),
        ]
        return run_stages(self.decoded(worker, done), finish)

    def decoded(self, worker: int, done: int) -> Iterator[DecodedSample]:
        """Yield the samples of one worker after its first `done` batches, which are neither read nor decoded."""
        plan, kinds = self.plan, SAMPLE_KINDS["latents" if self.encoded else "pixels"]
        begin: list[StreamStage] = [
            partial(read, source=self.source, shards=self.manifest.shards, kinds=kinds, draw=self.draw,
                    retry=self.retry),
            partial(plan.shuffled, epoch=self.epoch, rank=self.rank, worker=worker),
            partial(skip_items, count=done * plan.batch_size),
            partial(decode, height=self.height, width=self.width),
        ]  # fmt: skip
        return run_stages(plan.slots(self.epoch, self.rank, worker, done), begin)

    def draw(self, key: str, repeat: int, frames: int) -> list[list[int]]:
        """Draw the frames of a clip's samples, a `read.DrawFrames`: the same wherever and whenever the clip is read."""
        return self.sampling.indices(frames, self.rng(key, repeat))

    def rng(self, key: str, *numbers: int) -> np.random.Generator:
        """Return the random numbers of a clip in this epoch."""
        return np.random.default_rng([self.plan.seed, self.epoch, int.from_bytes(key.encode()), *numbers])


def run_stages(items: Iterable[Any], stages: list[StreamStage]) -> Iterator[Any]:
    """Send items through the stages, one after the other."""
    return reduce(lambda items, stage: stage(items), stages, iter(items))


def skip_items(items: Iterable[Any], count: int) -> Iterator[Any]:
    """Drop the first `count` items."""
    return islice(items, count, None)


def decode(samples: Iterable[StoredSample], height: int, width: int) -> Iterator[DecodedSample]:
    """Decode pixels and bring them to the size; or take latents, with sketches that have it already."""
    for sample in samples:
        try:
            decoded = (
                DecodedSample(sample.slot, error=sample.error) if sample.error else _decoded(sample, height, width)
            )
        except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
            decoded = DecodedSample(sample.slot, error=f"{sample.name} is left out: {reason(error)}")
        yield decoded


def fill_gaps(
    samples: Iterable[DecodedSample], spare: Callable[[], Iterator[DecodedSample]]
) -> Iterator[DecodedSample]:
    """Put the next good sample also in the places of those before it that could not be read, and the first of `spare`
    in the last ones: whoever goes on after a stop puts the same sample there. Where none can be read, they stay."""
    gaps: list[DecodedSample] = []
    for sample in samples:
        if sample.error:
            gaps.append(sample)
        else:
            yield from (replace(sample, slot=gap.slot, error=gap.error) for gap in gaps)
            gaps.clear()
            yield sample
    if gaps and (first := next((sample for sample in spare() if not sample.error), None)):
        gaps = [replace(first, slot=gap.slot, error=gap.error) for gap in gaps]
    yield from gaps


def augment_samples(
    samples: Iterable[DecodedSample], augment: Augment, rng: Callable[..., np.random.Generator]
) -> Iterator[DecodedSample]:
    """Augment by the clip and the number of the sample; one that stands in for another looks different again."""
    for sample in samples:
        if sample.drawings is None:
            yield sample
            continue
        number = (sample.slot.window, sample.slot.repeat)
        draw = rng(sample.key, *number, *((sample.slot.shard, sample.slot.clip) if sample.error else ()))
        frames, sketches = augment(to_frames(sample.pixels), to_sketches(sample.drawings), draw)
        yield replace(sample, pixels=frames, drawings=sketches)


def batch_samples(samples: Iterator[DecodedSample], sizes: Iterable[int]) -> Iterator[RawBatch]:
    """Collate samples into batches of these sizes."""
    for size in sizes:
        yield collate(list(islice(samples, size)))


def collate(samples: list[DecodedSample]) -> RawBatch:
    """Stack samples into a batch, without those that could not be read; it has no keys, and is empty, if none could."""
    errors = tuple(sample.error for sample in samples if sample.error)
    good = [sample for sample in samples if sample.drawings is not None]
    if not good:
        return RawBatch(torch.empty(0), torch.empty(0), errors=errors)
    parts = {name: [getattr(sample, name) for sample in good] for name in ("drawings", "pixels", "latents", "tokens")}
    stacked = {name: torch.stack(part) for name, part in parts.items() if part[0] is not None}
    fps = torch.tensor([sample.fps for sample in good])
    return RawBatch(**stacked, fps=fps, keys=tuple(sample.key for sample in good), errors=errors)


def _decoded(sample: StoredSample, height: int, width: int) -> DecodedSample:
    parts = sample.parts
    if "latents" in parts:
        drawings, tokens = np.stack(parts["sketches"]), torch.from_numpy(parts["tokens"][0].astype(np.float32))[None]
        latents = torch.from_numpy(np.stack(parts["latents"])).float()
        if drawings.dtype != np.uint8 or drawings.shape[1:] != (height, width):
            raise ValueError(f"its sketches are {drawings.dtype} {drawings.shape[1:]}, not {height} x {width}")
        if not (latents.sum() + tokens.sum()).isfinite():
            raise ValueError("its latents are not finite")
        return DecodedSample(
            sample.slot, sample.key, sample.fps, torch.from_numpy(drawings)[:, None], None, latents, tokens
        )
    drawings = np.stack([fit(decode_png(data, "L"), height, width) for data in parts["sketch"]])
    frames = np.stack([fit(decode_png(data, "RGB"), height, width) for data in parts["frame"]])
    # (t H W), (t H W 3) => (t 1 H W), (t 3 H W)
    sketches, pixels = torch.from_numpy(drawings)[:, None], torch.from_numpy(frames).movedim(-1, 1)
    return DecodedSample(sample.slot, sample.key, sample.fps, sketches, pixels)
