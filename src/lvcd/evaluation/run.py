"""Paint every clip, score it, keep what is done; at the end one row.

letters: n frames, H W pixels
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from lvcd.leaderboard import Row, append
from lvcd.methods import Method
from lvcd.metrics.suite import Suite

from .kept import Kept, Painted, job_name
from .media import write_painted, write_sheet, write_source
from .provenance import device_name, memory_gib, provenance
from .ranks import Ranks
from .testset import Clip, TestSet, clip_seed

BOARD = "leaderboard.jsonl"
SHEETS = 4
"""Contact sheets of so many clips."""


class Evaluation:
    """One method on one test set. `out` is the folder of the board, of the media and of unfinished work."""

    def __init__(
        self, method: Method, tests: TestSet, suite: Suite, out: Path, seed: int = 0, device: str = "cpu",
        ranks: Ranks | None = None,
    ):  # fmt: skip
        self.method, self.tests, self.suite, self.seed = method, tests, suite, seed
        self.out, self.device, self.ranks = out, device, ranks or Ranks()
        self.about = tests.about({column: metric.identity() for column, metric in suite.metrics.items()})
        job = job_name({"method": method.settings, "protocol": self.about, "seed": seed, "keys": tests.keys})
        self.kept = Kept(out / "unfinished" / job)
        self.sheets = out / "sheets" / job
        self.media = out / "media" / job
        looks = ("data", "width", "height", "frames", "binarized")
        self.source = out / "media" / f"source-{job_name({look: self.about[look] for look in looks})}"

    def run(self) -> Row:
        """The row, appended to the board. InputError: what the method painted cannot be scored."""
        started = time.perf_counter()
        own = self.ranks.share(len(self.tests))
        seconds: dict[int, float] = {}
        with tqdm(own, desc=self.method.name, unit="clip", file=sys.stderr, disable=not self.ranks.first) as bar:
            for index in bar:
                clip = self.tests[index]
                painted = self.paint(clip)
                seconds[index] = painted.seconds
                self.score(clip, painted)
                write_painted(self.media, clip, painted.frames)
                write_source(self.source, clip)
                if index < SHEETS:
                    write_sheet(self.sheets / f"{clip.key}.png", clip, painted.frames)
                bar.set_postfix_str(
                    f"{sum(seconds.values()) / sum(self.tests.lengths[i] for i in seconds):.2f} s/frame"
                )
        row = self.row(self.ranks.gather(seconds), self.ranks.gather(self.scores(own)))
        if self.ranks.first:
            append(self.out / BOARD, row)
            self.kept.clear()
            self.tell(time.perf_counter() - started, sum(seconds.values()))
        return row

    def paint(self, clip: Clip) -> Painted:
        def now():
            started = time.perf_counter()
            seed = clip_seed(self.seed, clip.key)
            frames = self.method.paint(clip.reference, clip.reference_sketch, clip.sketches, seed).cpu()
            return frames, time.perf_counter() - started

        return self.kept.paint(clip.key, tuple(clip.original.shape), now)

    def score(self, clip: Clip, painted: Painted) -> None:
        tensors = (painted.frames, clip.original, clip.sketches)
        preds, target, sketches = (x[None].to(self.device) for x in tensors)  # (n c H W) => (1 n c H W)
        self.suite.update(preds, target, sketches, torch.tensor([clip.index]))

    def scores(self, own: range) -> dict[int, dict[str, float | None]]:
        """Of each of these clips, {column: score or None}."""
        columns = self.suite.per_clip() if len(own) else {}
        found: dict[int, dict[str, float | None]] = {index: {} for index in own}
        for column, values in columns.items():
            for index, value in zip(own, values, strict=True):
                found[index][column] = None if math.isnan(value) else value
        return found

    def row(self, seconds: dict[int, float], scores: dict[int, dict[str, float | None]]) -> Row:
        memory = max(self.ranks.gather({self.ranks.rank: memory_gib(self.device)}).values())
        spent = sum(seconds.values()) / sum(self.tests.lengths)
        clips = [
            {"key": key, "scores": scores[index], "media": str((self.media / f"{key}.webm").relative_to(self.out))}
            for index, key in enumerate(self.tests.keys)
        ]
        return Row(
            method={"name": self.method.name, "settings": self.method.settings},
            protocol=self.about,
            n=len(self.tests),
            metrics=self.suite.reports(),
            clips=clips,
            source_media=str(self.source.relative_to(self.out)),
            cost={"seconds_per_frame": spent, "memory_GiB": memory, "device": device_name(self.device)},
            provenance=provenance(self.seed),
        )

    def tell(self, whole: float, painting: float) -> None:
        """Where the time went."""
        metrics = sum(self.suite.seconds.values())
        shares = ((what, x / max(whole, 1e-9)) for what, x in (("painting", painting), ("metrics", metrics)))
        text = ", ".join(f"{what} {share:.0%}" for what, share in shares)
        print(f"{self.method.name}: {whole:.0f} s, {text}; sheets in {self.sheets}", file=sys.stderr)


def evaluate(method: Method, tests: TestSet, suite: Suite, out: Path, **settings: Any) -> Row:
    """See `Evaluation`."""
    return Evaluation(method, tests, suite, out, **settings).run()
