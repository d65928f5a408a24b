"""`lvcd prepare` against decode-and-resize alone, and one process against two, in one run. `make bench` calls `report`.

    python -m benchmarks.prepare [--toy]    --toy: small films, to try the script

Each measurement runs in processes of its own, one thread each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

TOY = "--toy" in sys.argv
REPEATS = 1 if TOY else 2
SEEDS, FRAMES, HEIGHT, WIDTH, SHORT_SIDE = (2, 24, 90, 160, 40) if TOY else (4, 60, 720, 1280, 320)


def films(folder: Path) -> list[Path]:
    """A film of drawn cartoons as H.264, twice: two processes do equal work."""
    from lvcd.data.cartoons import draw
    from lvcd.io.movies import write_movie

    made = [folder / f"{number}.mp4" for number in range(2)]
    write_movie(made[0], (frame for seed in range(SEEDS) for frame in draw(seed, FRAMES, HEIGHT, WIDTH).frames), 24)
    shutil.copy(*made)
    return made


def resize(folder: str) -> float:
    """CPU seconds to decode the first film and to resize its frames, as `lvcd prepare` does both, and nothing more."""
    import cv2

    from lvcd.io.film import FilmReader
    from lvcd.prepare.process import shrink

    cv2.setNumThreads(1)
    start, count = time.process_time(), 0
    for frame in FilmReader(Path(folder, "0.mp4")):
        assert frame is not None
        count += shrink(frame, SHORT_SIDE).shape[0] == SHORT_SIDE
    assert count == SEEDS * FRAMES
    return time.process_time() - start


def work(folder: str, number: str) -> float:
    """Seconds to make the cache of a film: all that `lvcd prepare` does to it but copying to a shard."""
    import cv2
    import torch

    from lvcd.prepare.films import collect
    from lvcd.prepare.process import FilmJob, SketchSource, process_film
    from lvcd.prepare.shots import ShotRule

    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    (film,) = collect([Path(folder, f"{number}.mp4")], None)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        start = time.perf_counter()
        process_film(FilmJob(film, Path(name, "cache"), ShotRule(resolution=64), SHORT_SIDE, SketchSource()))
        return time.perf_counter() - start


def shards(folder: str) -> float:
    """CPU seconds for `lvcd prepare` of the first film, shards included, in this process."""
    import cv2

    from lvcd.prepare import PrepareSettings, ShotRule, prepare

    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory(dir=folder) as name:
        start = time.process_time()
        settings = PrepareSettings(ShotRule(resolution=64), SHORT_SIDE)  # at 64 the drawn clips stay whole
        manifest = prepare([Path(folder, "0.mp4")], Path(name, "out"), settings, workers=1)
        seconds = time.process_time() - start
    assert manifest["counts"]["kept"] == {"clips": SEEDS, "frames": SEEDS * FRAMES}
    return seconds


def start(*what: str) -> subprocess.Popen:
    command = [sys.executable, __file__, *what, *(["--toy"] if TOY else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env=environment, text=True, **pipes)  # type: ignore[call-overload]


def measure(*commands: tuple[str, ...]) -> list[float]:
    """Run some of the above, all at once, each in a fresh process."""
    processes = [start(*command) for command in commands]
    done = [process.communicate()[0] for process in processes]
    assert not any(process.returncode for process in processes)
    return [json.loads(text.splitlines()[-1]) for text in done]


def report() -> None:
    count = SEEDS * FRAMES
    with tempfile.TemporaryDirectory() as folder:
        made = films(Path(folder))
        alone, whole, one, two = [], [], [], []
        for _ in range(REPEATS):  # in turn, so that a busy machine hits all of them
            alone += measure(("resize", folder))
            whole += measure(("shards", folder))
            one += measure(("work", folder, "0"))
            two.append(max(measure(("work", folder, "0"), ("work", folder, "1"))))
        size = sum(film.stat().st_size for film in made) / len(made) / 1e6
    print(f"lvcd prepare, xdog, {count} frames {WIDTH}x{HEIGHT} of H.264 ({size:.1f} MB) to {SHORT_SIDE} rows,")
    print(f"one thread a process, best of {REPEATS}")
    print("  frames for each second of CPU time")
    print(f"    decode and resize alone {count / min(alone):.0f}, all of prepare {count / min(whole):.0f}:", end=" ")
    print(f"x {min(alone) / min(whole):.2f} (target 0.6)")
    print("  frames for each second that passes")
    print(f"    one process {count / min(one):.0f}, two with a film each {2 * count / min(two):.0f}:", end=" ")
    print(f"x {2 * min(one) / min(two):.2f} (target 1.8; says nothing on a machine that is busy with other things)")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="resize FOLDER, shards FOLDER or work FOLDER NUMBER; nothing: all")
    parser.add_argument("--toy", action="store_true", help="small films, to try the script")
    what = parser.parse_args().what
    if not what:
        report()
    else:
        measures: dict[str, Callable[..., float]] = {"resize": resize, "shards": shards, "work": work}
        print(json.dumps(measures[what[0]](*what[1:])))
