"""`lvcd review`: what is planted in flat frames is found, counted, shown and becomes an exit code."""

from __future__ import annotations

import csv
import shutil

import cv2
import numpy as np
import pytest
import torch

from lvcd.cli import main
from lvcd.flats import PaintBucket
from lvcd.flats.region_table import region_table
from lvcd.io.images import read_image, write_png
from lvcd.io.output import ResumableOutput
from lvcd.palettes.palette_files import Palette, write_palette
from lvcd.pipeline import FlatFiller
from lvcd.pipeline.flat_records import write_colors, write_records
from tests.helpers.browser import Browser, needs_browser

SKY, BALL, BOX = (150, 200, 240), (220, 60, 50), (60, 160, 80)
FRAMES = 4


def drawn(step: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball that moves and a box => key, uint8 (60 96 3), and lines (60 96) in [0, 1]."""
    key, lines = np.full((60, 96, 3), SKY, np.uint8), np.zeros((60, 96), np.uint8)
    cv2.circle(key, (24 + step, 30), 14, BALL, -1)
    cv2.rectangle(key, (60, 12), (84, 50), BOX, -1)
    cv2.circle(lines, (24 + step, 30), 14, 1, 2)
    cv2.rectangle(lines, (60, 12), (84, 50), 1, 2)
    key[lines > 0] = 0
    return key, lines.astype(np.float32)


def paint(folder, palette: Palette | None = None):
    """Fill a shot as `lvcd colorize --flat` does, with the right colors in place of a model's."""

    def tensor(key):
        return torch.from_numpy(key).movedim(-1, 0) / 255

    key, lines = drawn(0)
    fill = FlatFiller(tensor(key), torch.from_numpy(lines)[None], palette=None if palette is None else palette.colors)
    with ResumableOutput(folder, {}, FRAMES, 12) as out:
        write_colors(out, fill.bucket, palette)
        for number in range(FRAMES):
            key, lines = drawn(number)
            frame = fill(torch.from_numpy(lines)[None], tensor(key))
            out.write(number, (frame * 255).round().byte().movedim(0, -1).numpy())
            write_records(out, number, fill.bucket, palette, own=False)
        return out.finish()


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return paint(tmp_path_factory.mktemp("review") / "cels")


@pytest.fixture
def cels(sound, tmp_path):
    return shutil.copytree(sound, tmp_path / "cels")


def review(*words) -> int:
    return main(["review", *map(str, words)])


def table(folder) -> list[dict[str, str]]:
    with (folder / "findings.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_sound_shot_has_nothing_to_look_at(cels):
    assert review(cels) == 0
    assert table(cels / "flats" / "review") == []
    assert "https:" not in (cels / "flats" / "review" / "index.html").read_text()


def test_a_color_off_the_palette_is_found(cels, tmp_path):
    file = cels / "00002.png"
    frame = read_image(file)
    frame[2:12, 40:50] = (255, 0, 255)
    write_png(file, frame)
    assert review(cels, "--out", tmp_path / "page") == 3
    (row,) = table(tmp_path / "page")
    assert (row["kind"], row["frame"], row["color"]) == ("off", "00002", "#ff00ff")
    assert [int(row[side]) for side in ("top", "left", "bottom", "right")] == [3, 41, 11, 49]  # what is even
    assert review(cels, "--allow", "off=1", "--out", tmp_path / "page") == 0


def test_a_frame_without_a_drawing_has_nothing_to_look_at(cels):
    write_png(cels / "00001.png", np.full((60, 96, 3), 255, np.uint8))
    (cels / "flats" / "regions" / "00001.json").write_text('{"blank": true}')
    assert review(cels) == 0


def test_with_a_palette_only_its_colors_are_fine(tmp_path):
    day = Palette.of([("", SKY), ("", BALL), ("", BOX), ("", (0, 0, 0))])
    cels = paint(tmp_path / "cels", day)
    assert review(cels) == 0
    (cels / "flats" / "palette.json").unlink()
    write_palette(cels / "flats" / "palette.json", Palette(day.colors[:2], day.names[:2]))
    assert review(cels) == 3
    assert {row["color"] for row in table(cels / "flats" / "review")} == {"#3ca050"}


def test_what_keeps_the_models_paint_is_open(tmp_path):
    rng = np.random.default_rng(0)
    film = np.repeat(np.repeat(rng.random((15, 24, 3), np.float32), 4, 0), 4, 1)
    bucket = PaintBucket(film, drawn(0)[1])
    bucket(drawn(1)[1], film)
    assert any(row["open"] for row in region_table(bucket)["regions"])


def test_a_color_that_changes_at_its_place_is_told():
    key, lines = drawn(0)
    bucket = PaintBucket(key.astype(np.float32) / 255, lines)
    bucket(lines, key.astype(np.float32) / 255)
    assert not any(row["was"] for row in region_table(bucket)["regions"])
    ball = (bucket.colors == np.float32(BALL) / 255).all(1)
    bucket.matched[ball, :3] = np.float32(BOX) / 255  # as if it had been filled wrongly
    bucket(lines, key.astype(np.float32) / 255)
    changed = [row for row in region_table(bucket)["regions"] if row["was"]]
    assert [(row["was"], row["color"]) for row in changed] == [("#3ca050", "#dc3c32")]


def test_doubt_is_how_near_the_second_color_comes():
    frame, lines = np.ones((40, 80, 3), np.float32), np.zeros((40, 80), np.float32)
    for left, color in ((6, (1, 0, 0)), (60, (0, 0, 1))):
        frame[14:26, left : left + 12], lines[14:26, left : left + 12] = 0, 1
        frame[15:25, left + 1 : left + 11], lines[15:25, left + 1 : left + 11] = color, 0
    between = np.zeros_like(lines)
    between[14:26, 34:46], between[15:25, 35:45] = 1, 0
    near = np.zeros_like(lines)
    near[14:26, 8:20], near[15:25, 9:19] = 1, 0
    doubt = {}
    for name, sketch in (("between", between), ("near", near)):
        bucket = PaintBucket(frame, lines)
        bucket(sketch)
        doubt[name] = float(bucket.doubt[bucket.before.map[20, 40 if name == "between" else 14]])
    assert doubt["near"] < 0.9 < doubt["between"] <= 1


def test_a_speck_is_tiny_and_alone():
    key, lines = drawn(0)
    frame = key.astype(np.float32) / 255
    lines[4:9, 40:45], lines[5:8, 41:44] = 1, 0
    frame[4:9, 40:45], frame[5:8, 41:44] = 0, np.float32(BALL) / 255
    bucket = PaintBucket(frame, lines)
    bucket(lines, frame)
    small = [row for row in region_table(bucket)["regions"] if row["area"] <= 12]
    assert [(row["box"], row["color"], row["alone"]) for row in small] == [([5, 41, 8, 44], "#dc3c32", True)]


@pytest.mark.parametrize("fault", ["no table", "gone", "cut", "nothing", "kind", "doubt"])
def test_what_cannot_be_reviewed_is_one_line(cels, capsys, fault):
    words = []
    if fault == "no table":
        shutil.rmtree(cels / "flats" / "regions")
    elif fault == "gone":
        (cels / "flats" / "regions" / "00001.json").unlink()
    elif fault == "cut":
        (cels / "flats" / "regions" / "00001.json").write_text('{"regions": [')
    elif fault == "nothing":
        cels = cels / "nothing"
    elif fault == "doubt":
        words = ["--doubt", "-1"]
    capsys.readouterr()
    if fault == "kind":
        with pytest.raises(SystemExit) as stop:
            review(cels, "--allow", "dirt=1")
        assert stop.value.code == 2
    else:
        assert review(cels, *words) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.slow
@needs_browser
def test_the_page_in_a_browser(cels, tmp_path):
    frame = read_image(cels / "00002.png")
    frame[2:12, 40:50] = (255, 0, 255)
    write_png(cels / "00002.png", frame)
    assert review(cels, "--doubt", "0.3") == 3
    with Browser(tmp_path / "profile") as browser:
        browser.open((cels / "flats" / "review" / "index.html").as_uri())
        shown = "[...document.querySelectorAll('article')].filter(card => !card.hidden).map(card => card.dataset.kind)"
        kinds = browser.run(shown)
        assert kinds.count("off") == 1 and "doubt" in kinds
        browser.click("button[data-kind=off]")
        assert browser.run(shown) == ["off"]
        assert browser.run("[...document.images].every(image => image.naturalWidth > 20)")
        assert browser.errors == [] and len(browser.requests) == 1
