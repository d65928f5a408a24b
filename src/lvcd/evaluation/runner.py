"""Paint every clip, score it, run the leak checks, and append one row to the leaderboard."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
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
from .cache import PaintCache, PaintedClip, job_name
from .external import ExternalFrames
from .leaks import CheckStats, judge_checks, run_checks
from .methods import Method, NetworkMethod
from .originals import cache_original_features
from .provenance import code, device_name, provenance, versions
from .ranks import Ranks
from .testset import TestClip, TestSet, clip_seed

BOARD = "leaderboard.jsonl"
MAX_SHEETS = 4
"""Clips of which a contact sheet is written."""
SAVE_SCORES_EVERY_SEC = 60.0
"""At most so much scoring is lost when an evaluation is interrupted; painted clips never are."""


class Evaluation:
    """An evaluation of one method on one test set. The same evaluation resumes where it was interrupted."""

    def __init__(
        self,
        method: Method | ExternalFrames,
        tests: TestSet,
        suite: Suite,
        out: Path,  # folder of the leaderboard, of media, and of unfinished work
        seed: int = 0,  # of the noise of all clips
        device: str = "cpu",  # of the metrics
        ranks: Ranks | None = None,  # None = this process alone
        board: str = BOARD,  # file name of the leaderboard in `out`
    ):
        self.method, self.tests, self.suite, self.seed = method, tests, suite, seed
        self.out, self.board, self.device, self.ranks = out, out / board, device, ranks or Ranks()
        self.protocol = tests.protocol_record({column: metric.identity() for column, metric in suite.metrics.items()})
        cache_original_features(suite, out / "originals", tests, device)
        computed_by = {"code": code(), "versions": versions(), "device": torch.device(device).type}
        what = {"method": method.settings, "protocol": self.protocol, "seed": seed, "keys": tests.keys}
        job = job_name({**what, **computed_by})
        self.cache = PaintCache(out / "unfinished" / job)
        seen = {name: value for name, value in self.protocol.items() if name not in ("name", "clips", "metrics")}
        network = method.network_settings if isinstance(method, NetworkMethod) else None
        painted_by = {"network": network, "protocol": seen, "seed": seed, **computed_by}
        self.network_cache = PaintCache(out / "painted" / job_name(painted_by)) if network else None
        """What the network paints, which the same network under another method or with more clips need not do again."""
        self.scores_name = f"{self.ranks.rank} of {self.ranks.world}"
        self.sheets, self.media = out / "sheets" / job, out / "media" / job
        shown = {name: self.protocol[name] for name in ("data", "width", "height", "frames", "sketch", "binarized")}
        self.source = out / "media" / f"source-{job_name(shown)}"
        self.painting_sec = 0.0
        """Time that this run has painted."""
        self.memory_gib = 0.0
        """Peak memory of painting, also in runs that were interrupted."""

    def run(self) -> Row:
        """Evaluate and return the row that was appended. InputError: what the method painted cannot be scored."""
        started = time.perf_counter()
        reset_peak_memory(self.device)
        indices = self.ranks.indices(len(self.tests))
        with self._exclusive():
            seconds = self._paint_and_score(indices)
            checks = self.ranks.gather(self._run_checks())
            row = self._row(self.ranks.gather(seconds), self.ranks.gather(self._scores(indices)), checks)
            if self.ranks.first:
                append(self.board, row)
                self.cache.clear()
                self._print_times(time.perf_counter() - started)
        return row

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock of this evaluation. InputError: another process has it."""
        if not self.ranks.first:
            yield
            return
        busy = f"this evaluation of {self.method.name} is running already: wait for it, or stop it"
        lock = Lock(self.cache.folder.with_suffix(".lock"), busy)
        try:
            yield
        finally:
            lock.release()

    def _paint_and_score(self, indices: range) -> dict[int, float]:
        """Paint, score and write these clips; return the seconds that each took to paint, now or in an earlier run."""
        seconds: dict[int, float] = {}
        scored = self.cache.restore_scores(self.scores_name, self.suite)
        self.suite.to(self.device)
        saved = time.perf_counter()
        with tqdm(indices, desc=self.method.name, unit="clip", file=sys.stderr, disable=not self.ranks.first) as bar:
            for number, index in enumerate(bar, 1):
                clip = self.tests[index]
                painted = self._paint(clip.key, clip)
                seconds[index] = painted.seconds
                if number > scored:
                    given = tuple(clip.keys)
                    self.suite.update_clip(painted.frames, clip.original, clip.scored_sketches, clip.index, given)
                    if time.perf_counter() - saved > SAVE_SCORES_EVERY_SEC:
                        self.cache.save_scores(self.scores_name, self.suite, number)
                        saved = time.perf_counter()
                write_painted(self.media, clip, painted.frames)
                write_source(self.source, clip)
                if index < MAX_SHEETS:
                    write_sheet(self.sheets / f"{clip.key}.png", clip, painted.frames)
                frames = sum(self.tests.lengths[i] for i in seconds)
                bar.set_postfix_str(f"{sum(seconds.values()) / frames:.2f} s/frame")
        return seconds

    def _paint(self, name: str, clip: TestClip) -> PaintedClip:
        """Return a clip as the method paints it, from the cache if it is there under `name`."""

        def paint() -> PaintedClip:
            method, given = self.method, (clip.reference, clip.reference_sketch, clip.sketches)
            seed = clip_seed(self.seed, clip.key)
            more: dict[str, Any] = {"keys": clip.keys} if clip.keys and getattr(method, "heeds_keys", False) else {}
            if isinstance(method, ExternalFrames):
                return self._timed(lambda: method.frames_of(clip))
            if self.network_cache is None or not isinstance(method, NetworkMethod):
                return self._timed(lambda: method.paint(*given, seed, **more))

            def paint_by_network() -> PaintedClip:
                return self._timed(lambda: method.paint_by_network(*given, seed, **more))

            first = self.network_cache.get_or_compute(name, shape, paint_by_network)
            last = self._timed(lambda: method.finish(*given, first.frames, **more))
            memory_gib = max(first.memory_gib, last.memory_gib)
            return PaintedClip(last.frames, first.seconds + last.seconds, memory_gib)

        shape = tuple(clip.original.shape)
        painted = self.cache.get_or_compute(name, shape, paint)
        self.memory_gib = max(self.memory_gib, painted.memory_gib)
        return painted

    def _timed(self, paint: Callable[[], Tensor]) -> PaintedClip:
        """Return the frames that `paint` returns, with their cost."""
        started = time.perf_counter()
        frames = paint().cpu()
        seconds = time.perf_counter() - started
        self.painting_sec += seconds
        return PaintedClip(frames, seconds, peak_memory_gib(self.device))

    def _run_checks(self) -> dict[int, dict[str, CheckStats]]:
        """Run the leak checks of this process's part of the clips that are checked."""
        if isinstance(self.method, ExternalFrames):
            return {}
        checked = evenly_spaced(len(self.tests), self.tests.protocol.leaks, ends=False)
        indices = [checked[i] for i in self.ranks.indices(len(checked))]
        found = {}
        for index in tqdm(indices, desc="leak checks", unit="clip", file=sys.stderr, disable=not self.ranks.first):
            clip = self.tests[index]
            unchanged = self._paint(clip.key, clip).frames

            def paint(check: str, variant: TestClip) -> Tensor:
                return self._paint(f"{variant.key} {check}", variant).frames

            found[index] = run_checks(clip, unchanged, paint)
        return found

    def _scores(self, indices: range) -> dict[int, dict[str, float | None]]:
        """Return the scores of each of these clips: column -> score or None."""
        columns = self.suite.per_clip() if len(indices) else {}
        found: dict[int, dict[str, float | None]] = {index: {} for index in indices}
        for column, values in columns.items():
            for index, value in zip(indices, values, strict=True):
                found[index][column] = None if math.isnan(value) else value
        return found

    def _row(self, seconds: dict[int, float], scores: dict[int, Any], checks: dict[int, dict[str, CheckStats]]) -> Row:
        """Return the row from what all processes have found."""
        external = isinstance(self.method, ExternalFrames)
        memory = max(self.memory_gib, peak_memory_gib(self.device))
        cost = {
            "seconds_per_frame": sum(seconds.values()) / sum(self.tests.lengths),
            "memory_GiB": max(self.ranks.gather({self.ranks.rank: memory}).values()),
            "device": device_name(self.device),
        }
        leaks, warnings = judge_checks(checks)
        if not leaks:
            warnings = ["not checked for leaks" + ": the frames came from elsewhere" * external]
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
            protocol=self.protocol,
            n=len(self.tests),
            metrics=self.suite.reports(),
            clips=clips,
            source_media=self.source.relative_to(self.out).as_posix(),
            leaks=leaks,
            warnings=[*self.tests.warnings, *warnings],
            cost=dict.fromkeys(cost) if external else cost,
            provenance=provenance(self.seed),
        )

    def _print_times(self, total_sec: float) -> None:
        """Print how long the evaluation took, and the fractions of painting and of metrics."""
        parts = (("painting", self.painting_sec), ("metrics", sum(self.suite.seconds.values())))
        fractions = ", ".join(f"{what} {seconds / max(total_sec, 1e-9):.0%}" for what, seconds in parts)
        print(f"{self.method.name}: {total_sec:.0f} s, {fractions}; sheets in {self.sheets}", file=sys.stderr)


def evaluate(method: Method | ExternalFrames, tests: TestSet, suite: Suite, out: Path, **settings: Any) -> Row:
    """Evaluate a method on a test set and return the row that was appended to `out`/leaderboard.jsonl.

    settings: see `Evaluation`.
    """
    return Evaluation(method, tests, suite, out, **settings).run()
