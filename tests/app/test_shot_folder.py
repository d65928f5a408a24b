"""A shot in its folder: what is chosen outlives the server, and no name leaves the folder."""

from __future__ import annotations

import json

import pytest

from lvcd.app.shot_folder import Shot, find_last_shot, make_shot
from lvcd.app.uploads import named_uploads, plain_name, take_over
from lvcd.errors import InputError
from lvcd.pipeline.render_settings import RenderSettings


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "A0001.png"
    path.write_bytes(b"drawing")
    return path


def test_a_shot_is_as_it_was_saved(tmp_path, file):
    settings = RenderSettings(flat=True, gap=7.0, size=(64, 96), layers=True, format="psd")
    shot = make_shot(tmp_path / "shots", {"A0001.png": file, "A0002.png": file}, settings=settings)
    shot.record.keys[2] = "colors/key.png"
    shot.save()
    again = find_last_shot(tmp_path / "shots")
    assert again.record == shot.record and again.folder == shot.folder
    assert again.record.settings.size == (64, 96)


def test_shots_are_numbered_and_the_last_one_is_found(tmp_path, file):
    shots = [make_shot(tmp_path / "shots", {"a.png": file}) for _ in range(3)]
    assert [shot.name for shot in shots] == ["shot-0001", "shot-0002", "shot-0003"]
    shots[0].save()
    assert find_last_shot(tmp_path / "shots").name == "shot-0001"
    assert find_last_shot(tmp_path / "nothing") is None


def test_one_file_is_the_clip_itself(tmp_path, file):
    assert make_shot(tmp_path / "shots", {"walk.mp4": file}).sketches.name == "walk.mp4"


@pytest.mark.parametrize(
    "change",
    [
        {"sketches": "../A0001.png"},
        {"palette": "/etc/passwd"},
        {"keys": {"1": "colors/../../A0001.png"}},
        {"sheets": ["../x"]},
        {"settings": {"gap": -1, "flat": True}},
        {"settings": {"size": "large"}},
        {"format": "lvcd shot 99"},
    ],
)
def test_a_damaged_record_is_one_line(tmp_path, file, change):
    shot = make_shot(tmp_path / "shots", {"A0001.png": file})
    record = shot.folder / "shot.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | change))
    with pytest.raises(InputError) as error:
        Shot.open(shot.folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["", ".", "..", "../..", ".hidden.png", "a/", "x\n.png", "x" * 300, "a\\..\\.."])
def test_a_name_that_no_file_has_is_refused(name):
    with pytest.raises(InputError):
        plain_name(name)


@pytest.mark.parametrize(
    "name", ["A0001.png", "../../A0001.png", "C:\\shots\\A0001.png", "/etc/A0001.png", "日本語 A0001.png"]
)
def test_only_the_last_part_of_a_name_counts(name):
    assert "/" not in plain_name(name) and plain_name(name).endswith("A0001.png")


def test_two_files_of_one_name_are_refused(tmp_path, file):
    other = tmp_path / "b" / "a0001.PNG"
    other.parent.mkdir()
    other.write_bytes(b"other")
    with pytest.raises(InputError):
        named_uploads([file, other])


def test_a_second_file_of_a_name_gets_a_number(tmp_path, file):
    folder = tmp_path / "colors"
    other = tmp_path / "b" / "A0001.png"
    other.parent.mkdir()
    other.write_bytes(b"other")
    assert [take_over(f, folder) for f in (file, other, file)] == ["A0001.png", "A0001-2.png", "A0001.png"]
    assert (folder / "A0001-2.png").read_bytes() == b"other"
