"""The wheel, installed in an environment and an empty folder of its own: every command runs, without a network."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest

from lvcd.data.cartoons import draw
from lvcd.io.images import write_png
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

SMALL = ["data.height=32", "data.width=48", "data.workers=0", "trainer.limit_val_batches=1", "trainer.max_steps=2",
         "trainer.val_check_interval=2", "callbacks.scores=null"]  # fmt: skip
CLIP = ["protocol.clips=1", "protocol.frames=2", "protocol.height=32", "protocol.width=48", "protocol.leaks=0"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the checkout, where a build leaves nothing behind."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for folder in ("src", "conf", "data/cartoons"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for file in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("setuptools") else []
    pip("wheel", str(source), "--no-deps", *isolation, "--wheel-dir", str(out))
    (built,) = out.glob("lvcd-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory) -> Path:
    """The Python of an environment that has the wheel, and of this one all but its own lvcd."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder)
    python = next(path for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe") if path.exists())
    pip("--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    (site,) = folder.rglob("site-packages")
    packages = [path for path in sys.path if Path(path).name == "site-packages"]
    (site / "these.pth").write_text("\n".join(packages))  # whose own .pth files, as of an editable lvcd, count not
    return python


def pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def lvcd(python, tmp_path_factory):
    """lvcd("plan", ...): that command in an empty folder => what it printed."""
    folder = tmp_path_factory.mktemp("empty")
    proxy = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "WANDB_API_KEY", "HF_HUB_OFFLINE")}

    def run(*words: object) -> str:
        done = subprocess.run(
            [str(python.with_name("lvcd")), *map(str, words)], cwd=folder, timeout=600, capture_output=True, text=True,
            env={**environment, **proxy, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, f"lvcd {' '.join(map(str, words))}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="module")
def film(lvcd) -> Path:
    """Color and line art of 16 frames, as folders of images, in the empty folder."""
    clip = draw(3, 16, 32, 48)
    for kind in ("film", "sketches"):
        (lvcd.folder / kind).mkdir()
    for i, (frame, lines) in enumerate(zip(clip.frames, clip.lines)):
        write_png(lvcd.folder / "film" / f"{i:03d}.png", frame)
        write_png(lvcd.folder / "sketches" / f"{i:03d}.png", np.repeat((255 - lines)[..., None], 3, -1))
    return lvcd.folder


def test_it_is_the_wheel_that_runs(python, tmp_path):
    code = "import lvcd, lvcd.conf, lvcd.toy_shards; print(lvcd.__file__, lvcd.conf.__file__, lvcd.toy_shards.__file__)"
    done = subprocess.run([str(python), "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(Path(file).is_relative_to(python.parents[1]) for file in done.stdout.split())


def test_help(lvcd):
    assert "colorize" in lvcd("--help") and "mini_cpu" in lvcd("train", "--help") and "smoke" in lvcd("eval", "--help")
    assert lvcd("--version").startswith("lvcd ")


def test_colorize(lvcd, film):
    lvcd("colorize", "--sketches", "sketches", "--reference", "film/000.png", "--output", "painted", "--steps", 1)
    assert len(list((film / "painted").glob("*.png"))) == 16


def test_train_and_eval(lvcd, film):
    lvcd("train", "experiment=mini_cpu", *SMALL)
    model = film / "outputs" / "mini_80p" / "model"
    assert (model / "model_index.json").is_file()
    lvcd("eval", "model=mini", *CLIP)
    lvcd("eval", f"model={model.relative_to(film)}", "name=trained", *CLIP)
    row = json.loads((film / "outputs" / "eval" / "leaderboard.jsonl").read_text().splitlines()[0])
    elsewhere = film / "elsewhere" / row["clips"][0]["key"]
    elsewhere.mkdir(parents=True)
    for i in range(2):
        write_png(elsewhere / f"{i:03d}.png", np.full((32, 48, 3), 128, np.uint8))
    lvcd("leaderboard", "add", "--name", "gray", "--protocol", "smoke", "--frames", "elsewhere", *CLIP[:4])
    table = lvcd("leaderboard", "show")
    assert all(name in table for name in ("ours", "trained", "gray"))


def test_plan(lvcd):
    assert "576x320" in lvcd("plan", "experiment=lvcd_320p")


def test_prepare_and_inspect(lvcd, film):
    lvcd("prepare", "film", "--out", "shards", "--workers", 1)
    size = ["--size", "48x32", "--frames", 16, "--styles", "shapes", "--workers", 1]
    lvcd("prepare", "cartoons", "--clips", 1, "--val-clips", 0, "--test-clips", 1, *size, "--out", "cartoons")
    for folder in ("shards", "cartoons/train"):
        assert (film / folder / "manifest.json").is_file()
        lvcd("inspect", folder, "--out", f"{folder}-page")
        assert (film / f"{folder}-page" / "index.html").is_file()
