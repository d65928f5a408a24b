"""Lightning data modules: cartoons drawn on the fly, and shards."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from torch.utils.data import DataLoader

from lvcd.errors import InputError
from lvcd.shards.format import ENCODED, Manifest

from .augment import Augment
from .batch import Batch
from .cartoons.splits import TEST_SEED as TEST_SEED  # lvcd eval and the demo know it from here
from .cartoons.splits import TRAINING_SEED, VALIDATION_SEED
from .clip import WindowSampling
from .drawn import CartoonClips, DrawnStream, pack
from .resumable import ResumableDataModule
from .stream.clip_stream import ClipStream
from .stream.epoch_plan import EpochPlan
from .stream.loader import StreamLoader, ignore_signals
from .stream.raw_batch import RawBatch
from .stream.source import RetryPolicy, ShardSource


class CartoonDataModule(ResumableDataModule):
    """Cartoons drawn on the fly; the seeds of training and validation never meet."""

    def __init__(
        self,
        window: int,  # video frames of a clip; the reference comes on top
        height: int,  # px
        width: int,
        batch_size: int,  # clips
        styles: Sequence[str] = ("shapes",),  # by turns
        train_clips: int = 1_000_000,  # one epoch
        val_clips: int = 16,  # clips of a validation
        reach: int = 24,  # the reference is at most so many frames before the clip
        seed: int = 0,
        workers: int = 1,
        augment: Augment | None = None,  # of what is trained on
    ):
        super().__init__()
        self.save_hyperparameters(logger=False, ignore=["augment"])  # checkpoints hold these: plain values alone
        self.augment = augment

    def train_dataloader(self) -> StreamLoader:
        """Return the training clips, from where the run was stopped."""
        h: Any = self.hparams
        trainer, seed = self.trainer, TRAINING_SEED * (1 + h.seed)
        clips = CartoonClips(h.train_clips, seed, h.window, h.height, h.width, h.styles, h.reach, self.augment)
        ranks = trainer.world_size if trainer else 1
        plan = EpochPlan((h.train_clips,), h.batch_size, ranks=ranks, workers=max(1, h.workers), seed=h.seed, buffer=0)
        stream = DrawnStream(clips, plan, trainer.global_rank if trainer else 0)
        loader = StreamLoader(stream, h.workers, lambda *_: None, pin_memory=_on_gpu(trainer))
        return self._resumed(self._register("train", loader))

    def val_dataloader(self) -> DataLoader:
        """Return the validation clips."""
        h: Any = self.hparams
        clips = CartoonClips(h.val_clips, VALIDATION_SEED, h.window, h.height, h.width, h.styles, h.reach)
        numbers: Any = range(h.val_clips)
        return DataLoader(
            numbers, h.batch_size, num_workers=h.workers, collate_fn=partial(pack, clips),
            persistent_workers=h.workers > 0, worker_init_fn=ignore_signals, pin_memory=_on_gpu(self.trainer),
        )  # fmt: skip

    def fixed_clips(self, count: int, frames: int) -> Iterator[Batch]:
        """Return the first `count` clips of validation, one a batch, each with `frames` frames after the reference.

        They are the same at any time and in any process.
        """
        h: Any = self.hparams
        clips = CartoonClips(h.val_clips, VALIDATION_SEED, frames, h.height, h.width, h.styles, h.reach)
        return (pack(clips, [i]).to("cpu") for i in range(min(count, len(clips))))


# --------------------------------------------------------------------------------------------------------------- shards


class ShardDataModule(ResumableDataModule):
    """Clips of shards, from a folder or from anything webdataset can open; see `stream.source.ShardSource`.

    Training shows every clip once an epoch, on any number of processes and workers, but for the few that make the last
    batch of each full (`stream.epoch_plan.EpochPlan`); validation and test show each exactly once, and always the same
    frames of it. A checkpoint holds where the run stopped, and it resumes with the very next batch. What cannot be read
    is left out, warned of and counted; in training another clip stands in for it.

    Where encoded shards of the size lie under the training shards and fit them, the augmentation and the encoders of
    the LightningModule (its `encoder_fingerprints`: {"vae": SHA-256, "image_encoder": SHA-256}), training reads these.
    """

    def __init__(
        self,
        shards: str,  # to train on
        height: int,  # px: a stage of resolution
        width: int,
        batch_size: int,  # clips, of each process
        val_shards: str | None = None,
        test_shards: str | None = None,
        sampling: WindowSampling | None = None,  # None = as in the paper
        augment: Augment | None = None,  # of training clips
        seed: int = 0,
        workers: int = 2,  # processes that read for each process that trains; 0 = itself
        buffer: int = 64,  # samples of a worker among which the next is drawn; each waits as compressed frames
        timeout: float = 60.0,  # s without a byte, after which a pipe is given up
        retries: int = 2,  # of a shard, before the rest of it is left out
        pause: float = 1.0,  # s before each
        max_unreadable: float = 0.01,  # fraction of an epoch's samples that may be left out
    ):
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # more processes than validation clips
        self.shards, self.val_shards, self.test_shards = shards, val_shards, test_shards
        self.height, self.width, self.batch_size = height, width, batch_size
        self.sampling, self.augment = sampling or WindowSampling(), augment
        self.seed, self.workers, self.buffer = seed, workers, buffer
        self.retry, self.max_unreadable = RetryPolicy(timeout, retries, pause), max_unreadable
        for name, least in {"height": 1, "width": 1, "batch_size": 1, "workers": 0, "buffer": 0}.items():
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}: give at least {least}")
        self.unreadable = {"train": 0, "val": 0, "test": 0}
        """The number of samples left out so far."""
        self._manifests: dict[str, Manifest] = {}
        self._latents: tuple[ShardSource, Manifest] | None = None
        self._warned: set[str] = set()

    def setup(self, stage: str) -> None:
        """Read the manifests. InputError: shards cannot be used."""
        sources = {"train": self.shards, "val": self.val_shards, "test": self.test_shards}
        needed = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}.get(stage, ())
        for part in needed:
            if (where := sources[part]) is not None:
                self._manifests[part] = manifest = ShardSource(where).manifest(self.retry)
                if not sum(shard.clips for shard in manifest.shards):
                    raise InputError(f"there is no clip in {ShardSource(where)}: prepare more films")
        if "train" in needed:
            found = self._find_latents(ShardSource(self.shards), self._manifests["train"])
            self._latents = None if isinstance(found, str) else found
            self._print(found if isinstance(found, str) else f"training reads the latents in {found[0]}")

    def train_dataloader(self) -> StreamLoader:
        """Return the training clips, of pixels or latents, from where the run was stopped."""
        source, manifest = self._latents or (ShardSource(self.shards), self._manifests["train"])
        loader = self._loader("train", source, replace(manifest, sha256=self._manifests["train"].sha256))
        self._resumed(loader)
        if padded := loader.stream.plan.padded:
            self._log({"data/padded": padded})
        return loader

    def val_dataloader(self) -> StreamLoader | list:
        """Return the validation clips; an empty list without `val_shards`."""
        return self._loader("val", ShardSource(self.val_shards), self._manifests["val"]) if self.val_shards else []

    def fixed_clips(self, count: int, frames: int) -> Iterator[Batch]:
        """Yield clips as CartoonDataModule does; none without `val_shards`. A short clip holds its last frame."""
        manifest = self._manifests.get("val")
        if self.val_shards is None or manifest is None:
            return
        plan = EpochPlan(tuple(shard.clips for shard in manifest.shards), batch_size=1, train=False)
        sampling = replace(self.sampling, window=frames, windows=1)
        source = ShardSource(self.val_shards)
        stream = ClipStream(source, manifest, plan, self.height, self.width, sampling, retry=self.retry)
        good = (batch.to("cpu") for batch in stream.consumer(0) if batch.keys)
        yield from islice(good, count)

    def test_dataloader(self) -> StreamLoader:
        """Return the test clips. InputError: there are no `test_shards`."""
        if self.test_shards is None:
            raise InputError("there are no shards to test on: set test_shards")
        return self._loader("test", ShardSource(self.test_shards), self._manifests["test"])

    def _loader(self, part: str, source: ShardSource, manifest: Manifest) -> StreamLoader:
        train, trainer = part == "train", self.trainer
        sampling = self.sampling if train else replace(self.sampling, windows=1)
        plan = EpochPlan(
            clips=tuple(shard.clips for shard in manifest.shards),
            batch_size=self.batch_size,
            train=train,
            windows=sampling.windows,
            ranks=trainer.world_size if trainer else 1,
            workers=max(1, self.workers),
            seed=self.seed if train else 0,
            buffer=self.buffer,
        )
        stream = ClipStream(
            source,
            manifest,
            plan,
            self.height,
            self.width,
            sampling,
            self.augment if train else None,
            self.retry,
            encoded=bool(source.stage),
            rank=trainer.global_rank if trainer else 0,
        )
        pin = _on_gpu(trainer)
        loader = StreamLoader(stream, self.workers, lambda *counts: self._count(part, *counts), pin_memory=pin)
        return self._register(part, loader)

    def _find_latents(self, source: ShardSource, manifest: Manifest) -> tuple[ShardSource, Manifest] | str:
        """Return the latents that training can read in place of pixels, or why there are none."""
        folders = source.stages() if source.is_folder else [replace(source, stage=f"{self.height}p")]
        size = {"height": self.height, "width": self.width}
        for folder in folders:
            try:
                found = folder.manifest(self.retry, ENCODED)
                stage, encoders = found.record["stage"], found.record["encoders"]
                if {name: stage[name] for name in size} != size:
                    continue
            except (InputError, KeyError, TypeError):
                continue
            problem = ""
            module = self.trainer.lightning_module if self.trainer else None
            expected = getattr(module, "encoder_fingerprints", None)
            if self.augment and self.augment.pixels_only:
                problem = "an augmentation changes pixels, and latents cannot follow"
            elif not expected:
                problem = "the module has no encoder_fingerprints"
            elif changed := [name for name in expected if encoders.get(name) != expected[name]]:
                problem = f"they were made with another {' and '.join(changed)}"
            elif found.record.get("source_sha256") != manifest.sha256 or _clips(found) != _clips(manifest):
                problem = "they were made from other shards"
            return f"training reads pixels and not the latents in {folder}: {problem}" if problem else (folder, found)
        return f"training reads pixels: there are no latents of {self.height} x {self.width} under {source}"

    def _count(self, part: str, batch: RawBatch, unreadable: int, planned: int) -> None:
        """Warn of and log the samples of a batch that could not be read.

        unreadable    samples of the running epoch so far, of `planned` on this process
        InputError: too many.
        """
        self.unreadable[part] += len(batch.errors)
        for line in batch.errors:
            if line not in self._warned:
                self._warned.add(line)
                warnings.warn(line, stacklevel=2)
        if batch.errors:
            self._log({f"data/{part}_unreadable": self.unreadable[part]})
        if unreadable > self.max_unreadable * planned or (part == "train" and not batch.keys):
            raise InputError(
                f"{unreadable} of the {planned} samples of an epoch cannot be read so far ({batch.errors[-1]}): "
                f"repair the shards, or raise max_unreadable (it is {self.max_unreadable:g})"
            )

    def _log(self, numbers: dict[str, float]) -> None:
        for logger in self.trainer.loggers if self.trainer else []:
            logger.log_metrics(numbers, self.trainer.global_step)  # type: ignore[union-attr]

    def _print(self, line: str) -> None:
        if self.trainer is None or self.trainer.is_global_zero:
            print(line)


def _on_gpu(trainer: Any) -> bool:
    return trainer is not None and trainer.strategy.root_device.type == "cuda"


def _clips(manifest: Manifest) -> list[tuple[str, int]]:
    return [(shard.name, shard.clips) for shard in manifest.shards]
