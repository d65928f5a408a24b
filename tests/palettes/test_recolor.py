"""Frames painted anew from another palette: the same as if they had been painted from it."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lvcd.cli import main
from lvcd.flats import PaintBucket
from lvcd.flats.indexed import IndexedFrame, nearest_entries
from lvcd.io.frame_folder import BESIDE
from lvcd.io.images import read_image, write_png
from lvcd.palettes.palette_files import Palette, read_palette, write_palette

SKY, BALL, BOX, LINE, SPARE = (150, 200, 240), (220, 60, 50), (60, 160, 80), (20, 10, 0), (1, 2, 3)
DAY = Palette.of([("sky", SKY), ("ball", BALL), ("box", BOX), ("line", LINE), ("spare", SPARE)])
NIGHT = Palette.of(
    [("sky", (10, 10, 40)), ("ball", (90, 30, 60)), ("box", (20, 60, 70)), ("line", (0, 0, 9)), ("", (9, 9, 9))]
)


def drawn(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A ball with a soft outline and a box => key (48 80 3), lines (48 80) in [0, 1], painting by a model."""
    lines, key = np.zeros((48, 80), np.uint8), np.full((48, 80, 3), SKY, np.uint8)
    cv2.circle(key, (20 + step, 24), 12, BALL, -1)
    cv2.rectangle(key, (50, 10), (70, 40), BOX, -1)
    cv2.circle(lines, (20 + step, 24), 12, 255, 2, cv2.LINE_AA)
    cv2.rectangle(lines, (50, 10), (70, 40), 255, 2)
    ink = lines.astype(np.float32) / 255
    frame = np.rint(key + ink[..., None] * (np.array(LINE) - key.astype(float))).astype(np.uint8)
    return frame, ink, np.clip(key.astype(np.float32) / 255 + 0.05, 0, 1)


