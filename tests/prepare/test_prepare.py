"""`lvcd prepare`, with real films and real processes."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import webdataset as wds

from lvcd.cli import main
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.shards.members import read_shard
from tests.helpers.paths import ROOT
from tests.helpers.processes import wait_until

GROUNDS = (64, 115, 166, 218)


def frames(*lengths, first=0):
    """Shots of a square that walks, each over another ground; a length of less than 0 is a shot that stands still."""
    for number, length in enumerate(lengths, first):
        for index in range(abs(length)):
            frame = np.full((48, 64, 3), GROUNDS[number % 4], np.uint8)
            x = 4 * index % 48 if length > 0 else 8
            frame[16:32, x : x + 16] = (243, 38, 38)
            yield frame


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Two movies: shots of 18, 5 (short), 40 and 16 (still) frames; shots of 20 and 15."""
    folder = tmp_path_factory.mktemp("films")
    write_movie(folder / "one.mp4", frames(18, 5, 40, -16), 24)
    write_movie(folder / "two.mp4", frames(20, 15, first=1), 12)
    return folder


SPANS = {"one.mp4": [[0, 18], [23, 43], [43, 63]], "two.mp4": [[0, 20], [20, 35]]}
SMALL = ("--longest", 30, "--shard-mb", 0.05)  # about two clips a shard


def run(*words):
    """In this process; tests/prepare/test_engines.py has several."""
    return main(["prepare", "--workers", "1", *map(str, words)])


def files(folder):
    return {f.name: f.read_bytes() for f in sorted(folder.iterdir()) if f.name != ".lock"}


def refused(capsys, *words):
    """The one line that `lvcd prepare` ends with, at exit code 2."""
    capsys.readouterr()
    assert run(*words) == 2
    return capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    out = tmp_path_factory.mktemp("whole")
    assert run(films, "--out", out, *SMALL) == 0
    return out


@pytest.fixture
def made(whole, tmp_path):
    """Shards of the two films, to look at or to spoil."""
    return shutil.copytree(whole, tmp_path / "made")


def test_a_movie_becomes_shards(films, made, capsys):
    manifest = json.loads((made / "manifest.json").read_text())
    assert {source["name"]: film["clips"] for source, film in zip(manifest["job"]["films"], manifest["films"])} == SPANS
    assert manifest["films"][0]["dropped"] == {"short": [[18, 23]], "still": [[63, 79]]}
    assert manifest["counts"] == {
        "films": 2,
        "left_out": 0,
        "lost": {"films": 0, "frames": 0},
        "kept": {"clips": 5, "frames": 93},
        "dropped": {"short": {"clips": 1, "frames": 5}, "still": {"clips": 1, "frames": 16}},
    }
    assert len(manifest["shards"]) > 1
    assert [shard["name"] for shard in manifest["shards"]] == sorted(f.name for f in made.glob("*.tar"))
    assert manifest["job"]["extractor"]["name"] == "xdog"
    assert str(films) not in json.dumps(manifest)

    lost = []
    clips = [clip for shard in manifest["shards"] for clip in read_shard(made / shard["name"], lost.append)]
    assert lost == []
    assert [[c["json"]["start"], c["json"]["start"] + len(c["frames"])] for c in clips] == sum(SPANS.values(), [])
    first = clips[0]
    assert first["frames"][0].shape == (48, 64, 3)
    assert np.abs(first["frames"][3].astype(int) - list(frames(18))[3]).mean() < 6  # the loss of coding
    assert first["sketches"][3][24, 11:14].min() < 128  # the left edge of the square
    assert (first["sketches"][3][4] == 255).all()


def test_the_stock_loader_gives_each_clip_once(made):
    last = len(list(made.glob("*.tar"))) - 1
    data = wds.WebDataset(f"{made}/shard-{{00000..{last:05d}}}.tar", shardshuffle=False).decode("rgb8")
    keys = [sample["__key__"] for sample in data]
    assert len(keys) == len(set(keys)) == 5


def test_again_is_nothing_to_do_and_elsewhere_the_same_bytes(films, made, tmp_path):
    before = files(made)
    assert run(films, "--out", made, *SMALL) == 0
    assert files(made) == before
    assert run(films, "--out", tmp_path / "again", *SMALL) == 0
    assert files(tmp_path / "again") == before


class Stop(BaseException):
    pass


@pytest.mark.parametrize("before", [False, True])
def test_stopped_at_every_step_it_ends_with_the_same_bytes(films, made, tmp_path, monkeypatch, before):
    """Files appear by renaming. Run number n dies just before or after its n-th."""
    count, runs, replace = 0, 0, os.replace

    def dying(source, target):
        nonlocal count
        count += 1
        if before and count == runs:
            raise Stop
        replace(source, target)
        if count == runs:
            raise Stop

    monkeypatch.setattr(os, "replace", dying)
    while runs < 50:
        count, runs = 0, runs + 1
        try:
            assert run(films, "--out", tmp_path / "stopped", *SMALL) == 0
            break
        except Stop:
            pass
    assert runs > 5
    assert files(tmp_path / "stopped") == files(made)


