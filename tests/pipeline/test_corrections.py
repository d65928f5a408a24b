"""Corrections and scribbles of a finished output: what they reach is painted again, all else keeps its bytes."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.io.output import ResumableOutput
from lvcd.io.reader import open_frames
from lvcd.palettes.palette_files import Palette, encode_json
from lvcd.pipeline import RenderCancelled, RenderSettings, render_clip

HEIGHT, WIDTH, FRAMES = 32, 48, 14
FLAT = RenderSettings(steps=1, overlap=2, flat=True)
PLAIN = RenderSettings(steps=1, overlap=2)


@pytest.fixture(scope="module")
def drawn():
    return draw(3, FRAMES, HEIGHT, WIDTH, times=range(0, 2 * FRAMES, 2))  # drawings are held for two frames


@pytest.fixture(scope="module")
def painted(drawn, model_folder, tmp_path_factory):
    """Drawings A0001 .. A0014; the first and the tenth in color, the fifth and the seventh in wrong colors; and folders
    of frames that were painted of them, with flats and without."""
    where = tmp_path_factory.mktemp("painted")
    (where / "drawings").mkdir()
    for number, lines in enumerate(drawn.lines, 1):
        write_png(where / "drawings" / f"A{number:04d}.png", np.repeat((255 - lines)[..., None], 3, -1))
    for number in (1, 10):
        write_png(where / f"key{number}.png", drawn.frames[number - 1])
    write_png(where / "fixed5.png", np.ascontiguousarray(drawn.frames[4][..., ::-1]))
    write_png(where / "fixed7.png", 255 - drawn.frames[6])
    for settings in (PLAIN, FLAT):
        colorize(where, model_folder, settings, out=f"flat {settings.flat}")
    return where


def colorize(where: Path, model: Path, settings: RenderSettings, out: str, **more):
    keys = {1: where / "key1.png", 10: where / "key10.png"}
    return render_clip(where / "drawings", None, where / out, model, settings=settings, device="cpu", keys=keys, **more)


@pytest.fixture
def shot(painted, tmp_path):
    return Path(shutil.copytree(painted, tmp_path / "shot"))


@pytest.fixture
def render(shot, model_folder):
    def call(settings=FLAT, out="out", **more):
        if more or settings not in (PLAIN, FLAT) or out == "out.mkv":
            return colorize(shot, model_folder, settings, out, **more)
        shutil.copytree(shot / f"flat {settings.flat}", shot / out)
        shutil.copy(shot / f".flat {settings.flat}.lvcd.json", shot / f".{out}.lvcd.json")
        return None

    return call


def hashes(folder: Path) -> dict[str, str]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def changed(before: dict[str, str], after: dict[str, str]) -> set[int]:
    """Numbers of the drawings of which some file changed."""
    assert before.keys() == after.keys()
    names = [name for name in before if before[name] != after[name] and not name.endswith("reference.json")]
    return {int(re.search(r"A(\d{4})", name)[1]) for name in names}


def frame(shot: Path, number: int, out: str = "out") -> np.ndarray:
    return read_image(shot / out / f"A{number:04d}.png")


def log_of(shot: Path) -> list[dict]:
    return [json.loads(line) for line in (shot / "out.corrections.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("settings", [PLAIN, FLAT])
def test_what_a_correction_reaches_is_painted_again_and_all_else_keeps_its_bytes(render, shot, settings):
    render(settings)
    before = hashes(shot / "out")
    progress = []
    result = render(settings, corrections={5: shot / "fixed5.png"}, on_progress=progress.append)
    assert result.painted_again == progress[-1].frames == progress[-1].total_frames == 5 and result.frames == FRAMES
    after = hashes(shot / "out")
    assert {5, 6} <= changed(before, after) <= {5, 6, 7, 8, 9}  # 10 is a key
    assert np.array_equal(frame(shot, 5), read_image(shot / "fixed5.png"))
    log = log_of(shot)
    assert [(line["frame"], line["drawing"], line["given"]) for line in log] == [
        (f"A{number:04d}", number, number == 5) for number in range(5, 10)
    ]
    sha256 = hashlib.sha256((shot / "fixed5.png").read_bytes()).hexdigest()
    assert all(line["from"] == {"correction": 5} and line["sha256"] == sha256 and line["date"] for line in log)
    assert [line["segment"] for line in log] == [None, 0, 0, 0, 0]
    assert not (shot / "out.partial").exists()


def test_two_corrections_and_a_correction_of_a_correction(render, shot):
    render()
    render(corrections={5: shot / "fixed5.png"})
    first = hashes(shot / "out")
    assert render(corrections={5: shot / "fixed5.png"}).already_finished and hashes(shot / "out") == first
    assert render(corrections={7: shot / "fixed7.png"}).painted_again == 3
    second = hashes(shot / "out")
    assert 7 in changed(first, second) <= {7, 8, 9}
    assert np.array_equal(frame(shot, 5), read_image(shot / "fixed5.png"))
    write_png(shot / "fixed5.png", 255 - read_image(shot / "fixed5.png"))
    assert render(corrections={5: shot / "fixed5.png"}).painted_again == 2  # up to the correction of 7
    assert 5 in changed(second, hashes(shot / "out")) <= {5, 6}
    assert np.array_equal(frame(shot, 5), read_image(shot / "fixed5.png"))
    assert [line["drawing"] for line in log_of(shot)] == [5, 6, 7, 8, 9, 7, 8, 9, 5, 6]


def test_several_at_once(render, shot):
    render()
    before = hashes(shot / "out")
    assert render(corrections={7: shot / "fixed7.png", 5: shot / "fixed5.png"}).painted_again == 5
    assert {5, 7} <= changed(before, hashes(shot / "out")) <= {5, 6, 7, 8, 9}
    for number in (5, 7):
        assert np.array_equal(frame(shot, number), read_image(shot / f"fixed{number}.png"))
    assert [line["from"]["correction"] for line in log_of(shot)] == [5, 5, 7, 7, 7]


def test_a_frame_that_was_retouched_in_place(render, shot):
    render()
    retouched = 255 - frame(shot, 12)
    write_png(shot / "out" / "A0012.png", retouched)
    assert render(corrections={12: shot / "out" / "A0012.png"}).painted_again == 3
    assert np.array_equal(frame(shot, 12), retouched)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [PLAIN, FLAT])
def test_interrupted_the_same_command_goes_on(render, shot, settings):
    for out in ("out", "once"):
        render(settings, out=out)
    given = {"corrections": {2: shot / "fixed5.png", 11: shot / "fixed7.png"}}
    before, last = hashes(shot / "out"), []
    for most in (2, 3):  # steps: in the first stretch, and in the second
        with pytest.raises(RenderCancelled):
            render(settings, **given, on_progress=last.append, is_cancelled=lambda most=most: last[-1].steps >= most)
        assert hashes(shot / "out") == before and not (shot / "out.corrections.jsonl").exists()
    assert render(settings, **given).painted_again == 12
    render(settings, out="once", **given)
    assert hashes(shot / "out") == hashes(shot / "once")


def test_stopped_at_the_very_end(render, shot, monkeypatch):
    render()
    given = {"corrections": {5: shot / "fixed5.png"}}
    monkeypatch.setattr(ResumableOutput, "_finish_folder", lambda self: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        render(**given)
    monkeypatch.undo()
    render(**given)
    assert np.array_equal(frame(shot, 5), read_image(shot / "fixed5.png"))
    assert len(log_of(shot)) == 5 and render(**given).already_finished


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "tiff", "psd"])
def test_layers(render, shot, kind):
    settings = RenderSettings(steps=1, overlap=2, flat=True, layers=True, format=kind)
    render(settings)
    before = hashes(shot / "out")
    render(settings, corrections={5: shot / "fixed5.png"})
    assert {5} <= changed(before, hashes(shot / "out")) <= {5, 6, 7, 8, 9}
    between = hashes(shot / "out")
    render(settings, corrections={7: shot / "fixed7.png"})  # 5 is read from its layers
    assert {7} <= changed(between, hashes(shot / "out")) <= {7, 8, 9}


def test_index_maps_of_a_palette(render, shot):
    colors = np.unique(np.concatenate([read_image(shot / "key1.png"), read_image(shot / "fixed5.png")]).reshape(-1, 3),
                       axis=0)[::7][:200]  # fmt: skip
    (shot / "colors.json").write_bytes(encode_json(Palette(colors, tuple(f"c{n}" for n in range(len(colors))))))
    render(palette=shot / "colors.json")
    before = hashes(shot / "out")
    assert any(name.startswith("flats/index/") for name in before)
    render(palette=shot / "colors.json", corrections={5: shot / "fixed5.png"})
    after = hashes(shot / "out")
    assert {5} <= changed(before, after) <= {5, 6, 7, 8, 9}
    assert before["flats/index/A0005.png"] != after["flats/index/A0005.png"]
    shown = {tuple(color) for color in frame(shot, 5).reshape(-1, 3).tolist()}
    assert len(shown & set(map(tuple, colors.tolist()))) > 2


def test_a_lossless_movie_keeps_its_other_frames(render, shot):
    render(out="out.mkv")
    with open_frames(shot / "out.mkv") as movie:
        before = list(movie)
    render(out="out.mkv", corrections={4: shot / "fixed5.png"})  # files' numbers, 4 is the fourth drawing
    with open_frames(shot / "out.mkv") as movie:
        after = list(movie)
    same = [np.array_equal(*pair) for pair in zip(before, after, strict=True)]
    assert same[:3] == [True] * 3 and same[9:] == [True] * 5 and not same[3]
    assert np.array_equal(after[3], read_image(shot / "fixed5.png"))


# ------------------------------------------------------------------------------------------------------------ scribbles


def test_a_scribble_sets_its_region_exactly_and_travels_on(render, shot, drawn):
    render()
    before, old = hashes(shot / "out"), frame(shot, 4)
    paper = (drawn.lines[3] == 0).astype(np.uint8)
    y, x = np.unravel_index(cv2.distanceTransform(paper, cv2.DIST_L2, 5).argmax(), paper.shape)
    strokes = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    strokes[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3] = (1, 2, 250, 255)
    write_png(shot / "strokes.png", strokes)
    assert render(scribbles={4: shot / "strokes.png"}).painted_again == 6
    assert {4, 5} <= changed(before, hashes(shot / "out")) <= {4, 5, 6, 7, 8, 9}
    region = cv2.connectedComponents(paper, connectivity=4)[1]
    assert (frame(shot, 4)[region == region[y, x]] == (1, 2, 250)).all()
    other = (region > 0) & (region != region[y, x])
    assert np.array_equal(frame(shot, 4)[other], old[other])
    assert (frame(shot, 5) == (1, 2, 250)).all(-1).sum() > 30  # in the next drawing, too
    assert {tuple(line["from"].items()) for line in log_of(shot)} == {(("scribble", 4),)}
    assert render(scribbles={4: shot / "strokes.png"}).already_finished


# ------------------------------------------------------------------------------------------------------------ bad input


def opaque(path: Path) -> None:
    write_png(path, np.full((HEIGHT, WIDTH, 3), 200, np.uint8))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--correct", "99=fixed5.png"], "99.*no drawing"),
        (["--correct", "5=fixed5.png", "--correct", "5=fixed7.png"], "several corrections"),
        (["--correct", "5=fixed5.png", "--scribble", "5=clear.png"], "correction and a scribble"),
        (["--correct", "5=wide.png"], "aspect"),
        (["--correct", "5=nothing.png"], "nothing.png"),
        (["--correct", "five=fixed5.png"], "N=FILE"),
        (["--correct", "5=fixed5.png", "--overwrite"], "overwrite"),
        (["--correct", "5=fixed5.png", "--seed", "1"], "seed was 0 and is 1"),
        (["--correct", "5=fixed5.png", "--key", "3=key1.png"], "keys.3"),
        (["--correct", "5=fixed5.png", "--output", "new"], "no finished output"),
        (["--correct", "5=fixed5.png", "--output", "film.mp4"], "movie"),
        (["--scribble", "5=opaque.png"], "no transparency"),
        (["--scribble", "5=wide.png"], "aspect"),
        (["--scribble", "5=clear.png"], "changes nothing"),
    ],
)
def test_corrections_that_cannot_be_used_are_one_line(
    render, shot, model_folder, monkeypatch, capsys, arguments, message
):
    render()
    opaque(shot / "opaque.png")
    write_png(shot / "clear.png", np.zeros((HEIGHT, WIDTH, 4), np.uint8))
    write_png(shot / "wide.png", np.zeros((HEIGHT, 2 * WIDTH, 4), np.uint8))
    before = hashes(shot / "out")
    monkeypatch.chdir(shot)
    words = "colorize --sketches drawings --output out --key 1=key1.png --key 10=key10.png --steps 1 --overlap 2 --flat"
    try:
        code = main([*words.split(), "--device", "cpu", "--model", str(model_folder), *arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err.strip().splitlines()
    assert code == 2 and len(said) == 1 and re.search(message, said[0]), said
    assert hashes(shot / "out") == before and not (shot / "new").exists()


def test_a_scribble_without_flat_says_what_it_needs(render, shot):
    with pytest.raises(InputError, match="--flat"):
        render(PLAIN, scribbles={5: shot / "fixed5.png"})


def test_changed_inputs_are_refused_and_nothing_is_lost(render, shot):
    render()
    before = hashes(shot / "out")
    drawing = shot / "drawings" / "A0012.png"
    write_png(drawing, np.ascontiguousarray(read_image(drawing)[:, ::-1]))
    with pytest.raises(InputError, match="sketches changed"):
        render(corrections={5: shot / "fixed5.png"})
    assert hashes(shot / "out") == before and not (shot / "out.partial").exists()
