"""`lvcd leaderboard add`: frames of any program enter the board, or one line says why not."""

from __future__ import annotations

import numpy as np
import pytest

from lvcd.cli import main
from lvcd.evaluation import evaluate
from lvcd.evaluation.methods import CopyReference
from lvcd.io.images import write_png
from lvcd.io.movies import write_movie
from lvcd.leaderboard import read
from lvcd.metrics import PSNR, Suite
from lvcd.pipeline.image_forms import array
from tests.helpers.evaluation import cartoons
from tests.helpers.paths import TEST_STYLE
from tests.helpers.wandb_file import finished_records, history

WORDS = ["protocol.frames=2", f"protocol.shards={TEST_STYLE}"]
TESTS = cartoons(frames=2)


def painted(clip) -> list[np.ndarray]:
    return [array(frame) for frame in CopyReference().paint(clip.reference, clip.reference_sketch, clip.sketches, 0)]


@pytest.fixture
def frames(tmp_path):
    """As another program writes them: folders of PNG, and one movie."""
    folder = tmp_path / "theirs"
    for clip in list(TESTS)[:3]:
        (folder / clip.key).mkdir(parents=True)
        for number, frame in enumerate(painted(clip)):
            write_png(folder / clip.key / f"{number:03d}.png", frame)
    write_movie(folder / f"{TESTS.keys[3]}.mp4", painted(TESTS[3]), 12)
    return folder


def add(folder, tmp_path, *words) -> int:
    command = ["leaderboard", "add", "--name", "theirs", "--protocol", "smoke", "--frames", folder, "--file"]
    try:
        return main([str(word) for word in (*command, tmp_path / "board" / "b.jsonl", *WORDS, *words)])
    except SystemExit as stop:
        return stop.code


@pytest.mark.slow
def test_frames_are_scored_as_a_method_is(frames, tmp_path):
    assert add(frames, tmp_path) == 0
    (row,) = read(tmp_path / "board" / "b.jsonl")
    assert row.name == "theirs" and row.n == 4 and row.protocol["name"] == "smoke"
    (warning,) = row.warnings
    assert "not checked for leaks" in warning
    assert row.cost == {"seconds_per_frame": None, "memory_GiB": None, "device": None}
    copied = evaluate(CopyReference(), TESTS, Suite([PSNR()]), tmp_path / "ours")
    for method, told in list(zip(copied.clips, row.clips))[:3]:
        assert told["scores"]["PSNR"] == method["scores"]["PSNR"]
        assert (tmp_path / "board" / told["media"]).is_file()
    assert row.clips[3]["scores"]["PSNR"] == pytest.approx(copied.clips[3]["scores"]["PSNR"], abs=1)  # H.264


def test_a_fault_is_one_line_in_a_process_that_composed_a_run_before(frames, tmp_path, capsys):
    """Hydra keeps the last configuration that it showed, one without an output folder."""
    assert main(["eval", "--cfg", "hydra", "model=mini"]) == 0
    capsys.readouterr()
    assert add(tmp_path / "nowhere", tmp_path) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "is no folder" in line


@pytest.mark.slow
def test_the_board_goes_to_wandb_where_that_is_asked_for(frames, tmp_path, keyless):
    assert add(frames, tmp_path, "protocol.clips=1", "wandb=true") == 0
    (row,) = read(tmp_path / "board" / "b.jsonl")
    [file] = (tmp_path / "board").glob("wandb/offline-run-*/*.wandb")
    [logged] = history(finished_records(file))
    assert f"leaderboard/smoke {row.protocol_key}" in logged


@pytest.mark.parametrize(
    "wrong", ["missing", "many", "few", "size", "torn", "folder", "protocol", "setting", "painter", "word"]
)
def test_what_cannot_be_scored_is_one_line(wrong, frames, tmp_path, capsys):
    key, words = TESTS.keys[0], []
    first = frames / key / "000.png"
    if wrong == "missing":
        (frames / key).rename(frames / "elsewhere")
        told = f"has nothing for clip {key}"
    elif wrong == "many":
        write_png(frames / key / "002.png", painted(TESTS[0])[0])
        told = f"has 3 frames, and clip {key} wants 2"
    elif wrong == "few":
        first.unlink()
        told = f"has 1 frames, and clip {key} wants 2"
    elif wrong == "size":
        for file in (frames / key).iterdir():
            write_png(file, painted(TESTS[0])[0][::2])
        told = f"is 128 x 36 pixels, and clip {key} 128 x 72 pixels"
    elif wrong == "torn":
        first.write_bytes(first.read_bytes()[:300])
        told = "000.png"
    elif wrong == "folder":
        frames, told = tmp_path / "nowhere", "is no folder"
    elif wrong == "protocol":
        words, told = ["protocol.data=00"], "is not the test set of smoke"
    elif wrong == "painter":
        words, told = ["steps=3"], "steps=3 changes nothing once frames are painted"
    elif wrong == "word":
        words, told = ["smoke"], "smoke"
    else:
        words, told = ["protocol.clip=3"], "did you mean protocol.clips"
    code = add(frames, tmp_path, *words)
    lines = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(lines) == 1 and told in lines[0]
    assert not (tmp_path / "board" / "b.jsonl").exists()