@pytest.mark.slow
def test_killed_and_started_again(tmp_path):
    write_movie(tmp_path / "long.mp4", frames(*[16] * 10), 24)
    words = ["prepare", str(tmp_path / "long.mp4"), *map(str, SMALL), "--out"]
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.processes", "shard-00002.tar", *words, out],
        cwd=ROOT,
        stderr=subprocess.DEVNULL,
    )
    wait_until((out / "shard-00001.tar").exists, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "manifest.json").exists()
    recorded = [shard["name"] for shard in json.loads((out / ".prepare.json").read_text())["shards"]]
    times = {name: (out / name).stat().st_mtime_ns for name in recorded}
    assert recorded

    assert main([*words, str(out)]) == 0
    assert {name: (out / name).stat().st_mtime_ns for name in recorded} == times  # not written again
    assert main([*words, str(tmp_path / "whole")]) == 0
    assert files(out) == files(tmp_path / "whole")


def test_a_full_disk_and_ctrl_c(films, made, tmp_path, monkeypatch, capsys):
    replace, errors = os.replace, [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()]

    def failing(source, target):
        if str(target).endswith("shard-00001.tar") and errors:
            raise errors.pop(0)
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    words = (films, "--out", tmp_path / "out", *SMALL)
    assert "free some space" in refused(capsys, *words)
    assert run(*words) == 130
    assert "goes on" in capsys.readouterr().err
    assert run(*words) == 0
    assert files(tmp_path / "out") == files(made)


def test_a_damaged_shard_is_written_again(films, made):
    before = files(made)
    (made / "shard-00001.tar").write_bytes(b"no more")
    assert run(films, "--out", made, *SMALL) == 0
    assert files(made) == before


def test_two_at_once(films, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another run is writing" in refused(capsys, films, "--out", out)
    assert run(films / "two.mp4", "--out", out) == 0


def test_other_settings_do_not_mix(films, made, capsys):
    before = files(made)
    assert "settings" in refused(capsys, films, "--out", made, "--longest", "50")
    assert "films" in refused(capsys, films / "one.mp4", "--out", made, *SMALL)
    assert files(made) == before


def test_images_own_line_art_and_a_smaller_size(tmp_path):
    for folder in ("films", "lines"):
        (tmp_path / folder / "walk").mkdir(parents=True)
    for index, frame in enumerate(frames(16)):
        lines = np.full((48, 64, 3), 255, np.uint8)
        lines[4 * (index % 12)] = 0
        write_png(tmp_path / "films" / "walk" / f"{index}.png", frame)
        write_png(tmp_path / "lines" / "walk" / f"{index}.png", lines)
    words = ("--extractor", "given", "--sketches", tmp_path / "lines", "--short-side", 24)
    assert run(tmp_path / "films", "--out", tmp_path / "out", *words) == 0
    (clip,) = read_shard(tmp_path / "out" / "shard-00000.tar")
    assert clip["json"]["sketches"] == "given"
    assert clip["frames"][0].shape == (24, 32, 3)
    for index, drawing in enumerate(clip["sketches"]):
        assert drawing.mean(1).argmin() == 2 * (index % 12)


def test_nothing_to_make_shards_of(films, tmp_path, capsys):
    out = tmp_path / "out"
    (tmp_path / "empty.mp4").touch()
    assert "is empty" in refused(capsys, tmp_path / "empty.mp4", "--out", out)
    assert "short" in refused(capsys, films / "two.mp4", "--out", out, "--shortest", "100")
    assert run(films / "two.mp4", "--out", out) == 0  # what came to nothing is not in the way
    assert "none.mp4" in refused(capsys, tmp_path / "none.mp4", "--out", out)
    (tmp_path / "folder").mkdir()
    assert "has no films" in refused(capsys, tmp_path / "folder", "--out", out)


def test_bad_settings(films, tmp_path, capsys):
    out = ("--out", tmp_path / "out")
    assert "sketches" in refused(capsys, films, *out, "--extractor", "given")
    assert "no line art" in refused(capsys, films, *out, "--extractor", "given", "--sketches", tmp_path)
    assert "no weights" in refused(
        capsys, films, *out, "--extractor", "given", "--sketches", films, "--weights", films / "one.mp4"
    )
    assert "weights" in refused(capsys, films, *out, "--extractor", "anime2sketch")
    assert "choose" in refused(capsys, films, *out, "--device", "tpu")
    assert "choose" in refused(capsys, films, *out, "--workers", "0")
    assert "choose" in refused(capsys, films, *out, "--cut", "nan")
    assert "choose" in refused(capsys, films, *out, "--shortest", "1")
    assert "choose" in refused(capsys, films, *out, "--shard-mb", "0")
    assert "choose" in refused(capsys, films, *out, "--shard-mb", "nan")
    assert "choose" in refused(capsys, films, *out, "--short-side", "2")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written(films, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert "cannot write" in refused(capsys, films, "--out", tmp_path / "file")
    assert "cannot write" in refused(capsys, films, "--out", tmp_path / "file" / "out")


def test_a_folder_of_others(films, tmp_path, capsys):
    (tmp_path / "shard-00000.tar").touch()
    assert "no manifest" in refused(capsys, films, "--out", tmp_path)
