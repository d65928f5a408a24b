"""Time sheets of OpenToonz, CLIP STUDIO, TVPaint and Krita: in the forms in which these programs write them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.io.timesheet import read_timesheet

NAMES = ["A0001", "A0002", "A0003", "A0004"]
NUMBERS = [1, 2, 3, 4]


def xdts(*tracks, names=("A",), duration=8, field=0) -> str:
    """tracks: [(frame, cell) ...] for each level."""
    fields = [{"fieldId": field, "tracks": [
        {"trackNo": number, "frames": [{"frame": at, "data": [{"id": 0, "values": [cell]}]} for at, cell in track]}
        for number, track in enumerate(tracks)
    ]}]  # fmt: skip
    table = {"name": "sheet", "duration": duration, "fields": fields,
             "timeTableHeaders": [{"fieldId": 3, "names": ["talk"]}, {"fieldId": 0, "names": list(names)}]}  # fmt: skip
    whole = {"header": {"cut": "1", "scene": "2"}, "timeTables": [table], "version": 5}
    return "exchangeDigitalTimeSheet Save Data\n" + json.dumps(whole)


KRITA = """UTF-8, TVPaint, "CSV 1.0"\r
Project Name, Width, Height, Frame Count, Layer Count, Frame Rate, Pixel Aspect Ratio, Field Mode\r
"walk", 64, 48, 5, 2, 24.000000, 1.000000, Progressive\r
#Layers, "lines", "paper"\r
#Density, 1.000000, 1.000000\r
#Blending, "Color", "Color"\r
#Visible, 1, 1\r
#00000, "frame00001-00000.png", "frame00002-00000.png"\r
#00001, "frame00001-00000.png", "frame00002-00000.png"\r
#00002, "", "frame00002-00000.png"\r
#00003, "frame00001-00003.png", "frame00002-00000.png"\r
#00004, "frame00001-00003.png", "frame00002-00000.png"\r
"""
TVPAINT = """UTF-8, TVPaint, "CSV 1.1"
Project Name, Width, Height, Frame Count, Layer Count, Frame Rate, Pixel Aspect Ratio, Field Mode
"cut 3", 64, 48, 6, 2, 24.000000, 1.000000, Progressive

#Layers,"B","A"
#Folder,"C:\\x","C:\\x"
#Density,1.0,1.0
#Blending,"Color","Color"
#Visible,1,1
#00001, "[001][00001] B.png", "[002][00001] 2.png"
#00002, "[002][00001] 2.png"
#00003, "[001][00003] a,b.png"
#00004, "[002][00004] A.png"
"""


def read(folder, text: str, name="sheet.xdts"):
    (folder / name).write_text(text, encoding="utf-8")
    return read_timesheet(folder / name)


def refusal(call) -> str:
    with pytest.raises(InputError) as caught:
        call()
    assert str(caught.value).isprintable()
    return str(caught.value)


def test_a_cell_holds_until_the_next(tmp_path):
    sheet = read(
        tmp_path, xdts([(4, "SYMBOL_NULL_CELL"), (1, "2"), (3, "SYMBOL_TICK_1"), (6, "1"), (7, "SYMBOL_HYPHEN")])
    )
    assert sheet.drawings(NAMES, NUMBERS) == [None, 1, 1, 1, None, None, 0, 0]
    early = read(tmp_path, xdts([(-3, "3"), (2, "A0004"), (5, "")]))  # CLIP STUDIO writes frames before the first
    assert early.drawings(NAMES, NUMBERS) == [2, 2, 3, 3, 3, None, None, None]


@given(st.lists(st.sampled_from(["1", "2", "3", "4", None]), min_size=1, max_size=30).filter(any))
def test_what_changes_is_what_is_shown(tmp_path_factory, cells):
    changes = [(n, cell or "SYMBOL_NULL_CELL") for n, cell in enumerate(cells) if not n or cell != cells[n - 1]]
    sheet = read(tmp_path_factory.mktemp("sheet"), xdts(changes, duration=len(cells)))
    assert sheet.drawings(NAMES, NUMBERS) == [cell and int(cell) - 1 for cell in cells]


def test_numbers_with_letters_and_names(tmp_path):
    sheet = read(tmp_path, xdts([(0, "1"), (1, "1a"), (2, "0010"), (3, "x")], duration=4))
    assert sheet.drawings(["a_1", "a_1A", "a_10", "x"], [0, 1, 2, 3]) == [0, 1, 2, 3]


def test_levels(tmp_path):
    sheet = read(tmp_path, "\ufeff" + xdts([(0, "1")], [(0, "2")], [], names=("A", "B", "")))
    assert sheet.drawings(NAMES, NUMBERS)[0] == 0
    assert sheet.drawings(["b1", "b2"], [1, 2])[0] == 1
    assert sheet.drawings(["0001", "0002"], [1, 2], "b")[0] == 1
    assert "A, B" in refusal(lambda: sheet.drawings(["0001", "0002"], [1, 2]))
    assert "no level C" in refusal(lambda: sheet.drawings(NAMES, NUMBERS, "C"))


def test_krita(tmp_path):
    sheet = read(tmp_path, KRITA, "walk.csv")
    names = ["frame00001-00000", "frame00001-00003"]
    assert sheet.drawings(names, [0, 3], "lines") == [0, 0, None, 1, 1]


def test_tvpaint(tmp_path):
    """Rows leave empty layers out; an image without a name of its own has its layer's, and the number of its frame."""
    sheet = read(tmp_path, TVPAINT, "cut.csv")
    assert sheet.drawings(NAMES, NUMBERS) == [1, 1, None, 3, 3, 3]
    files = ["[001][00001] B", "[001][00003] a,b"]
    assert sheet.drawings(files, [1, 3], "B") == [0, None, 1, None, None, None]


@pytest.mark.parametrize(
    "text",
    ["", "hello", "frame,drawing\n1,2\n",
     "exchangeDigitalTimeSheet Save Data", "exchangeDigitalTimeSheet Save Data\n{}",
     "exchangeDigitalTimeSheet Save Data\n" + "[" * 100000, xdts([(0, "1")], duration=10**9), xdts([(0, "1")], field=3),
     xdts([(0, "SYMBOL_NULL_CELL")]), xdts([("x", "1")]), TVPAINT[:200], TVPAINT.replace("48, 6", "48, 999999999"),
     KRITA.replace("Frame Count", "Frames")],
)  # fmt: skip
def test_bad_sheets_are_one_line(tmp_path, text):
    assert "sheet.xdts" in refusal(lambda: read(tmp_path, text))


def test_a_drawing_that_is_not_there_is_named(tmp_path):
    sheet = read(tmp_path, xdts([(0, "1"), (3, "7")]))
    message = refusal(lambda: sheet.drawings(NAMES, NUMBERS))
    assert "7" in message and "frame 4" in message and "sheet.xdts" in message
