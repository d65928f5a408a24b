"""Paint every clip, score it, keep what is done; at the end one row."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from lvcd.io.disk import Lock
from lvcd.leaderboard import Row, append
from lvcd.metrics import Suite
from lvcd.spacing import evenly_spaced
from lvcd.system import peak_memory_gib, reset_peak_memory

from .artifacts import write_painted, write_sheet, write_source
from .cache import Kept, Painted, job_name
from .external import GivenFrames
from .leaks import Look, looks, verdicts
from .methods import Method
from .originals import keep_originals
from .provenance import code, device_name, provenance, versions
from .ranks import Ranks
from .testset import Clip, TestSet, clip_seed

BOARD = "leaderboard.jsonl"
SHEETS = 4
"""Contact sheets of so many clips."""
EVERY = 60.0
"""Seconds after which what the metrics have seen is kept: as much is lost at most."""


class Evaluation:
    """One method on one test set. `out` is the folder of the board, of the media and of unfinished work."""

    def __init__(
        self, method: Method | GivenFrames, tests: TestSet, suite: Suite, out: Path, seed: int = 0,
        device: str = "cpu", ranks: Ranks | None = None, board: str = BOARD,
    ):  # fmt: skip
        self.method, self.tests, self.suite, self.seed = method, tests, suite, seed
        self.out, self.board, self.device, self.ranks = out, out / board, device, ranks or Ranks()
        self.about = tests.about({column: metric.identity() for column, metric in suite.metrics.items()})
        keep_originals(suite, out / "originals", tests, device)
        by_whom = {"code": code(), "versions": versions(), "device": torch.device(device).type}
        what = {"method": method.settings, "protocol": self.about, "seed": seed, "keys": tests.keys}
        job = job_name({**what, **by_whom})
        self.kept = Kept(out / "unfinished" / job)
        self.state = f"{self.ranks.rank} of {self.ranks.world}"
        self.sheets, self.media = out / "sheets" / job, out / "media" / job
        shown = {name: self.about[name] for name in ("data", "width", "height", "frames", "binarized")}
        self.source = out / "media" / f"source-{job_name(shown)}"
        self.painting = 0.0
        """Seconds of this run."""
        self.memory = 0.0
        """GiB at most of painting, also of runs that were stopped."""

    def run(self) -> Row:
        """The row, appended to the board. InputError: what the method painted cannot be scored."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        own = self.ranks.share(len(self.tests))
        with self.alone():
            seconds = self.clips(own)
            found = self.ranks.gather(self.leaks())
            row = self.row(self.ranks.gather(seconds), self.ranks.gather(self.scores(own)), found)
            if self.ranks.first:
                append(self.board, row)
                self.kept.clear()
                self.tell(time.perf_counter() - started)
        return row

    @contextmanager
    def alone(self) -> Iterator[None]:
        """InputError: the same evaluation is running."""
        if not self.ranks.first:
            yield
            return
        busy = f"this evaluation of {self.method.name} is running already: wait for it, or stop it"
        lock = Lock(self.kept.folder.with_suffix(".lock"), busy)
        try:
            yield
        finally:
            lock.release()

    def clips(self, own: range) -> dict[int, float]:
        """Paint, score and show these; => seconds that each took to paint, now or before a stop."""
        seconds: dict[int, float] = {}
        scored = self.kept.restore(self.state, self.suite)
        for metric in self.suite.metrics.values():
            metric.to(self.device)
        saved = time.perf_counter()
        with tqdm(own, desc=self.method.name, unit="clip", file=sys.stderr, disable=not self.ranks.first) as bar:
            for done, index in enumerate(bar, 1):
                clip = self.tests[index]
                painted = self.paint(clip.key, clip)
                seconds[index] = painted.seconds
                if done > scored:
                    self.score(clip, painted.frames)
                    if time.perf_counter() - saved > EVERY:
                        self.kept.save(self.state, self.suite, done)
                        saved = time.perf_counter()
                write_painted(self.media, clip, painted.frames)
                write_source(self.source, clip)
                if index < SHEETS:
                    write_sheet(self.sheets / f"{clip.key}.png", clip, painted.frames)
                frames = sum(self.tests.lengths[i] for i in seconds)
                bar.set_postfix_str(f"{sum(seconds.values()) / frames:.2f} s/frame")
        return seconds

    def paint(self, name: str, clip: Clip) -> Painted:
        """`name` tells the clip and how it is seen."""

        def now() -> Painted:
            started = time.perf_counter()
            if isinstance(self.method, GivenFrames):
                frames = self.method.of(clip)
            else:
                seed = clip_seed(self.seed, clip.key)
                frames = self.method.paint(clip.reference, clip.reference_sketch, clip.sketches, seed).cpu()
            seconds = time.perf_counter() - started
            self.painting += seconds
            return Painted(frames, seconds, peak_memory_gib(self.device))

        painted = self.kept.paint(name, tuple(clip.original.shape), now)
        self.memory = max(self.memory, painted.memory)
        return painted

    def score(self, clip: Clip, painted: Tensor) -> None:
        self.suite.update_clip(painted, clip.original, clip.sketches, clip.index)

    def leaks(self) -> dict[int, dict[str, Look]]:
        """Of this process's share of the clips that are checked."""
        if isinstance(self.method, GivenFrames):
            return {}
        chosen = evenly_spaced(len(self.tests), self.tests.protocol.leaks, ends=False)
        own = [chosen[i] for i in self.ranks.share(len(chosen))]
        found = {}
        for index in tqdm(own, desc="leak checks", unit="clip", file=sys.stderr, disable=not self.ranks.first):
            clip = self.tests[index]
            usual = self.paint(clip.key, clip).frames
            found[index] = looks(clip, usual, lambda check, seen: self.paint(f"{seen.key} {check}", seen).frames)
        return found

    def scores(self, own: range) -> dict[int, dict[str, float | None]]:
        """Of each of these clips, {column: score or None}."""
        columns = self.suite.per_clip() if len(own) else {}
        found: dict[int, dict[str, float | None]] = {index: {} for index in own}
        for column, values in columns.items():
            for index, value in zip(own, values, strict=True):
                found[index][column] = None if math.isnan(value) else value
        return found

    def row(self, seconds: dict[int, float], scores: dict[int, Any], found: dict[int, dict[str, Look]]) -> Row:
        given = isinstance(self.method, GivenFrames)
        memory = max(self.ranks.gather({self.ranks.rank: max(self.memory, peak_memory_gib(self.device))}).values())
        cost = {
            "seconds_per_frame": sum(seconds.values()) / sum(self.tests.lengths),
            "memory_GiB": memory,
            "device": device_name(self.device),
        }
        leaks, warnings = verdicts(found)
        if not leaks:
            warnings = ["not checked for leaks" + ": the frames came from elsewhere" * given]
        clips = [
            {
                "key": key,
                "scores": scores[index],
                "media": (self.media / f"{key}.webm").relative_to(self.out).as_posix(),
            }
            for index, key in enumerate(self.tests.keys)
        ]
        return Row(
            method={"name": self.method.name, "settings": self.method.settings},
            protocol=self.about,
            n=len(self.tests),
            metrics=self.suite.reports(),
            clips=clips,
            source_media=self.source.relative_to(self.out).as_posix(),
            leaks=leaks,
            warnings=warnings,
            cost=dict.fromkeys(cost) if given else cost,
            provenance=provenance(self.seed),
        )

    def tell(self, whole: float) -> None:
        """Where the time went."""
        parts = (("painting", self.painting), ("metrics", sum(self.suite.seconds.values())))
        text = ", ".join(f"{what} {seconds / max(whole, 1e-9):.0%}" for what, seconds in parts)
        print(f"{self.method.name}: {whole:.0f} s, {text}; sheets in {self.sheets}", file=sys.stderr)


def evaluate(method: Method | GivenFrames, tests: TestSet, suite: Suite, out: Path, **settings: Any) -> Row:
    """See `Evaluation`."""
    return Evaluation(method, tests, suite, out, **settings).run()
