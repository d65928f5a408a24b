"""Faults against every command: kills, signals, damage, hostile files, full disks. How many does it survive?

    python -m benchmarks.faults [--toy] [--only WORD] [--share S] [--seed N]
        --toy: a few of each, to try the script      --only: functions here whose name has one of these words, A,B,C
        --share: of the tries, where there is little time

Survived means
    kill, signal    the same command again ends well, and the output has the bytes of a run that was never disturbed
    anything else   the command ends well, or with exit code 2 and one line that says what is wrong: no traceback, no
                    hang, no code of the file's run, no weights other than those that were written
A try is a process of its own, forked from this one so that imports take no time. Disks of a few kB are mounted in a
namespace of the try's own, which needs root; elsewhere these tries are left out.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import io
import json
import os
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import time
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", WANDB_MODE="offline", TQDM_DISABLE="1")

import av
import cv2
import numpy as np
import OpenEXR
import torch
from PIL import Image
from psd_tools import PSDImage

import lvcd.cli.train
import lvcd.evaluation
import lvcd.inspection
import lvcd.leaderboard.board_page
import lvcd.pipeline.load  # what commands import as they run is imported before the first fork
import lvcd.pipeline.render
import lvcd.prepare.encode
import lvcd.training.callbacks
import lvcd.training.plan  # noqa: F401
from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.data.clip import WindowSampling
from lvcd.data.stream.clip_stream import ClipStream
from lvcd.data.stream.epoch_plan import EpochPlan
from lvcd.data.stream.source import RetryPolicy, ShardSource
from lvcd.errors import InputError
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.io.reader import open_frames
from lvcd.leaderboard import append, read
from lvcd.pipeline import load_pipeline
from lvcd.shards.format import PIXELS
from lvcd.training import FineTuneModule, networks_from_folder
from lvcd.training.checkpoint import AtomicCheckpointIO
from tests.helpers.rows import row
from tests.helpers.toys import toy_pipeline
from tests.helpers.train_program import TINY

HANG_SEC, WAIT_SEC = 120, 3600
"""A try that computes longer hangs, or waits longer: other work on the machine makes no hang."""
TORN = (".tmp", ".partial", ".part", ".old")
"""Endings of what a run writes before it has its name: nothing of it may be left."""
Job = Callable[[], int]
"""What a try does => exit code."""


# --- a try ------------------------------------------------------------------------------------------------------------


@dataclass
class Attempt:
    """What came of a try."""

    code: int
    """Exit code; 99 = an exception that is no InputError, negative = a signal."""
    err: str
    seconds: float
    hung: bool = False

    @property
    def is_clean(self) -> bool:
        """Whether it ended well, or in one line."""
        if self.hung or "Traceback" in self.err:
            return False
        lines = [line for line in self.err.replace("\r", "\n").splitlines() if line.startswith("lvcd")]
        return self.code == 0 or (self.code == 2 and len(lines) == 1 and len(lines[0]) < 12_000)


def attempt(
    job: Job, act: Callable[[int], object] | None = None, after: float = 0, limit: dict[int, int] | None = None
) -> Attempt:
    """Do a job in a forked process.

    act     is called with the process's number `after` seconds, if it still runs
    limit   resource.RLIMIT_... -> the process's limit
    """
    start = time.monotonic()
    with tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            code = 99
            try:
                os.dup2(err.fileno(), 2)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                for what, most in {resource.RLIMIT_CPU: HANG_SEC, **(limit or {})}.items():
                    resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
                signal.signal(signal.SIGINT, signal.default_int_handler)
                code = job()
            except InputError as error:
                print(f"lvcd: {error}", file=sys.stderr)
                code = 2
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 2 if error.code else 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        hung = False
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            elapsed = time.monotonic() - start
            if act and elapsed >= after:
                act(pid)
                act = None
            if elapsed > WAIT_SEC:
                hung = True
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.002)
        err.seek(0)
        text = err.read().decode(errors="replace")
    code = os.waitstatus_to_exitcode(status)
    return Attempt(code, text, time.monotonic() - start, hung or code == -signal.SIGXCPU)


def command(*words: object) -> Job:
    """Return the job of a command of lvcd."""
    return lambda: main([str(word) for word in words])


def must(done: Attempt) -> Attempt:
    """Return an attempt that nothing disturbed. RuntimeError: it failed, and the benchmark makes no sense."""
    if done.code:
        raise RuntimeError(done.err[-2000:])
    return done


@dataclass
class Table:
    """Counts of tries and of those that were survived."""

    rows: dict[str, list[int]] = field(default_factory=dict)

    def add(self, fault: str, survived: bool, why: str = "") -> None:
        """Count a try; what was not survived is told on stderr at once."""
        counts = self.rows.setdefault(fault, [0, 0])
        counts[0] += 1
        counts[1] += survived
        if not survived:
            short = re.sub(r"(.{1,3}?)\1{20,}", r"\1...", why)
            print(f"NOT SURVIVED {fault}: {short[-1500:]}", file=sys.stderr, flush=True)

    def __str__(self) -> str:
        lines = ["| fault | tries | survived |", "|---|---|---|"]
        lines += [f"| {fault} | {tries:,} | {survived:,} |" for fault, (tries, survived) in self.rows.items()]
        tries, survived = (sum(counts) for counts in zip(*self.rows.values()))
        return "\n".join([*lines, f"| all | {tries:,} | {survived:,} |"])


# --- what is disturbed ------------------------------------------------------------------------------------------------


@dataclass
class Scene:
    """Inputs of all commands, tiny, in one folder."""

    folder: Path
    toy: bool
    seed: int
    share: float = 1.0
    table: Table = field(default_factory=Table)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.sketches, self.reference = self.folder / "sketches", self.folder / "reference.png"
        self.films, self.shards, self.model = self.folder / "films", self.folder / "shards", self.folder / "model"
        self.run, self.board = self.folder / "run", self.folder / "board" / "leaderboard.jsonl"
        must(attempt(self._make))
        must(attempt(command("prepare", self.films, "--out", self.shards, "--workers", 1, "--shard-mb", 0.05)))

    def _make(self) -> int:
        drawn = draw(3, 26, 32, 48)
        self.sketches.mkdir()
        self.films.mkdir()
        for index, lines in enumerate(drawn.lines):
            write_png(self.sketches / f"{index}.png", np.repeat((255 - lines)[..., None], 3, -1))
        write_png(self.reference, drawn.frames[0])
        for number in range(2):
            write_movie(self.films / f"{number}.mp4", draw(number, 40, 96, 144).frames, 24)
        toy_pipeline().save_pretrained(self.folder / "plain")
        module = FineTuneModule(networks_from_folder(self.folder / "plain"))
        module.export(self.model)
        checkpoint: dict[str, Any] = {"state_dict": dict(module.state_dict())}
        module.on_save_checkpoint(checkpoint)
        AtomicCheckpointIO().save_checkpoint(checkpoint, self.run / "checkpoints" / "best.ckpt")
        (self.run / ".hydra").mkdir()
        networks = {"_target_": "lvcd.training.networks_from_folder", "folder": str(self.model)}
        config = {"module": {"_target_": "lvcd.training.FineTuneModule", "networks": networks}}
        (self.run / ".hydra" / "config.yaml").write_text(json.dumps(config))
        for number in range(6):
            append(self.board, row(name=f"method {number}"))
        return 0

    def count(self, tries: int, toy: int = 2) -> int:
        """Return the number of tries, or with --toy a few."""
        return toy if self.toy else max(1, round(tries * self.share))

    def some(self, items: Iterable[Any], toy: int = 1) -> list[Any]:
        """Return all items, or with --toy the first few."""
        return list(items)[: toy if self.toy else None]

    def empty(self, name: str) -> Path:
        """Return a new empty folder of this name."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def commands(self) -> dict[str, tuple[Callable[[Path], Sequence[object]], Callable[[Path], Sequence[object]]]]:
        """Return, for every command that writes: the words to start it with an output below a folder, and to go on."""
        colorize = ("colorize", "--sketches", self.sketches, "--reference", self.reference, "--model", self.model,
                    "--device", "cpu", "--steps", 2, "--overlap", 2)  # fmt: skip
        train = ("train", *TINY, "trainer.max_steps=4", "trainer.val_check_interval=2", "resume=auto")
        test = ("eval", "method=copy_reference", "protocol.clips=2", "protocol.leaks=0", "protocol.data=null",
                "metrics.paper=null", "+metrics.psnr._target_=lvcd.metrics.PSNR", "device=cpu")  # fmt: skip

        def again(*words: object) -> Callable[[Path], Sequence[object]]:
            return lambda out: [str(word).replace("OUT", str(out)) for word in words]

        def both(*words: object) -> tuple[Callable[[Path], Sequence[object]], Callable[[Path], Sequence[object]]]:
            return again(*words), again(*words)

        size = ("--short-side", 64, "--shard-mb", 0.05)
        drawings = ("--clips", 3, "--val-clips", 1, "--test-clips", 1, "--size", "64x48", "--frames", 8)
        return {
            "prepare": both("prepare", self.films, "--out", "OUT/out", "--workers", 1, *size),
            "prepare cartoons": both("prepare", "cartoons", "--out", "OUT/out", "--workers", 1, *drawings),
            "encode": both("encode", "OUT/shards", "--model", self.model, "--stage", "48x32", "--device", "cpu"),
            "colorize": (again(*colorize, "--output", "OUT/out"), again(*colorize, "--output", "OUT/out", "--resume")),
            "train": both(*train, "run_dir=OUT/out"),
            "eval": both(*test, "out=OUT/out"),
            "export": both("export", self.run, "--out", "OUT/out"),
        }

    def prepare_folder(self, name: str, folder: Path) -> None:
        """Put what a command reads beside its output into a folder."""
        if name == "encode":
            shutil.copytree(self.shards, folder / "shards", dirs_exist_ok=True)


