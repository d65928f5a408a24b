"""Which files of a folder are frames: none is left out in silence, and what is unclear is asked."""

from __future__ import annotations

import pytest
from PIL import Image

from lvcd.errors import InputError
from lvcd.io.frame_folder import FrameSelection, level_of
from lvcd.io.reader import open_frames


def folder(path, *names, size=(16, 12)):
    """A folder of images, each of another grey."""
    path.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.new("RGB", size, (20 + 7 * number,) * 3).save(path / name)
    return path


def names(path, **selection):
    with open_frames(path, FrameSelection(**selection)) as frames:
        return [frames.name(index) for index in range(len(frames))]


def refusal(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and all(str(part) in message for part in parts), message


def test_mixed_endings_are_one_clip_in_natural_order(tmp_path):
    shot = folder(tmp_path / "shot", "A0010.PNG", "A0002.tga", "A0001.png", "A0003.Jpg", "A0004.TIF", "A0005.gif")
    assert names(shot) == ["A0001.png", "A0002.tga", "A0003.Jpg", "A0004.TIF", "A0005.gif", "A0010.PNG"]


@pytest.mark.parametrize(
    ("files", "numbers"),
    [
        (["A0001.png", "A0003.png", "A0010.png"], [1, 3, 10]),
        (["f1.png", "f2.png", "f10.png"], [1, 2, 10]),
        (["sc01_c003_A0007.png", "sc01_c003_A0009.png"], [7, 9]),
        (["a.png", "b.png"], [0, 1]),  # none: their place counts
    ],
)
def test_names_and_numbers_are_kept(tmp_path, files, numbers):
    with open_frames(folder(tmp_path / "shot", *files)) as frames:
        assert frames.names == [name.removesuffix(".png") for name in files]
        assert frames.numbers == numbers


def test_litter_is_ignored_and_everything_else_is_mentioned(tmp_path):
    shot = folder(tmp_path / "shot", "0000.png", "0001.png")
    for name in (".DS_Store", "._0001.png", "Thumbs.db", "desktop.ini"):
        (shot / name).write_bytes(b"litter")
    assert open_frames(shot).notes == []
    (shot / "notes.txt").write_text("retake 0001")
    (shot / "old").mkdir()
    with open_frames(shot) as frames:
        assert len(frames) == 2
        [note] = frames.notes
    assert "notes.txt" in note and "old/" in note and note.isprintable()


def test_two_levels_are_asked_for(tmp_path):
    shot = folder(tmp_path / "shot", "A0001.png", "A0002.png", "B0001.png", "B0002.png")
    refusal(lambda: open_frames(shot), "shot", "A and B", "--level A")
    assert names(shot, level="B") == ["B0001.png", "B0002.png"]
    assert names(shot, level="a_") == ["A0001.png", "A0002.png"]
    refusal(lambda: open_frames(shot, FrameSelection(level="C")), "level C", "A, B")
    with open_frames(shot, FrameSelection(level="B")) as frames:
        assert "A0001.png" in frames.notes[0]


@pytest.mark.parametrize(
    "files",
    [
        ["A0001.png", "A0002.png", "A0003.png", "B0001.png"],  # a held level
        ["0001_line.png", "0002_line.png", "0001_color.png", "0002_color.png"],
        ["cut1_A1.png", "cut1_A2.png", "cut1_BOOK1.png", "cut1_BOOK2.png"],
    ],
)
def test_levels_of_other_names(tmp_path, files):
    refusal(lambda: open_frames(folder(tmp_path / "shot", *files)), "levels", "--level")


@pytest.mark.parametrize(
    "files",
    [
        ["A0001.png", "A0001a.png", "A0002.png"],  # an inbetween
        ["run1.png", "run2.png", "walk3.png", "walk4.png"],  # numbers that go on
        ["cover.png", "f1.png", "f2.png"],
    ],
)
def test_what_is_one_level(tmp_path, files):
    assert names(folder(tmp_path / "shot", *files)) == files


def test_levels_are_what_is_no_number():
    assert [level_of(s) for s in ("A0001", "0001", "A_0001", "c012_A0001", "0001_line", "key")] == [
        "A", "", "A", "c012_A", "line", "key",
    ]  # fmt: skip


def test_a_file_without_number_is_read_and_mentioned(tmp_path):
    with open_frames(folder(tmp_path / "shot", "0.png", "1.png", "2.png", "key.png")) as frames:
        assert len(frames) == 4 and "key.png" in frames.notes[0]


def test_the_reference_in_the_folder_is_left_out(tmp_path):
    shot = folder(tmp_path / "shot", "0000.png", "0001.png", "key.png")
    copy = tmp_path / "color_model.png"
    copy.write_bytes((shot / "key.png").read_bytes())
    for reference in (shot / "key.png", copy):
        with open_frames(shot, FrameSelection(leave_out=(reference,))) as frames:
            assert frames.names == ["0000", "0001"] and "key.png" in frames.notes[0]


def test_a_copy_in_another_format_is_named(tmp_path):
    refusal(lambda: open_frames(folder(tmp_path / "shot", "A1.png", "A1.tga")), "A1.png", "A1.tga")


def test_an_animation_in_a_folder_is_mentioned(tmp_path):
    shot = folder(tmp_path / "shot", "0.png", "1.png")
    pages = [Image.new("L", (16, 12), grey) for grey in (0, 90, 200)]
    pages[0].save(shot / "2.gif", save_all=True, append_images=pages[1:])
    with open_frames(shot) as frames:
        assert len(frames) == 3 and "2.gif" in frames.notes[0]


def test_damage_is_found_before_the_work(tmp_path):
    shot = folder(tmp_path / "shot", "0.png", "2.png")
    Image.effect_noise((64, 64), 90).resize((16, 12)).convert("RGB").save(shot / "1.png")
    data = (shot / "1.png").read_bytes()
    (shot / "1.png").write_bytes(data[: len(data) // 2] + data[-12:])  # cut in the middle, the end put back
    with open_frames(shot) as frames:
        refusal(frames.contents, "1.png")
    (shot / "1.png").write_bytes(b"")
    refusal(lambda: open_frames(shot), "1.png", "0 bytes")
