"""Samples -> batches, as a list of stages: iterator -> iterator, one item in for each out until they are put together.

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
from ..clip import Sampling, fit
from .epoch_plan import Plan, Slot
from .packed import Packed, to_frames, to_sketches
from .read import Sample, read
from .source import Patience, Source, reason

KINDS = {"pixels": ("frame", "sketch"), "latents": ("latents", "sketches", "tokens")}

Stage = Callable[[Iterator[Any]], Iterator[Any]]


@dataclass
class Clip:
    """A decoded sample."""

    slot: Slot
    key: str = ""
    fps: float = DEFAULT_FPS
    drawings: Tensor | None = None  # (t 1 H W) as in Packed
    pixels: Tensor | None = None  # (t 3 H W) as in Packed
    latents: Tensor | None = None  # (t c h w)
    tokens: Tensor | None = None  # (1 d)
    lost: str = ""
    """Why there is nothing, or why another clip is here."""


@dataclass(frozen=True, eq=False)
class ClipStream(IterableDataset[Packed]):
    """The batches of one rank in one epoch, for a loader that asks `plan.workers` workers in turn."""

    source: Source
    manifest: Manifest
    plan: Plan
    height: int  # px
    width: int
    sampling: Sampling
    augment: Augment | None = None
    patience: Patience = Patience()
    encoded: bool = False  # latents in place of pixels
    rank: int = 0
    epoch: int = 0
    done: int = 0  # batches of this epoch, delivered before the run was stopped

    @property
    def data(self) -> str:
        """What is read, apart from the order."""
        return self.manifest.sha256

    def __iter__(self) -> Iterator[Packed]:
        info = get_worker_info()
        return self.consumer(((info.id if info else 0) + self.done) % self.plan.workers)

    def consumer(self, worker: int) -> Iterator[Packed]:
        """What one worker delivers; the loader's first is the one whose turn it was when the run was stopped."""
        done = self.plan.delivered(worker, self.done)
        finish: list[Stage] = [
            partial(fill, spare=lambda: self.decoded(worker, 0)) if self.plan.train else iter,
            partial(augmented, augment=self.augment, rng=self.rng) if self.augment else iter,
            partial(batched, sizes=self.plan.sizes(self.rank, worker)[done:]),
        ]
        return through(self.decoded(worker, done), finish)

    def decoded(self, worker: int, done: int) -> Iterator[Clip]:
        """The clips of one worker, after those of its first `done` batches, which are neither read nor decoded."""
        plan, kinds = self.plan, KINDS["latents" if self.encoded else "pixels"]
        begin: list[Stage] = [
            partial(read, source=self.source, shards=self.manifest.shards, kinds=kinds, draw=self.draw,
                    patience=self.patience),
            partial(plan.shuffled, epoch=self.epoch, rank=self.rank, worker=worker),
            partial(skipped, count=done * plan.batch_size),
            partial(decode, height=self.height, width=self.width),
        ]  # fmt: skip
        return through(plan.slots(self.epoch, self.rank, worker, done), begin)

    def draw(self, key: str, again: int, frames: int) -> list[list[int]]:
        """A `read.Draw`: the same frames wherever and whenever the clip is read."""
        return self.sampling.indices(frames, self.rng(key, again))

    def rng(self, key: str, *numbers: int) -> np.random.Generator:
        return np.random.default_rng([self.plan.seed, self.epoch, int.from_bytes(key.encode()), *numbers])


def through(items: Iterable[Any], stages: list[Stage]) -> Iterator[Any]:
    return reduce(lambda items, stage: stage(items), stages, iter(items))


def skipped(items: Iterable[Any], count: int) -> Iterator[Any]:
    return islice(items, count, None)


def decode(samples: Iterable[Sample], height: int, width: int) -> Iterator[Clip]:
    """Pixels, brought to the size; or latents, with sketches that have it already."""
    for sample in samples:
        try:
            clip = Clip(sample.slot, lost=sample.lost) if sample.lost else _decoded(sample, height, width)
        except Exception as error:  # decoders raise nearly everything: SyntaxError, struct.error, ...
            clip = Clip(sample.slot, lost=f"{sample.name} is left out: {reason(error)}")
        yield clip


def fill(clips: Iterable[Clip], spare: Callable[[], Iterator[Clip]]) -> Iterator[Clip]:
    """The next good clip also stands in for those lost before it, and the first of `spare` for the last ones: whoever
    goes on after a stop puts the same clip there. Where all are lost, they stay so."""
    lost: list[Clip] = []
    for clip in clips:
        if clip.lost:
            lost.append(clip)
        else:
            yield from (replace(clip, slot=other.slot, lost=other.lost) for other in lost)
            lost.clear()
            yield clip
    if lost and (first := next((clip for clip in spare() if not clip.lost), None)):
        lost = [replace(first, slot=other.slot, lost=other.lost) for other in lost]
    yield from lost


def augmented(
    clips: Iterable[Clip], augment: Augment, rng: Callable[..., np.random.Generator]
) -> Iterator[Clip]:  # fmt: skip
    """By the clip and which sample of it this is; one that stands in for another looks different again."""
    for clip in clips:
        if clip.drawings is None:
            yield clip
            continue
        number = (clip.slot.window, clip.slot.again)
        draw = rng(clip.key, *number, *((clip.slot.shard, clip.slot.clip) if clip.lost else ()))
        frames, sketches = augment(to_frames(clip.pixels), to_sketches(clip.drawings), draw)
        yield replace(clip, pixels=frames, drawings=sketches)


def batched(clips: Iterator[Clip], sizes: Iterable[int]) -> Iterator[Packed]:
    for size in sizes:
        yield collate(list(islice(clips, size)))


def collate(clips: list[Clip]) -> Packed:
    """A batch without keys, and empty, if all were lost."""
    lost = tuple(clip.lost for clip in clips if clip.lost)
    good = [clip for clip in clips if clip.drawings is not None]
    if not good:
        return Packed(torch.empty(0), torch.empty(0), lost=lost)
    parts = {name: [getattr(clip, name) for clip in good] for name in ("drawings", "pixels", "latents", "tokens")}
    stacked = {name: torch.stack(part) for name, part in parts.items() if part[0] is not None}
    fps = torch.tensor([clip.fps for clip in good])
    return Packed(**stacked, fps=fps, keys=tuple(clip.key for clip in good), lost=lost)


def _decoded(sample: Sample, height: int, width: int) -> Clip:
    parts = sample.parts
    if "latents" in parts:
        drawings, tokens = np.stack(parts["sketches"]), torch.from_numpy(parts["tokens"][0].astype(np.float32))[None]
        latents = torch.from_numpy(np.stack(parts["latents"])).float()
        if drawings.dtype != np.uint8 or drawings.shape[1:] != (height, width):
            raise ValueError(f"its sketches are {drawings.dtype} {drawings.shape[1:]}, not {height} x {width}")
        if not (latents.sum() + tokens.sum()).isfinite():
            raise ValueError("its latents are not finite")
        return Clip(sample.slot, sample.key, sample.fps, torch.from_numpy(drawings)[:, None], None, latents, tokens)
    drawings = np.stack([fit(decode_png(data, "L"), height, width) for data in parts["sketch"]])
    frames = np.stack([fit(decode_png(data, "RGB"), height, width) for data in parts["frame"]])
    # (t H W), (t H W 3) => (t 1 H W), (t 3 H W)
    sketches, pixels = torch.from_numpy(drawings)[:, None], torch.from_numpy(frames).movedim(-1, 1)
    return Clip(sample.slot, sample.key, sample.fps, sketches, pixels)