def state(name: str, folder: Path) -> dict[str, str]:
    """Return file -> digest of what a command has written, without what tells the time."""
    if name == "eval":
        rows = read(folder / "out" / "leaderboard.jsonl")
        found = {json.dumps([r.method, r.protocol, r.n, r.metrics, r.clips], sort_keys=True) for r in rows}
        return dict.fromkeys(found, "row")  # a kill after the row was written: the same command writes it once more
    below = folder / "out" / "model" if name == "train" else folder
    files = [f for f in sorted(below.rglob("*")) if f.is_file() and (name != "train" or f.suffix == ".safetensors")]
    left = [f.name for f in files if f.name.endswith(TORN)]
    return {str(f.relative_to(below)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files} | dict.fromkeys(
        left, "torn"
    )


# --- kills and signals ------------------------------------------------------------------------------------------------


def kills(scene: Scene) -> None:
    """SIGKILL at a random time of the run; then the same command again."""
    for name in ("prepare", "export") if scene.toy else scene.commands():
        tries = scene.count(36 if name == "colorize" else 12, 1)
        _disturb(scene, f"kill -9 of `lvcd {name}`", name, [signal.SIGKILL] * tries)


def signals(scene: Scene) -> None:
    """Ctrl-C and SIGTERM at a random time: the command stops without a traceback, and goes on."""
    for name in scene.some(("prepare", "encode", "colorize", "export")):
        ends = [signal.SIGINT, signal.SIGTERM] * scene.count(9, 1)
        _disturb(scene, f"SIGINT, SIGTERM to `lvcd {name}`", name, ends)


def _disturb(scene: Scene, fault: str, name: str, ends: Sequence[int]) -> None:
    first, again = scene.commands()[name]
    folder = scene.empty("whole")
    scene.prepare_folder(name, folder)
    seconds = must(attempt(command(*first(folder)))).seconds
    whole = state(name, folder)
    for end in ends:
        folder = scene.empty("try")
        scene.prepare_folder(name, folder)
        at = scene.random.uniform(0, seconds)
        stopped = attempt(command(*first(folder)), partial(_send, end), at)
        went_on = attempt(command(*again(folder)))
        begun = stopped.err or stopped.code != -end  # else it came before the command had set what handles signals
        quiet = end == signal.SIGKILL or not begun or (stopped.code in (0, 130) and "Traceback" not in stopped.err)
        found = state(name, folder) if not went_on.code else {}
        different = sorted(k for k in whole.keys() | found.keys() if whole.get(k) != found.get(k))
        why = f"{stopped.code} at {at:.2f} of {seconds:.2f} s {stopped.err if not quiet else ''}\n{went_on.code} "
        scene.table.add(fault, quiet and not different, f"{why}{went_on.err}\n{different[:5]}")


def _send(end: int, pid: int) -> None:
    os.kill(pid, end)


def appends(scene: Scene) -> None:
    """Processes append to one board at once, and some are killed: every row whose append returned is there."""
    board, processes = scene.empty("boards") / "leaderboard.jsonl", 8
    each, killed = scene.count(125, 4), scene.count(40, 2)

    def several(process: int) -> int:
        for number in range(each):
            append(board, row(name=f"{process}-{number}"))
        return 0

    def again_and_again() -> int:
        while True:
            append(board, row(name="killed"))

    children = []
    for process in range(processes):
        if not (pid := os.fork()):
            os._exit(several(process))
        children.append(pid)
    for _ in range(killed):
        attempt(again_and_again, partial(_send, signal.SIGKILL), scene.random.uniform(0, 0.1))
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    names = {row.name for row in read(board)}
    for process in range(processes):
        for number in range(each):
            name = f"{process}-{number}"
            fault = "a row appended while 7 processes append and others are killed"
            scene.table.add(fault, name in names and not codes[process], f"{name} is gone")


# --- damage -----------------------------------------------------------------------------------------------------------


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Return bytes with one fault: a flipped bit, noise, zeros, ones, a cut, a repeated or an inserted stretch."""
    changed, size = bytearray(data), len(data)
    at = draw.randrange(min(size, 400) if draw.random() < 0.4 else size)  # often in a header
    length = min(draw.choice([1, 2, 4, 8, 64, 1000]), size - at)
    kind = draw.randrange(7)
    if kind == 0:
        changed[at] ^= 1 << draw.randrange(8)
    elif kind == 1:
        changed[at : at + length] = draw.randbytes(length)
    elif kind in (2, 3):
        changed[at : at + length] = (b"\0" if kind == 2 else b"\xff") * length
    elif kind == 4:
        del changed[at:]
    elif kind == 5:
        changed[at:at] = changed[at : at + length]
    else:
        del changed[at : at + length]
    return bytes(changed)


JUNK: list[Any] = [
    None, True, False, 0, -1, 1, 3, 7, 2**31, 2**63, 10**30, -(2**70), 1e308, float("inf"), float("nan"), 0.5, "", "x",
    "../../x", "/etc/passwd", "a\nb\x1b[31m", "\ud800", "x" * 5000, [], [[]], {}, [1] * 100_000,
    {"_target_": "os.mkdir"}, ["os", "system"],
]  # fmt: skip
"""Values that no file of ours has."""


def with_wrong_value(content: Any, draw: random.Random) -> bytes:
    """Return a JSON text in which one value somewhere is gone, of another kind, or nested 5,000 deep."""
    content = json.loads(json.dumps(content))
    places: list[tuple[Any, Any]] = []

    def walk(part: Any) -> None:
        for key in part if isinstance(part, dict) else range(len(part)) if isinstance(part, list) else ():
            places.append((part, key))
            walk(part[key])

    walk(content)
    part, key = draw.choice(places)
    if draw.random() < 0.15:
        del part[key]
    elif draw.random() < 0.1:
        part[key] = "DEEP"
        return json.dumps(content).replace('"DEEP"', "[" * 5000 + "]" * 5000).encode()
    else:
        part[key] = draw.choice(JUNK)
    return json.dumps(content).encode()


def pictures(scene: Scene) -> None:
    """Images and movies, damaged, as sketches: read to their end, or refused."""
    folder = scene.empty("pictures")
    drawn = draw(5, 12, 48, 64)
    first = Image.fromarray(drawn.frames[0])
    rest = [Image.fromarray(frame) for frame in drawn.frames[1:4]]
    for ending in ("png", "jpg", "bmp", "tif", "webp", "tga", "ppm"):
        first.save(folder / f"a.{ending}")
    for ending in ("gif", "webp", "png", "tif"):
        first.save(folder / f"moving.{ending}", save_all=True, append_images=rest, duration=40)
    light = (drawn.frames[0] / 255).astype(np.float32)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {"RGB": light}).write(str(folder / "a.exr"))
    document = PSDImage.new("RGB", first.size)
    document.create_pixel_layer(first, name="Line")
    document.save(folder / "a.psd")
    for ending in ("mp4", "webm"):
        write_movie(folder / f"movie.{ending}", drawn.frames, 24)
    with av.open(str(folder / "movie.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=24)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for image in [*(av.VideoFrame.from_ndarray(x, format="rgb24") for x in drawn.frames), None]:
            container.mux(stream.encode(image))

    def look(path: Path) -> int:
        with open_frames(path) as frames:
            frames.contents()
            for image in frames:
                assert image.dtype == np.uint8 and image.shape[:2] == frames.size
        return 0

    originals = sorted(folder.iterdir())
    for file in originals:
        data = file.read_bytes()
        fault = "a damaged movie" if file.stem == "movie" else "a damaged image"
        for _ in range(scene.count(120 if file.stem == "movie" else 60, 1)):
            changed = scene.folder / f"changed{file.suffix}"
            changed.write_bytes(damaged(data, scene.random))
            done = attempt(partial(look, changed), limit={resource.RLIMIT_AS: 16 * 2**30})
            scene.table.add(fault, done.is_clean, f"{file.name} {done.code} {done.seconds:.0f} s {done.err}")
    for number in range(scene.count(60, 1)):  # as a film, through the whole command
        film = scene.empty("film") / "film.mp4"
        film.write_bytes(damaged((scene.films / "0.mp4").read_bytes(), scene.random))
        done = attempt(command("prepare", film, "--out", scene.empty("out") / "out", "--workers", 1))
        scene.table.add("a damaged film in `lvcd prepare`", done.is_clean, f"{number} {done.code} {done.err}")


def shards(scene: Scene) -> None:
    """Archives, manifests and boards, damaged or with wrong values."""
    folder, board = scene.folder / "damaged", scene.folder / "damaged" / "board.jsonl"
    tar, manifest = (scene.shards / name for name in ("shard-00000.tar", "manifest.json"))
    for _ in range(scene.count(200, 3)):
        shutil.copytree(scene.shards, scene.empty("damaged"), dirs_exist_ok=True)
        (folder / tar.name).write_bytes(damaged(tar.read_bytes(), scene.random))
        done = attempt(command("inspect", folder, "--clips", 3))
        scene.table.add("a damaged archive", done.is_clean, f"{done.code} {done.err}")
    for number in range(scene.count(200, 3)):
        shutil.copytree(scene.shards, scene.empty("damaged"), dirs_exist_ok=True)
        data = manifest.read_bytes()
        changed = damaged(data, scene.random) if number % 2 else with_wrong_value(json.loads(data), scene.random)
        (folder / manifest.name).write_bytes(changed)
        for words in (("inspect", folder, "--clips", 1),
                      ("encode", folder, "--model", scene.model, "--stage", "48x32", "--device", "cpu")):  # fmt: skip
            done = attempt(command(*words))
            scene.table.add(
                "a damaged manifest", done.is_clean, f"{words[0]} {done.code} {done.err}\n{changed[:300]!r}"
            )
    lines = scene.board.read_bytes().splitlines(keepends=True)
    for number in range(scene.count(200, 3)):
        scene.empty("damaged")
        which = scene.random.randrange(len(lines))
        line = damaged(lines[which], scene.random) if number % 2 else _signed(lines[which], scene.random)
        board.write_bytes(b"".join([*lines[:which], line, *lines[which + 1 :]]))
        html, sheet = ["html", "--out", folder / "a.html"], ["sheet", "method 1", "--out", folder / "a.png"]
        actions: list[list[object]] = [["show"], html, sheet]
        for action in actions:
            done = attempt(command("leaderboard", *action, "--file", board))
            scene.table.add("a damaged board", done.is_clean, f"{action[0]} {done.code} {done.err}\n{line[:300]!r}")


def _signed(line: bytes, draw: random.Random) -> bytes:
    """Return a row with a wrong value and the id that fits it, as a program that writes rows wrongly would."""
    from lvcd.leaderboard.row import digest

    content = json.loads(line)
    content.pop("id")
    try:
        changed = json.loads(with_wrong_value(content, draw))
        return json.dumps({"id": digest(changed), **changed}).encode() + b"\n"
    except (RecursionError, ValueError, TypeError):
        return with_wrong_value(json.loads(line), draw) + b"\n"


def models(scene: Scene) -> None:
    """Models and checkpoints: damaged weights are refused or are those that were written, whatever the rest says."""
    whole, folder = _weights(scene.model), scene.folder / "damaged"
    files = [file.relative_to(scene.model) for file in sorted(scene.model.rglob("*")) if file.is_file()]

    def load() -> int:
        for network in (load_pipeline(folder, "cpu"), None):
            if network is None:
                networks_from_folder(folder)
        return 0 if _weights(folder) == whole else 98

    for number in range(scene.count(300, 4)):
        shutil.copytree(scene.model, scene.empty("damaged"), dirs_exist_ok=True)
        kinds = (".safetensors",) if number % 3 == 0 else (".json",)
        file = folder / scene.random.choice([f for f in files if f.suffix in kinds])
        data = file.read_bytes()
        changed = data if number % 3 else damaged(data, scene.random)
        if number % 3 == 1:
            changed = damaged(data, scene.random)
        elif number % 3 == 2:
            changed = with_wrong_value(json.loads(data), scene.random)
        file.write_bytes(changed)
        done = attempt(load, limit={resource.RLIMIT_AS: 24 * 2**30})
        fault = "damaged weights of a model" if number % 3 == 0 else "a damaged model_index.json or config.json"
        scene.table.add(fault, done.is_clean, f"{file} {done.code} {done.seconds:.0f} s {done.err}")
    checkpoint = scene.run / "checkpoints" / "best.ckpt"
    exported = _weights(scene.model)

    def export(run: Path) -> int:
        code = main(["export", str(run), "--out", str(folder / "out"), "--checkpoint", str(folder / "a.ckpt")])
        return code or (0 if _weights(folder / "out") == exported else 98)

    for _ in range(scene.count(150, 2)):
        scene.empty("damaged")
        (folder / "a.ckpt").write_bytes(damaged(checkpoint.read_bytes(), scene.random))
        done = attempt(partial(export, scene.run))
        scene.table.add("a damaged checkpoint", done.is_clean, f"{done.code} {done.err}")


def _weights(folder: Path) -> dict[str, str]:
    """Return file -> digest of the values in a model's weights."""
    from safetensors.torch import load_file

    found = {}
    for file in sorted(folder.rglob("*.safetensors")):
        tensors = load_file(file)
        content = hashlib.sha256()
        for name in sorted(tensors):
            content.update(name.encode() + tensors[name].contiguous().view(torch.uint8).numpy().tobytes())
        found[str(file.relative_to(folder))] = content.hexdigest()
    return found


# --- hostile files ----------------------------------------------------------------------------------------------------


def hostile_archives(scene: Scene) -> None:
    """Tars that name files elsewhere, links, devices, sizes that are not there: nothing is written, nothing swells."""
    png = io.BytesIO()
    Image.new("RGB", (16, 16)).save(png, "png")
    names = ["../x", "/tmp/x", "a/../../x", "a.json/..", "a.json\n", "a\0b.json", "\u202ea.json", "x" * 300 + ".json",
             ".json", "a.frame000.png.sh", "a.py", "a.pkl", "a.pyd", "a.b.json", "a b.json", "~/a.json"]  # fmt: skip
    kinds = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE,
             tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"Z"]  # fmt: skip
    sizes = [2**33, 200 * 10**9, 2**60, 8**11 - 1]
    texts = [b"", b"[]", b"null", b"{}", b'{"frames": 1e400}', b'{"frames": NaN}', b'{"frames": -1}',
             b'{"frames": 999999999}', b'{"frames": "1"}', b"[" * 10_000, b'{"frames":' + b"9" * 5000 + b"}",
             b'{"frames": [1]}', b"\xff\xfe", b'{"frames": true, "fps": []}']  # fmt: skip
    made: list[Callable[[tarfile.TarFile], None]] = []
    made += [partial(_add, name=name, data=b"{}") for name in names]
    made += [partial(_add, name=f"a.{field}", data=b"{}", kind=kind) for kind in kinds for field in ("json",)]
    made += [partial(_add, name="a.json", data=b"{}", size=size) for size in sizes]
    made += [partial(_add, name="a.json", data=b"{}", pax={"size": str(size)}) for size in (10**12, -1, 10**30)]
    made += [partial(_add, name="a.json", data=b"{}", pax={k: v}) for k, v in
             (("path", "../../x"), ("GNU.sparse.size", "10000000000"), ("GNU.sparse.map", "0,1,2"))]  # fmt: skip
    made += [partial(_clip, png=png.getvalue(), text=text) for text in texts]
    made += [partial(_clip, png=data, text=b'{"frames": 1}') for data in (b"", b"x", png.getvalue()[:40], _bomb())]
    before = sorted(path.name for path in scene.folder.iterdir())
    for fill in made[:: 20 if scene.toy else 1]:
        folder = scene.empty("hostile")
        with tarfile.open(folder / "shard-00000.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            fill(tar)
        size = (folder / "shard-00000.tar").stat().st_size
        shard = {"name": "shard-00000.tar", "bytes": size, "clips": 1, "sha256": "0" * 64}
        (folder / "manifest.json").write_text(json.dumps({"format": PIXELS, "shards": [shard]}))
        for job in (command("inspect", folder, "--out", folder / "page"), partial(_train_on, folder)):
            done = attempt(job, limit={resource.RLIMIT_AS: 12 * 2**30})
            after = sorted(path.name for path in scene.folder.iterdir() if path.name != "hostile")
            same = after == [name for name in before if name != "hostile"] and not Path("/tmp/x").exists()
            scene.table.add("a hostile archive", done.is_clean and same, f"{fill} {done.code} {done.err}")


def _train_on(folder: Path) -> int:
    """Read a folder of shards as training does: what cannot be read is left out."""
    source = ShardSource(str(folder))
    manifest = source.manifest(RetryPolicy(retries=0))
    plan = EpochPlan(tuple(shard.clips for shard in manifest.shards), batch_size=1, buffer=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in ClipStream(source, manifest, plan, 16, 16, WindowSampling(window=1), encoded=False).consumer(0):
            pass
    return 0


def _add(tar: tarfile.TarFile, name: str, data: bytes, kind: bytes = tarfile.REGTYPE, size: int | None = None,
         pax: dict[str, str] | None = None) -> None:  # fmt: skip
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname, entry.size = kind, "/etc/passwd" if kind in b"12" else "", len(data)
    if pax:
        entry.pax_headers = pax
    if size is None:
        tar.addfile(entry, io.BytesIO(data))
        return
    entry.size = size
    assert tar.fileobj is not None
    tar.fileobj.write(entry.tobuf(tarfile.GNU_FORMAT) + data.ljust(512, b"\0"))


def _clip(tar: tarfile.TarFile, png: bytes, text: bytes) -> None:
    for name, data in (("a.json", text), ("a.frame000.png", png), ("a.sketch000.png", png)):
        _add(tar, name, data)


def _bomb() -> bytes:
    """Return a PNG of a few kB that claims 60,000 x 60,000 pixels."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


class _Runs:
    """Pickles as a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def pickles(scene: Scene) -> None:
    """Checkpoints that would run code when they are unpickled, wherever one is asked for: none runs."""
    mark = scene.folder / "was_run"
    make = f"open({str(mark)!r}, 'w')"
    payloads = [
        _Runs(os.system, f"touch {mark}"), _Runs(eval, make), _Runs(exec, make), _Runs(os.mkdir, str(mark)),
        _Runs(subprocess.check_call, ["touch", str(mark)]), _Runs(open, str(mark), "w"),
        _Runs(shutil.copy, "/etc/hostname", str(mark)), _Runs(getattr, _Runs(__import__, "os"), "system"),
        _Runs(torch.load, io.BytesIO(pickle.dumps(_Runs(os.mkdir, str(mark)))), None, None),
    ]  # fmt: skip
    path = scene.empty("pickles") / "evil.ckpt"

    def zipped(payload: Any) -> None:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", pickle.dumps({"state_dict": {"a": payload}}))
            archive.writestr("archive/version", "3")

    def plain(payload: Any) -> None:
        path.write_bytes(pickle.dumps({"state_dict": payload}))

    def beside(payload: Any) -> None:
        torch.save({"state_dict": {"a": torch.ones(2)}, "hyper_parameters": payload}, path)

    uses = [
        ("export", scene.run, "--out", scene.folder / "pickles" / "out", "--checkpoint", path),
        ("convert", "--svd", path, "--out", scene.folder / "pickles" / "out"),
        ("convert", "--svd", scene.model, "--lvcd", path, "--out", scene.folder / "pickles" / "out"),
        ("train", *TINY, f"run_dir={scene.folder / 'pickles' / 'run'}", f"resume={path}"),
        ("train", *TINY, f"run_dir={scene.folder / 'pickles' / 'run'}", f"init_from={path}"),
    ]
    for payload in scene.some(payloads):
        for form in scene.some((zipped, plain, beside)):
            try:
                form(payload)
            except (TypeError, AttributeError, pickle.PicklingError):
                continue
            for words in scene.some(uses, 2):
                done = attempt(command(*words))
                scene.table.add("a pickle that would run", done.is_clean and done.code == 2 and not mark.exists(),
                                f"{words[0]} {form.__name__} {done.code} {done.err}")  # fmt: skip


def foreign_code(scene: Scene) -> None:
    """Models and runs that name other code, or bring some: it never runs."""
    mark = scene.folder / "was_run"
    code = f"open({str(mark)!r}, 'w')\nclass ColorUNet: ...\n"
    folder = scene.folder / "damaged"
    index = json.loads((scene.model / "model_index.json").read_text())
    changes: list[tuple[dict[str, Any], list[str]]] = [
        ({"unet": ["x", "ColorUNet"]}, ["x.py", "unet/x.py"]),
        ({"unet": ["unet.x", "ColorUNet"]}, ["unet/x.py"]),
        ({"unet": ["None", "ColorUNet"]}, ["None.py"]),
        ({}, ["None.py"]),
        ({}, ["unet/unet.py"]),
        ({}, ["pipeline.py"]),
        ({"_class_name": ["pipeline", "Evil"]}, ["pipeline.py"]),
        ({"_class_name": "Evil"}, []),
        ({"vae": ["os", "system"]}, []),
        ({"vae": ["subprocess", "Popen"]}, []),
        ({"unet": ["lvcd.cli", "main"]}, []),
        ({"image_encoder": ["transformers", "AutoModel"]}, []),
        ({"safety_checker": ["x", "Evil"]}, ["x.py"]),
        ({"custom_pipeline": "x"}, ["x.py"]),
    ]
    for change, files in scene.some(changes, 3):
        shutil.copytree(scene.model, scene.empty("damaged"), dirs_exist_ok=True)
        (folder / "model_index.json").write_text(json.dumps(index | change))
        for file in files:
            (folder / file).write_text(code)
        done = attempt(lambda: load_pipeline(folder, "cpu") and networks_from_folder(folder) and 0)
        refused = done.is_clean and done.code == 2 and not mark.exists()
        scene.table.add("a model that names or brings other code", refused, f"{change} {files} {done.code} {done.err}")
    auto = {"auto_map": {"AutoModel": "x.Evil", "AutoConfig": "x.Evil"}}
    for component in scene.some(("unet", "vae", "controlnet", "image_encoder")):
        for change in (auto, {"_class_name": "Evil"}, {"architectures": ["x.Evil"]}, {"_attn_implementation": "a/b"}):
            shutil.copytree(scene.model, scene.empty("damaged"), dirs_exist_ok=True)
            config = folder / component / "config.json"
            config.write_text(json.dumps(json.loads(config.read_text()) | change))
            done = attempt(lambda: (load_pipeline(folder, "cpu"), 0)[1])
            scene.table.add("a model that names or brings other code", done.is_clean and not mark.exists(), done.err)
    run = scene.folder / "damaged_run"
    targets = (
        "os.mkdir",
        "os.system",
        "subprocess.Popen",
        "lvcd.io.disk.os.mkdir",
        "builtins.eval",
        "hydra.utils.call",
    )
    for target in scene.some(targets):
        for place in ("module", "networks"):
            shutil.copytree(scene.run, scene.empty("damaged_run"), dirs_exist_ok=True)
            yaml = run / ".hydra" / "config.yaml"
            settings = json.loads(yaml.read_text())
            evil = {"_target_": target, "_args_": [str(mark)]}
            settings["module"] = evil if place == "module" else settings["module"] | {"networks": evil}
            yaml.write_text(json.dumps(settings))
            done = attempt(command("export", run, "--out", scene.folder / "evil_out"))
            refused = done.is_clean and done.code == 2 and not mark.exists()
            scene.table.add("a run whose configuration names other code", refused, f"{target} {done.code} {done.err}")


# --- disks and places -------------------------------------------------------------------------------------------------


def disks(scene: Scene) -> None:
    """A disk without room, without inodes or read-only: one line; with room, the same command then ends well."""
    if attempt(partial(_mount, scene.empty("disk"), "size=100k")).code:
        print("disks: mounting is not allowed here: left out", file=sys.stderr)
        return
    for name, (first, again) in scene.some(scene.commands().items()):
        whole = scene.empty("whole")
        scene.prepare_folder(name, whole)
        must(attempt(command(*first(whole))))
        size = sum(file.stat().st_size for file in whole.rglob("*") if file.is_file())
        files = sum(1 for _ in whole.rglob("*"))
        expected = state(name, whole)
        given = sum(1 for _ in scene.shards.rglob("*")) + 3 if name == "encode" else 2
        room = size if name != "encode" else size
        for share in (0.02, 0.3, 0.6, 0.9) if not scene.toy else (0.5,):
            start = sum(f.stat().st_size for f in scene.shards.iterdir()) if name == "encode" else 0
            kilobytes = int((start * 1.05 + (room - start) * share) / 1000) + 16
            done = attempt(partial(_on_disk, scene, name, first, again, f"size={kilobytes}k", "size=1g", expected))
            scene.table.add(
                "a full disk", done.code == 0 and "Traceback" not in done.err, f"{name} {done.code} {done.err}"
            )
        for inodes in {given + 2, given + max(1, files // 2)}:
            done = attempt(
                partial(_on_disk, scene, name, first, again, f"nr_inodes={inodes}", "nr_inodes=100000", expected)
            )
            scene.table.add(
                "a disk without inodes", done.code == 0 and "Traceback" not in done.err, f"{name} {done.err}"
            )
        done = attempt(partial(_on_disk, scene, name, first, again, "ro", "rw", expected))
        scene.table.add("a read-only disk", done.code == 0 and "Traceback" not in done.err, f"{name} {done.err}")


def _mount(where: Path, options: str) -> int:
    """Mount an empty file system for this process alone => 0; 1: it is not allowed."""
    if ctypes.CDLL(None).unshare(0x20000):
        return 1
    for words in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(where)]):
        if subprocess.run(words, capture_output=True).returncode:
            return 1
    return 0


def _on_disk(scene: Scene, name: str, first: Any, again: Any, short: str, enough: str, expected: dict[str, str]) -> int:
    where = scene.folder / "disk"
    assert not _mount(where, "size=1g" if short == "ro" else short)
    scene.prepare_folder(name, where)
    if short == "ro":
        subprocess.run(["mount", "-o", "remount,ro", str(where)], check=True)
    with tempfile.TemporaryFile("w+") as err:
        kept = os.dup(2)
        os.dup2(err.fileno(), 2)
        code = command(*first(where))()
        os.dup2(kept, 2)
        err.seek(0)
        told = err.read()
    subprocess.run(["mount", "-o", f"remount,{enough}", str(where)], check=True)
    lines = [line for line in told.replace("\r", "\n").splitlines() if line.startswith("lvcd")]
    if code not in (0, 2) or "Traceback" in told or (code == 2 and len(lines) != 1):
        print(f"first run: {code} {told}", file=sys.stderr)
        return 97
    if second := command(*again(where))():
        print(f"first run: {code} {told}", file=sys.stderr)
        return second
    return 0 if state(name, where) == expected else 96


def places(scene: Scene) -> None:
    """Names that are too long or no names, stdout that is full, folders of the kernel, torn checkpoints."""
    out = scene.empty("places")
    colorize = ["colorize", "--sketches", scene.sketches, "--reference", scene.reference, "--output", out / "out",
                "--model", scene.model, "--device", "cpu", "--steps", 1]  # fmt: skip
    commands: dict[str, list[object]] = {
        "colorize": colorize,
        "inspect": ["inspect", scene.shards, "--out", out / "out"],
        "export": ["export", scene.run, "--out", out / "out", "--checkpoint", scene.run / "checkpoints" / "best.ckpt"],
        "convert": ["convert", "--svd", scene.model, "--lvcd", scene.reference, "--out", out / "out"],
        "prepare": ["prepare", scene.films, "--out", out / "out", "--sketches", scene.films, "--extractor", "given"],
        "prepare cartoons": ["prepare", "cartoons", "--clips", 1, "--out", out / "out"],
        "encode": ["encode", scene.shards, "--model", scene.model, "--stage", "48x32"],
        "leaderboard show": ["leaderboard", "show", "--file", scene.board],
        "leaderboard html": ["leaderboard", "html", "--file", scene.board, "--out", out / "page.html"],
        "leaderboard sheet": ["leaderboard", "sheet", "method 1", "--file", scene.board, "--out", out / "page.png"],
        "leaderboard add": ["leaderboard", "add", "--name", "x", "--protocol", "smoke", "--frames", scene.sketches,
                            "--file", scene.board],
        "compare": ["compare", "method 1", "method 2", "--file", scene.board],
    }  # fmt: skip
    names = ["x" * 300, "x" * 5000, "/".join(["y" * 200] * 30), "/proc/self/mem", "/proc/1/x", "/dev/null/x",
             "/dev/full", "", "\udcff", "a\nb"]  # fmt: skip
    for name, words in scene.some(commands.items(), 2):
        at = [i for i, word in enumerate(words) if isinstance(word, Path)]
        for index in at:
            for bad in scene.some(names):
                changed = [*words[:index], bad, *words[index + 1 :]]
                done = attempt(command(*changed))
                scene.table.add(
                    "a name that cannot be",
                    done.is_clean,
                    f"{name} {words[index - 1]} {bad[:20]!r} {done.code} {done.err}",
                )
    for setting in scene.some(("run_dir", "resume", "init_from", "data.shards", "module.networks.folder")):
        for bad in scene.some(names):
            words = ["train", *TINY, f"run_dir={out / 'run'}", "trainer.max_steps=1"]
            words = [word for word in words if not str(word).startswith(f"{setting}=")]
            quoted = bad.replace("\\", "\\\\").replace("'", "\\'")
            done = attempt(command(*words, f"{setting}='{quoted}'"))
            scene.table.add(
                "a name that cannot be",
                done.is_clean,
                f"train {setting} {bad[:20]!r} {done.code} {done.err}",
            )
    for name in scene.some(("leaderboard show", "leaderboard html", "leaderboard sheet", "inspect", "compare")):
        done = attempt(partial(_into_full, commands[name]))
        scene.table.add("stdout on a full disk", done.is_clean and done.code == 2, f"{name} {done.code} {done.err}")
    checkpoint = scene.folder / "whole_run"
    words = ["train", *TINY, "trainer.max_steps=1", "trainer.val_check_interval=1"]
    must(attempt(command(*words, f"run_dir={checkpoint}")))
    data = (checkpoint / "checkpoints" / "last.ckpt").read_bytes()
    for _ in range(scene.count(20, 1)):
        torn = out / "torn.ckpt"
        torn.write_bytes(data[: scene.random.randrange(len(data))])
        for setting in ("resume", "init_from"):
            done = attempt(command(*words, f"run_dir={out / 'run'}", f"{setting}={torn}"))
            scene.table.add(
                "a torn checkpoint to train from", done.is_clean and done.code == 2, f"{setting} {done.code} {done.err}"
            )


def _into_full(words: Sequence[object]) -> int:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
    return main([str(word) for word in words])


# --- inputs that change -----------------------------------------------------------------------------------------------


def replaced(scene: Scene) -> None:
    """An input is replaced while it is read: that is noticed, or the output is that of one of the two."""
    sketches = {"0": draw(3, 26, 32, 48), "1": draw(8, 26, 32, 48)}
    for name in scene.some(("colorize", "prepare")):
        words, _ = scene.commands()[name]
        inputs = scene.sketches if name == "colorize" else scene.films
        files = sorted(inputs.iterdir())
        for index, file in enumerate(files):  # the other version of each
            other = scene.folder / f"other{index}{file.suffix}"
            if name == "colorize":
                lines = sketches["1"].lines[int(file.stem)]
                write_png(other, np.repeat((255 - lines)[..., None], 3, -1))
            else:
                must(attempt(partial(_other_film, other, index)))
        must(attempt(command(*words(whole := scene.empty("whole")))))
        seconds = attempt(command(*words(scene.empty("again")))).seconds
        before = state(name, whole)
        for _ in range(scene.count(30, 1)):
            index = scene.random.randrange(len(files))
            kept = files[index].read_bytes()
            out = scene.empty("try")

            other = scene.folder / f"other{index}{files[index].suffix}"
            swap = partial(_swap, other, scene.folder / "new", files[index])
            done = attempt(command(*words(out)), swap, scene.random.uniform(0, seconds))
            found = state(name, out) if not done.code else {}
            if found and found != before:  # it was replaced before anything was read
                must(attempt(command(*words(other_out := scene.empty("whole2")))))
                ok = found == state(name, other_out)
            else:
                ok = done.is_clean
            files[index].write_bytes(kept)
            scene.table.add(f"an input of `lvcd {name}` replaced while it is read", ok, f"{done.code} {done.err}")


def _swap(other: Path, new: Path, file: Path, pid: int) -> None:
    shutil.copy(other, new)
    os.replace(new, file)


def _other_film(path: Path, number: int) -> int:
    write_movie(path, draw(20 + number, 40, 96, 144).frames, 24)
    return 0


FAULTS: tuple[Callable[[Scene], None], ...] = (
    kills, signals, appends, pictures, shards, models, hostile_archives, pickles, foreign_code, disks, places, replaced,
)  # fmt: skip


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toy", action="store_true", help="a few of each, to try the script")
    parser.add_argument("--only", default="", help="functions here whose name has one of these words, A,B,C")
    parser.add_argument("--share", type=float, default=1.0, help="of the tries, where there is little time")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    chosen = [faults for word in given.only.split(",") for faults in FAULTS if word in faults.__name__]
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene(Path(folder), given.toy, given.seed, given.share)
        try:
            for faults in chosen:
                start = time.monotonic()
                faults(scene)
                print(f"{faults.__name__}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        except KeyboardInterrupt:
            print("stopped: this is what was tried so far", file=sys.stderr)
    print(scene.table)
