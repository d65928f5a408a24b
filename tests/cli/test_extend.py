"""docs/extend.md: every file of the page, written to a folder, and every command of it, run there at toy size."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.io.movies import write_movie
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "extend.md").read_text()
SECTIONS = [s for s in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:] if "```" in s]
BLOCK = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```', re.MULTILINE | re.DOTALL)
TOY = {
    "train": ["data.height=32", "data.width=48", "trainer.max_steps=2", "trainer.val_check_interval=2",
              "trainer.limit_val_batches=1", "callbacks.scores=null", "callbacks.samples=null",
              "trainer.log_every_n_steps=1"],
    "prepare": ["--workers", "1"],
    "eval": ["protocol.clips=1", "protocol.frames=2", "protocol.height=32", "protocol.width=48", "protocol.leaks=0"],
}  # fmt: skip
MAX_LINES = 30


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A folder with all files of the page, in which commands are started."""
    for _, name, text in BLOCK.findall(PAGE):
        if name:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
    (tmp_path / "films").mkdir()
    write_movie(tmp_path / "films" / "walk.mp4", draw(0, 20, 48, 64).frames, 12)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    return tmp_path


@pytest.mark.parametrize("section", SECTIONS, ids=[s.splitlines()[0] for s in SECTIONS])
def test_what_the_page_says_runs(section, project, capfd):
    ran = []
    for language, name, text in BLOCK.findall(section):
        if language == "bash":
            for line in text.splitlines():
                program, command, *words = shlex.split(line)
                assert program == "lvcd" and main([command, *words, *TOY.get(command, [])]) == 0, capfd.readouterr().err
                ran.append(command)
        elif name == "paint.py":
            runpy.run_path(name)
            assert capfd.readouterr().out.splitlines()[-1] == "SoftLines"
    assert ran
    if "metrics=hue" in section:
        assert "MeanColorError" in (project / "outputs" / "eval" / "leaderboard.jsonl").read_text()
    if "--extractor" in section:
        assert json.loads((project / "shards" / "manifest.json").read_text())["job"]["extractor"]["name"] == "canny"
    if "experiment=ink" in section:
        assert "data/ink" in (project / "outputs" / "ink_80p" / "csv" / "version_0" / "metrics.csv").read_text()


def test_every_file_is_short():
    files = {name: len(text.splitlines()) for _, name, text in BLOCK.findall(PAGE) if name}
    assert len(files) >= 13 and max(files.values()) < MAX_LINES, files
