"""A sheet of a row's clips: which they are, and that every picture on it is the frame it should be."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from lvcd.cli import main
from lvcd.io.movies import write_movie
from lvcd.leaderboard import append
from lvcd.report.sheets import GAP_PX, LABEL_HEIGHT_PX
from tests.helpers.rows import protocol, row

HEIGHT, WIDTH, FRAMES = 32, 160, 7
PSNR = (20.0, 50.0, 40.0, 10.0, 30.0)
TC = (1.3, 0.5, 1.6, 1.1, 0.8)  # from 1: 0.3, 0.5, 0.6, 0.1, 0.2; the median of five is clip 0


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Five clips; frame t of clip i is all grey: painted 40 i + 5 t, original that and 3 more, line art 250 - 8 t."""
    folder = tmp_path_factory.mktemp("board")

    def movie(name, greys):
        write_movie(folder / name, [np.full((HEIGHT, WIDTH, 3), grey, np.uint8) for grey in greys], 6)

    for name in ("source", "one"):
        (folder / name).mkdir()
    for i in range(len(PSNR)):
        Image.new("RGB", (WIDTH, HEIGHT), (255 - i, 0, 0)).save(folder / "source" / f"clip-{i}.reference.png")
        movie(f"source/clip-{i}.sketch.webm", [250 - 8 * t for t in range(FRAMES)])
        movie(f"source/clip-{i}.original.webm", [40 * i + 5 * t + 3 for t in range(FRAMES)])
        movie(f"one/clip-{i}.webm", [40 * i + 5 * t for t in range(FRAMES)])
    made = row("one", PSNR, TC, source_media="source")
    for clip in made.clips:
        clip["media"] = f"one/{clip['key']}.webm"
    append(folder / "leaderboard.jsonl", row("one", PSNR, TC, time="2024-01-01T00:00:00+00:00"))  # older, no media
    append(folder / "leaderboard.jsonl", made)
    append(folder / "leaderboard.jsonl", row("bare", PSNR, TC))
    append(folder / "leaderboard.jsonl", row("unscored", clips=[]))
    return folder / "leaderboard.jsonl"


def sheet(board, out, *words):
    return main(["leaderboard", "sheet", *words, "--file", str(board), "--out", str(out)])


def frames(picture):
    """=> (clips, 3 rows, columns, 3): the middle of every place on the sheet."""
    pixels = np.asarray(Image.open(picture).convert("RGB")).astype(int)
    block = GAP_PX + 3 * (LABEL_HEIGHT_PX + HEIGHT + GAP_PX)
    tops = [GAP_PX + y * (LABEL_HEIGHT_PX + HEIGHT + GAP_PX) + LABEL_HEIGHT_PX + HEIGHT // 2 for y in range(3)]
    lefts = range(GAP_PX + WIDTH // 2, pixels.shape[1], WIDTH + GAP_PX)
    return np.array([[[pixels[b + y, x] for x in lefts] for y in tops] for b in range(0, len(pixels), block)])


@pytest.mark.parametrize("column", [None, "PSNR", "TC"])
def test_best_median_and_worst(board, tmp_path, capsys, column):
    out = tmp_path / "new" / "sheet.png"
    assert sheet(board, out, "one", *(["--by", column] if column else [])) == 0
    ranked = [3, 0, 2] if column == "TC" else [1, 4, 3]
    told = capsys.readouterr().out
    assert re.findall(r"(best|median|worst) of 5 by (?:PSNR|TC): \S+, clip-(\d)", told) == [
        (place, str(i)) for place, i in zip(("best", "median", "worst"), ranked)
    ]
    shown = frames(out)
    assert shown.shape == (3, 3, 5, 3)
    times = np.array([0, 2, 4, 6])
    for clip, i in zip(shown, ranked):
        assert np.abs(clip[0, 0] - (255 - i, 0, 0)).max() <= 6
        assert (clip[1:, 0] == 255).all()  # nothing below the reference
        for line, grey in zip(clip[:, 1:], (250 - 8 * times, 40 * i + 5 * times, 40 * i + 5 * times + 3)):
            assert np.abs(line - grey[:, None]).max() <= 6  # a movie and a palette lose a little


def test_few_clips(board, tmp_path, capsys):
    few = board.parent / "few.jsonl"
    for count in (1, 2):
        made = row(f"n{count}", PSNR[:count], TC[:count], source_media="source")
        for clip in made.clips:
            clip["media"] = f"one/{clip['key']}.webm"
        append(few, made)
        assert sheet(few, tmp_path / "few.png", f"n{count}") == 0
        assert len(frames(tmp_path / "few.png")) == count
        assert re.findall(r"(\w+) of \d", capsys.readouterr().out) == [["best"], ["best", "worst"]][count - 1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["none"], "bare, one, unscored"),
        (["one", "--by", "LPIPS"], "PSNR, TC"),
        (["bare"], "no clips"),
        (["unscored"], "no scores"),
        (["one", "--out", "sheet.jpg"], ".png"),
        (["one", "--protocol", "other"], "other"),
    ],
)
def test_what_cannot_be_drawn(board, tmp_path, capsys, words, says):
    asked = words if "--out" in words else [*words, "--out", str(tmp_path / "sheet.png")]
    assert main(["leaderboard", "sheet", *asked, "--file", str(board)]) == 2
    told = capsys.readouterr().err
    assert says in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_lost_and_foreign_files(board, tmp_path, capsys):
    for name, changes, says in (
        ("lost", {"source_media": "elsewhere"}, "clip-1.reference.png"),
        ("foreign", {"source_media": "source"}, "below"),
    ):
        made = row(name, PSNR, TC, **changes)
        for clip in made.clips:
            clip["media"] = "leaderboard.jsonl"
        append(board.parent / "lost.jsonl", made)
        assert sheet(board.parent / "lost.jsonl", tmp_path / "sheet.png", name) == 2
        told = capsys.readouterr().err
        assert says in told and told.count("\n") == 1
        assert not list(tmp_path.iterdir())


def test_a_name_in_several_protocols_must_be_told_apart(board, tmp_path, capsys):
    file = board.parent / "several.jsonl"
    for name in ("smoke", "strict"):
        made = row("one", PSNR, TC, source_media="source", protocol=protocol(name))
        for clip in made.clips:
            clip["media"] = f"one/{clip['key']}.webm"
        append(file, made)
    assert sheet(file, tmp_path / "sheet.png", "one") == 2
    assert "--protocol" in capsys.readouterr().err
    assert sheet(file, tmp_path / "sheet.png", "one", "--protocol", "strict") == 0
    assert sheet(file, tmp_path / "id.png", made.id) == 0
    assert (tmp_path / "id.png").read_bytes() == (tmp_path / "sheet.png").read_bytes()
