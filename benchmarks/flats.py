"""Flats of large frames: `lvcd recolor`, and the paint bucket, in seconds and GiB.

python -m benchmarks.flats          100 frames of 1920x1080 painted anew, 10 of 3840x2160 filled
python -m benchmarks.flats --toy    small ones: whether this script works
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

from lvcd.cli import main as lvcd
from lvcd.data.cartoons import draw
from lvcd.io.frame_folder import BESIDE
from lvcd.io.images import write_png
from lvcd.palettes.of_picture import find_palette
from lvcd.palettes.palette_files import Palette, encode_json, write_palette
from lvcd.palettes.recolor import IndexMaps
from lvcd.pipeline import FlatFiller
from lvcd.system import peak_memory_gib, reset_peak_memory

DRAWN = 10
"""Different drawings; longer clips show them again."""


def recolor(frames: int, height: int, width: int) -> None:
    """Write frames with index maps, as `lvcd colorize --palette` does, and paint them anew."""
    clip = draw(3, min(DRAWN, frames), height, width)
    palette = find_palette(clip.frames[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "cels")
        for part in ("index", "line", "coverage"):
            (folder / BESIDE / part).mkdir(parents=True)
        (folder / BESIDE / "palette.json").write_bytes(encode_json(palette))
        write_palette(Path(name, "night.gpl"), Palette(palette.colors // 3, palette.names))
        fill = FlatFiller(_tensor(clip.frames[0]), _sketch(clip.lines[0]), palette=palette.colors)
        for i in range(len(clip.frames)):
            painted = (
                (fill(_sketch(clip.lines[i]), _tensor(clip.frames[i])).movedim(0, -1) * 255).round().byte().numpy()
            )
            assert fill.indexed is not None
            files = IndexMaps.encode("{}", fill.indexed, palette)
            for number in range(i, frames, DRAWN):
                write_png(folder / f"{number:05d}.png", painted)
                for file, data in files.items():
                    (folder / BESIDE / file.format(f"{number:05d}")).write_bytes(data)
        reset_peak_memory()
        start, cpu = time.perf_counter(), time.process_time()
        code = lvcd(
            ["recolor", str(folder), "--palette", str(Path(name, "night.gpl")), "--out", str(Path(name, "out"))]
        )
        assert code == 0
        took = time.perf_counter() - start
        print(f"lvcd recolor, {frames} frames of {width}x{height}, {len(palette.colors)} colors: {took:.1f} s (target "
              f"20), {time.process_time() - cpu:.1f} s of CPU time, peak {peak_memory_gib():.2f} GiB")  # fmt: skip


def fill(frames: int, height: int, width: int) -> None:
    """Fill frames that a model is to have painted at 256x144."""
    clip = draw(3, frames, height, width)
    bucket = FlatFiller(_tensor(clip.frames[0]), _sketch(clip.lines[0]))
    before = peak_memory_gib()
    reset_peak_memory()
    start, cpu = time.perf_counter(), time.process_time()
    for frame, lines in zip(clip.frames, clip.lines):
        bucket(_sketch(lines), torch.nn.functional.interpolate(_tensor(frame)[None], (144, 256), mode="area")[0])
    took, spent = time.perf_counter() - start, time.process_time() - cpu
    print(f"flat, {frames} frames of {width}x{height}, {bucket.regions} regions: {took / frames:.2f} s a frame, "
          f"{spent / frames:.2f} s of CPU time, peak {peak_memory_gib():.2f} GiB ({before:.2f} before)")  # fmt: skip


def _tensor(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame).movedim(-1, 0) / 255


def _sketch(lines: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(lines)[None] / 255


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="small sizes, to try the script")
    toy = parser.parse_args().toy
    torch.set_num_threads(1)
    recolor(*((3, 48, 64) if toy else (100, 1080, 1920)))
    fill(*((2, 48, 64) if toy else (10, 2160, 3840)))
