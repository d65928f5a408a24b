"""What a person sets, in their words, on the command line or in conf/prepare.yaml."""

from __future__ import annotations

import math
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from lvcd.errors import InputError
from lvcd.io.disk import named
from lvcd.prepare import Drawing, Settings, prepare
from lvcd.prepare.shots import ShotRule
from lvcd.system import available_cores

EXTRACTORS = ("xdog", "informative-drawings", "anime2sketch", "given")
DETECTORS = ("paper", "content")
EXECUTORS = ("local", "ray")


@dataclass
class Options:
    """InputError: something is missing, or does not fit together."""

    films: list[Path] = field(default_factory=list)
    """Movies, folders of images, or folders of these."""
    out: Path | None = None
    """Folder of the shards."""
    extractor: str = "xdog"
    sketches: Path | None = None
    """given: a folder with each film's line art, of the film's name."""
    weights: Path | None = None
    """Of the extractor's network."""
    device: str = "cpu"
    """Of the extractor: cpu or cuda."""
    detector: str = "paper"
    """Of cuts: the paper's color histograms, or content, as PySceneDetect does it."""
    shortest: int = 15
    """Frames; shorter clips are dropped."""
    longest: int = 200
    """Frames; longer shots are split."""
    cut: float | None = None
    """Difference that makes a new shot: of histograms, None = 30; of content, None = 27."""
    cut_resolution: int = 96
    """Histograms are taken at so many pixels squared; more finds more cuts."""
    short_side: int | None = None
    """Frames are shrunk to this shorter side; None = as they are."""
    shard_mb: float = 256.0
    """Size of a shard, MiB."""
    workers: int | None = None
    """Processes; None = one for each core."""
    executor: str = "local"
    """local, or ray: the cluster of RAY_ADDRESS, or one on this machine."""

    def __post_init__(self) -> None:
        if not self.films or self.out is None:
            raise InputError("films or out are missing: say which films to prepare and where the shards go")
        for name, choices in (("extractor", EXTRACTORS), ("detector", DETECTORS), ("executor", EXECUTORS)):
            if (value := getattr(self, name)) not in choices:
                raise InputError(f"there is no {name} {value!r}: choose {', '.join(choices)}")
        if (self.extractor == "given") != bool(self.sketches):
            raise InputError("sketches and the extractor given belong together: give both or neither")
        if self.extractor == "given" and self.weights:
            raise InputError("line art that is given needs no weights: leave them out")
        if not 0 < self.shard_mb < 2**20:
            raise InputError(f"shards of {self.shard_mb:g} MiB: choose more than 0 and less than a million")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"{self.workers} workers: choose at least 1")
        if self.cut is not None and not (self.cut > 0 and math.isfinite(self.cut)):
            raise InputError(f"a cut at a difference of {self.cut:g}: choose more than 0")


def run(o: Options) -> None:
    """Prepare, and print what came of it. InputError: as `lvcd.prepare.prepare`."""
    cut: dict[str, Any] = {} if o.cut is None else {"content_cut" if o.detector == "content" else "cut": o.cut}
    rule = ShotRule(
        detector=cast(Any, o.detector), resolution=o.cut_resolution, shortest=o.shortest, longest=o.longest, **cut
    )
    settings = Settings(rule, o.short_side, int(o.shard_mb * 2**20))
    drawing = Drawing(o.extractor, o.device, _absolute(o.weights), _absolute(o.sketches))
    assert o.out is not None
    try:
        manifest = prepare(o.films, o.out, settings, drawing, o.workers or available_cores(), cast(Any, o.executor))
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    counts = manifest["counts"]
    dropped = ", ".join(f"{n['clips']} {why}" for why, n in counts["dropped"].items()) or "none"
    kept = f"{counts['kept']['clips']} clips, {counts['kept']['frames']} frames"
    left_out = f"{counts['left_out']} of {counts['films']} films left out"
    lost = (
        f", {counts['lost']['frames']} frames of {counts['lost']['films']} damaged" if counts["lost"]["films"] else ""
    )
    print(f"{named(o.out)}: {kept}, {len(manifest['shards'])} shards; clips dropped: {dropped}; {left_out}{lost}")


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))