@pytest.fixture(scope="module")
def cels(model_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("cels")
    (folder / "shot").mkdir()
    for step in range(3):
        sketch = (255 - 255 * drawn(step)[1]).astype(np.uint8)
        write_png(folder / "shot" / f"{step}.png", np.repeat(sketch[..., None], 3, -1))
    write_png(folder / "key.png", drawn(0)[0])
    write_palette(folder / "day.ase", DAY)
    write_palette(folder / "night.aco", NIGHT)
    words = ["--sketches", folder / "shot", "--reference", folder / "key.png", "--model", model_folder, "--steps", 1,
             "--overlap", 1, "--device", "cpu", "--flat", "--reference-frame", 0]  # fmt: skip
    palette = ["--palette", folder / "day.ase"]
    for name, more in (("day", palette), ("plain", []), ("hard", [*palette, "--aliased"])):
        assert main(["colorize", *map(str, [*words, *more, "--output", folder / name])]) == 0
    return folder


def recolor(*words) -> int:
    return main(["recolor", *map(str, words)])


def test_a_palette_that_has_the_references_colors_changes_no_fill(cels):
    for frame in sorted((cels / "plain").glob("*.png")):
        one, other = read_image(frame), read_image(cels / "day" / frame.name)
        known = (one[:, :, None] == DAY.colors).all(-1).any(-1)  # what a model painted is not
        assert known.sum() > 100 and np.array_equal(one[known], other[known])


def test_the_night_version_is_exact(cels, tmp_path):
    assert recolor(cels / "day", "--palette", cels / "night.aco", "--out", tmp_path / "night") == 0
    index = [np.array(Image.open(f)) for f in sorted((cels / "day" / BESIDE / "index").glob("*.png"))]
    lines = [np.array(Image.open(f)) for f in sorted((cels / "day" / BESIDE / "line").glob("*.png"))]
    cover = [np.array(Image.open(f)) for f in sorted((cels / "day" / BESIDE / "coverage").glob("*.png"))]
    frames = sorted((tmp_path / "night").glob("*.png"))
    assert len(frames) == 3
    for i, file in enumerate(frames):
        share = cover[i][..., None] / 255
        expected = (1 - share) * NIGHT.colors[index[i]] + share * NIGHT.colors[lines[i]]
        assert np.array_equal(read_image(file), np.floor(expected + 0.5 - 1e-9).astype(np.uint8))
        clear = cover[i] == 0
        assert np.array_equal(read_image(file)[clear], NIGHT.colors[nearest_entries(
            read_image(cels / "day" / file.name)[clear] / np.float32(255), DAY.colors)])  # fmt: skip
    assert read_palette(tmp_path / "night" / BESIDE / "palette.json").names == NIGHT.names


def test_there_and_back_is_the_same(cels, tmp_path):
    assert recolor(cels / "day", "--palette", cels / "night.aco", "--out", tmp_path / "night") == 0
    assert recolor(tmp_path / "night", "--palette", cels / "day.ase", "--out", tmp_path / "back") == 0
    for file in (cels / "day").glob("*.png"):
        assert np.array_equal(read_image(file), read_image(tmp_path / "back" / file.name))


def test_index_maps_show_the_palette(cels):
    with Image.open(cels / "day" / BESIDE / "index" / "1.png") as image:
        assert image.mode == "P" and image.getpalette()[:15] == DAY.colors.ravel().tolist()
        shown = np.array(image.convert("RGB"))
    clear = drawn(1)[1] == 0
    assert np.array_equal(shown[clear], read_image(cels / "day" / "1.png")[clear])


def test_a_frame_changed_by_hand_is_said(cels, tmp_path, capsys):
    shutil.copytree(cels / "day", tmp_path / "day")
    frame = read_image(tmp_path / "day" / "1.png")
    frame[2, 2] = 0
    write_png(tmp_path / "day" / "1.png", frame)
    capsys.readouterr()
    assert recolor(tmp_path / "day", "--palette", cels / "night.aco") == 0
    assert "first is 1)" in capsys.readouterr().err and (tmp_path / "day_night" / "1.png").exists()


@pytest.mark.parametrize("fault", ["plain", "short", "gone", "cut", "taken", "itself", "movie", "foreign", "number"])
def test_what_cannot_be_painted_anew_is_one_line(cels, tmp_path, capsys, fault):
    day, out, words = tmp_path / "day", tmp_path / "out", []
    shutil.copytree(cels / ("plain" if fault == "plain" else "day"), day)
    night = tmp_path / "night.gpl"
    write_palette(night, Palette(NIGHT.colors[:3], NIGHT.names[:3]) if fault == "short" else NIGHT)
    maps = day / BESIDE / "index" / "1.png"
    if fault == "gone":
        maps.unlink()
        shutil.copyfile(cels / "key.png", maps)  # no indexed picture
    elif fault == "cut":
        maps.write_bytes(maps.read_bytes()[:60])
    elif fault == "number":
        Image.fromarray(np.full((48, 80), 200, np.uint8)).save(maps)
    elif fault in ("taken", "foreign"):
        out.mkdir()
        (out / "mine.txt").write_text("x")
        words = ["--overwrite"] * (fault == "foreign")
    elif fault == "itself":
        out, words = day, ["--overwrite"]
    elif fault == "movie":
        out = tmp_path / "out.mp4"
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert recolor(day, "--palette", night, "--out", out, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lvcd recolor: ") and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_palette_needs_flat(cels, model_folder, tmp_path, capsys):
    words = ["--sketches", cels / "shot", "--reference", cels / "key.png", "--model", model_folder]
    assert main(["colorize", *map(str, [*words, "--output", tmp_path / "x", "--palette", cels / "day.ase"])]) == 2
    assert "flat" in capsys.readouterr().err


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_colors_off_the_palette_never_come_out(seed):
    rng = np.random.default_rng(seed)
    frame, ink, painted = drawn(0)
    colors = rng.integers(0, 256, (rng.integers(1, 6), 3), dtype=np.uint8)
    bucket = PaintBucket(frame.astype(np.float32) / 255, ink, palette=colors)
    later = (rng.random(ink.shape) > 0.9).astype(np.float32)  # lines that enclose nothing: the model's paint shows
    out = np.rint(bucket(later, rng.random(frame.shape, np.float32)) * 255).astype(int)
    assert np.square(out[:, :, None] - colors.astype(int)).sum(-1).min(-1).max() == 0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_fill_and_line_mix_by_coverage(seed):
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (7, 3), dtype=np.uint8)
    fill, line = rng.integers(0, 7, (2, 9, 8), dtype=np.uint8)
    coverage = rng.choice([0, 255, *rng.integers(0, 256, 4)], (9, 8)).astype(np.uint8)
    share = coverage[..., None] / 255
    mixed = (1 - share) * colors[fill] + share * colors[line]
    assert abs(IndexedFrame(fill, line, coverage).colored(colors) - mixed).max() <= 0.5 + 1e-9


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_the_nearest_entry_is_found(seed):
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (rng.integers(1, 20), 3), dtype=np.uint8)
    given_colors = rng.integers(0, 256, (6, 5, 3), dtype=np.uint8)
    given_colors[0, 0] = colors[-1]
    found = nearest_entries(given_colors.astype(np.float32) / 255, colors)
    distance = np.square(given_colors[:, :, None].astype(int) - colors.astype(int)).sum(-1)
    assert np.array_equal(found, distance.argmin(-1))


def test_hard_lines_stay_hard(cels, tmp_path, capsys):
    assert recolor(cels / "hard", "--palette", cels / "night.aco", "--out", tmp_path / "night") == 0
    assert capsys.readouterr().err == ""  # the maps are of these very frames
    for file in (tmp_path / "night").glob("*.png"):
        assert (read_image(file)[:, :, None] == NIGHT.colors).all(-1).any(-1).all()


def test_a_frame_without_maps_is_copied(cels, tmp_path, capsys):
    shutil.copytree(cels / "day", tmp_path / "day")
    write_png(tmp_path / "day" / "00003.png", np.full((48, 80, 3), 255, np.uint8))
    assert recolor(tmp_path / "day", "--palette", cels / "night.aco", "--out", tmp_path / "night") == 0
    assert "00003" in capsys.readouterr().err and (read_image(tmp_path / "night" / "00003.png") == 255).all()
