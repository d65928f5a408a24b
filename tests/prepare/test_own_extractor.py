"""A sketch extractor of one's own, in a file outside the package, named on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from lvcd.cli import main
from lvcd.io.movies import write_movie
from lvcd.shards.members import read_shard

# the file: under 30 lines, and it imports nothing of lvcd
OWN = '''
import cv2


class CannyLines:
    """Black Canny edges on white."""

    def __init__(self, device="cpu", weights=None):
        self.low, self.high = 50, 150
        self.settings = {"name": "canny", "low": self.low, "high": self.high}

    def __call__(self, first, frames):
        return [255 - cv2.Canny(frame, self.low, self.high) for frame in frames]
'''

_MAKE, _CALL = "    def __init__(self, device): pass\n", "    def __call__(self, first, frames): pass\n"
BROKEN = {
    "no_name": "class Lines:\n    settings = {}\n" + _MAKE + _CALL,
    "no_call": "class Lines:\n    settings = {'name': 'x'}\n" + _MAKE,
    "no_device": "class Lines:\n    settings = {'name': 'x'}\n" + _CALL,
    "no_json": "class Lines:\n    settings = {'name': 'x', 'y': {1, 2}}\n" + _MAKE + _CALL,
    "no_module": "import nothing_of_that_name",
    "no_python": "class",
}

WRONG = {
    "few": "return []",
    "color": "return list(frames)",
    "float": "return [frame[..., 0] / 255 for frame in frames]",
    "none": "return [None for _ in frames]",
}


def frames(count, seed=0):
    ground = np.random.default_rng(seed).integers(0, 200, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    for index in range(count):
        frame = ground.copy()
        frame[16:32, 4 * index % 48 :][:, :16] = (243, 38, 38)
        yield frame


@pytest.fixture
def films(tmp_path, monkeypatch):
    """Two movies, with one's own file in the current folder."""
    (tmp_path / "films").mkdir()
    for number in range(2):
        write_movie(tmp_path / "films" / f"{number}.mp4", frames(20, number), 24)
    (tmp_path / "own_lines.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "films"
    for name in ("own_lines", *BROKEN, *WRONG):
        sys.modules.pop(name, None)
    if str(tmp_path) in sys.path:
        sys.path.remove(str(tmp_path))


def prepare(*words):
    command = [sys.executable, "-P", "-m", "lvcd.cli", "prepare", *map(str, words)]  # -P: as an installed command
    return subprocess.run(command, capture_output=True, text=True)


def files(folder):
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def refused(capsys, *words):
    capsys.readouterr()
    assert main(["prepare", "--workers", "1", *map(str, words)]) == 2
    line = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()[-1]
    assert line.startswith("lvcd prepare: ") and "extractor" in line
    return line


@pytest.mark.slow
def test_it_draws_in_workers_and_is_part_of_the_job(films, tmp_path, capsys):
    assert len(OWN.splitlines()) < 30
    done = prepare(films, "--out", tmp_path / "out", "--extractor", "own_lines:CannyLines", "--workers", 2)
    assert done.returncode == 0, done.stderr
    assert main(["prepare", str(films), "--out", "alone", "--extractor", "own_lines.CannyLines", "--workers", "1"]) == 0
    assert files(tmp_path / "alone") == files(tmp_path / "out")
    extractor = json.loads((tmp_path / "out" / "manifest.json").read_text())["job"]["extractor"]
    assert extractor.pop("code_sha256")
    assert extractor == {"name": "canny", "low": 50, "high": 150, "target": "own_lines.CannyLines"}
    clips = list(read_shard(tmp_path / "out" / "shard-00000.tar"))
    assert {clip["json"]["sketches"] for clip in clips} == {"canny"}
    assert all(0 < (sketch < 128).mean() < 0.5 for clip in clips for sketch in clip["sketches"])

    assert main(["prepare", str(films), "--out", "out"]) == 2
    assert "other extractor" in capsys.readouterr().err
    (tmp_path / "own_lines.py").write_text(OWN.replace("50, 150", "60, 150"))
    other = prepare(films, "--out", tmp_path / "out", "--extractor", "own_lines:CannyLines")
    assert other.returncode == 2 and "other extractor" in other.stderr


@pytest.mark.slow
def test_it_draws_on_ray(films, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    words = ("--extractor", "own_lines:CannyLines", "--workers", 2)
    done = prepare(films, "--out", tmp_path / "far", *words, "--executor", "ray")
    assert done.returncode == 0, done.stderr
    assert prepare(films, "--out", tmp_path / "near", *words).returncode == 0
    assert files(tmp_path / "far") == files(tmp_path / "near")


@pytest.mark.parametrize(
    "name", ["pencil", "a:b:c", "../x:Y", "own_lines:", "own_lines:Pencil", "nowhere:Lines", "os.path"]
)
def test_names_of_nothing(films, capsys, name):
    assert name in refused(capsys, films, "--out", "out", "--extractor", name)


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_extractor(films, tmp_path, capsys, name):
    (tmp_path / f"{name}.py").write_text(BROKEN[name])
    assert f"{name}:Lines" in refused(capsys, films, "--out", "out", "--extractor", f"{name}:Lines")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", WRONG)
def test_what_draws_something_else(films, tmp_path, capsys, name):
    code = OWN.replace("return [255 - cv2.Canny(frame, self.low, self.high) for frame in frames]", WRONG[name])
    (tmp_path / f"{name}.py").write_text(code)
    assert f"{name}:CannyLines" in refused(capsys, films, "--out", "out", "--extractor", f"{name}:CannyLines")


def test_a_manifest_chooses_no_code(films, tmp_path):
    """What a folder says of its extractor is compared and never imported."""
    assert main(["prepare", str(films), "--out", "out", "--workers", "1"]) == 0
    (tmp_path / "evil.py").write_text("open('ran', 'w').close()")
    manifest = tmp_path / "out" / "manifest.json"
    record = json.loads(manifest.read_text())
    record["job"]["extractor"] = {"name": "evil", "target": "evil.Lines"}
    manifest.write_text(json.dumps(record))
    assert prepare(films, "--out", tmp_path / "out").returncode == 2
    assert not (tmp_path / "ran").exists()
