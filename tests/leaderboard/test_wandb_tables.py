"""The board in W&B's own files, where nothing leaves the machine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcd.cli import main
from lvcd.io.movies import write_movie
from lvcd.leaderboard import append, cited
from tests.helpers.rows import row
from tests.helpers.wandb_file import finished_records, history


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """=> the folder of the offline run, the rows that were told"""
    folder = tmp_path_factory.mktemp("board")
    for what in ("media/clip-0.webm", "source/clip-0.original.webm", "source/clip-0.sketch.webm"):
        (folder / what).parent.mkdir(exist_ok=True)
        write_movie(folder / what, [np.zeros((32, 32, 3), np.uint8)] * 2, 6)
    Image.new("RGB", (32, 32)).save(folder / "source" / "clip-0.reference.png")
    rows = [row("a", source_media="source", warnings=["ignores its reference"]), row("b", (30.0, 31.0, 32.0, 33.0))]
    rows[0].clips[0]["media"] = "media/clip-0.webm"
    for each in rows:
        append(folder / "leaderboard.jsonl", each)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR"):
            patch.setenv(name, "")  # so that what is set below is forgotten
            patch.delenv(name)
        patch.setenv("NETRC", str(folder / "none"))
        assert main(["leaderboard", "wandb", "--file", str(folder / "leaderboard.jsonl")]) == 0
    [offline] = folder.glob("wandb/offline-run-*")
    return offline, rows


def tables(offline):
    [file] = offline.glob("*.wandb")
    [logged] = history(finished_records(file))
    return {
        name: json.loads((offline / "files" / value["path"]).read_text())
        for name, value in logged.items()
        if isinstance(value, dict) and value.get("_type") == "table-file"
    }


def test_a_table_for_each_protocol(run):
    offline, (a, b) = run
    found = tables(offline)
    name = f"leaderboard/smoke {a.protocol_key}"
    published = {f"published/{each.protocol['name']} {each.protocol_key}" for each in cited()}
    assert set(found) == {name, f"{name} clips"} | published
    shown = [dict(zip(found[name]["columns"], line)) for line in found[name]["data"]]
    assert [line["method"] for line in shown] == ["b", "a"]  # the better one first
    assert shown[1] == {
        "method": "a", "row": a.id, "clips": 4, "warnings": "ignores its reference", "s / frame": 0.5, "source": None,
        "PSNR": 11.5, "PSNR low": 10.0, "PSNR high": 13.0,
        "TC": pytest.approx(a.metrics["TC"]["value"]), "TC low": 1.25, "TC high": 2.0,
    }  # fmt: skip


def test_clips_have_scores_and_what_was_painted(run):
    """A table with media is an artifact of the run: its files are named in the run's file, and sent with it."""
    offline, (a, _) = run
    [file] = offline.glob("*.wandb")
    artifacts = [r.artifact for r in finished_records(file) if r.WhichOneof("record_type") == "artifact"]
    contents = {c.path: Path(c.local_path) for artifact in artifacts for c in artifact.manifest.contents}
    table = json.loads(contents[f"leaderboard/smoke {a.protocol_key} clips.table.json"].read_text())
    shown = [dict(zip(table["columns"], line)) for line in table["data"]]
    assert len(shown) == 8
    first = next(line for line in shown if (line["clip"], line["method"]) == ("clip-0", "a"))
    assert (first["PSNR"], first["TC"]) == (10.0, 1.5)
    board = offline.parents[1]
    files = {
        "painted": "media/clip-0.webm",
        "original": "source/clip-0.original.webm",
        "line art": "source/clip-0.sketch.webm",
        "reference": "source/clip-0.reference.png",
    }
    for column, name in files.items():
        assert contents[first[column]["path"]].read_bytes() == (board / name).read_bytes()
    other = next(line for line in shown if (line["clip"], line["method"]) == ("clip-1", "b"))
    assert (other["PSNR"], other["TC"], other["painted"]) == (31.0, None, None)
    assert all(path.is_relative_to(board) for path in contents.values())  # nothing waits in the home folder
