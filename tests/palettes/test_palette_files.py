"""Palettes in the formats of drawing programs: bytes written by hand from what is published, and other readers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL.GimpPaletteFile import GimpPaletteFile

from lvcd.cli import main
from lvcd.errors import InputError
from lvcd.io.images import write_png
from lvcd.palettes.of_picture import find_palette
from lvcd.palettes.palette_files import Palette, read_palette, write_palette

SKIN, INK = ("skin, shadow", [200, 140, 120]), ("線", [12, 0, 255])

GPL = b"GIMP Palette\nName: hero\nColumns: 4\n# day\n200 140 120\tskin, shadow\n 12   0 255  " + "線".encode() + b"\n"
ACT = bytes([200, 140, 120, 12, 0, 255]) + bytes(762) + b"\x00\x02\xff\xff"
ACO = bytes.fromhex(
    "0001 0002"
    "0000 c8c8 8c8c 7878 0000"
    "0000 0c0c 0000 ffff 0000"
    "0002 0002"
    "0000 c8c8 8c8c 7878 0000 0000000d 0073 006b 0069 006e 002c 0020 0073 0068 0061 0064 006f 0077 0000"
    "0000 0c0c 0000 ffff 0000 00000002 7dda 0000"
)
ASE = bytes.fromhex(
    "41534546 0001 0000 00000004"
    "c001 0000000c 0005 0068 0065 0072 006f 0000"  # a group, hero
    "0001 0000002e 000d 0073 006b 0069 006e 002c 0020 0073 0068 0061 0064 006f 0077 0000"
    "52474220 3f48c8c9 3f0c8c8d 3ef0f0f1 0000"
    "0001 00000018 0002 7dda 0000 52474220 3d40c0c1 00000000 3f800000 0002"
    "c002 00000000"
)


@pytest.mark.parametrize(("ending", "data"), [("gpl", GPL), ("aco", ACO), ("ase", ASE), ("act", ACT)])
def test_files_of_drawing_programs_are_read_and_written(tmp_path, ending, data):
    file, again = tmp_path / f"a.{ending}", tmp_path / f"b.{ending.upper()}"
    file.write_bytes(data)
    palette = read_palette(file)
    assert palette.colors.tolist() == [SKIN[1], INK[1]]
    assert palette.names == (("", "") if ending == "act" else (SKIN[0], INK[0]))
    write_palette(again, palette)
    if ending in ("aco", "act"):
        assert again.read_bytes() == data
    back = read_palette(again)
    assert np.array_equal(back.colors, palette.colors) and back.names == palette.names


def test_pillow_reads_ours(tmp_path):
    write_palette(tmp_path / "a.gpl", Palette.of([SKIN, INK]))
    with (tmp_path / "a.gpl").open("rb") as file:
        found, mode = GimpPaletteFile(file).getpalette()
    assert mode == "RGB" and found[:6] == bytes([*SKIN[1], *INK[1]])


COLORS = st.tuples(*[st.integers(0, 255)] * 3)


@settings(deadline=None, max_examples=20)
@given(
    st.lists(
        st.tuples(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=4), COLORS),
        min_size=1,
        max_size=20,
    ),
    st.sampled_from(["gpl", "aco", "ase", "act", "json"]),
)
def test_what_is_written_comes_back(tmp_path_factory, colors, ending):
    file, palette = tmp_path_factory.mktemp("palette") / f"a.{ending}", Palette.of(colors)
    write_palette(file, palette)
    back = read_palette(file)
    assert np.array_equal(back.colors, palette.colors)
    assert ending == "act" or back.names == tuple(
        "" if ending == "gpl" and n == "Untitled" else n for n in palette.names
    )


@pytest.mark.parametrize(
    ("name", "data", "word"),
    [
        ("a.gpl", b"nothing", "GIMP Palette"),
        ("a.gpl", b"GIMP Palette\n1 2\n", "line 2"),
        ("a.gpl", b"GIMP Palette\n1 2 300 x\n", "line 2"),
        ("a.gpl", b"GIMP Palette\n", "0 colors"),
        ("a.gpl", b"GIMP Palette\n" + b"1 2 3\n" * 257, "257 colors"),
        ("a.act", bytes(771 + 3), "774 bytes"),
        ("a.aco", ACO[:20], "a.aco"),
        ("a.aco", bytes.fromhex("0001 0001 0002 0000 0000 0000 0000"), "CMYK"),
        ("a.ase", ASE[:60], "cut off"),
        ("a.ase", b"ASEX" + ASE[4:], "ASEF"),
        ("a.ase", ASE.replace(b"RGB ", b"CMYK"), "CMYK"),
        ("a.json", b"{}", "no palette"),
        ("a.txt", b"1 2 3", ".gpl"),
        ("a.gpl", b"", "empty"),
    ],
)
def test_what_is_no_palette_is_one_line(tmp_path, name, data, word):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=word) as error:
        read_palette(tmp_path / name)
    assert name in str(error.value) and "\n" not in str(error.value)


def key(noise: int = 0) -> np.ndarray:
    """A red box with a black outline of 2 px on blue, and a small highlight."""
    picture = np.full((60, 80, 3), (150, 200, 240), np.uint8)
    picture[20:50, 20:60] = 0
    picture[22:48, 22:58] = (220, 60, 50)
    picture[30:33, 30:33] = (255, 240, 60)
    rng = np.random.default_rng(0)
    return (
        (picture.astype(int) + rng.integers(0, noise + 1, picture.shape[:2])[..., None]).clip(0, 255).astype(np.uint8)
    )


def test_the_colors_of_a_key_are_its_fills_and_its_lines(tmp_path, capsys):
    write_png(tmp_path / "key.png", key())
    for ending in ("gpl", "aco"):
        assert main(["palette", str(tmp_path / "key.png"), "--out", str(tmp_path / f"p.{ending}")]) == 0
    found = read_palette(tmp_path / "p.gpl")
    assert found.colors[:2].tolist() == [[150, 200, 240], [220, 60, 50]]
    assert {tuple(c) for c in found.colors.tolist()} <= {(150, 200, 240), (220, 60, 50), (255, 240, 60), (0, 0, 0)}
    assert [0, 0, 0] in found.colors.tolist() and len(found.colors) >= 3
    assert main(["palette", str(tmp_path / "p.aco"), "--out", str(tmp_path / "again.gpl")]) == 0
    assert (tmp_path / "again.gpl").read_bytes() == (tmp_path / "p.gpl").read_bytes()
    assert main(["palette", str(tmp_path / "key.png"), "--out", str(tmp_path / "p.txt")]) == 2
    assert "p.txt" in capsys.readouterr().err and not (tmp_path / "p.txt").exists()


def test_a_full_table_comes_back(tmp_path):
    full = Palette(np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8), ("",) * 256)
    for ending in ("gpl", "aco", "ase", "act", "json"):
        write_palette(tmp_path / f"a.{ending}", full)
        assert np.array_equal(read_palette(tmp_path / f"a.{ending}").colors, full.colors)


def test_noise_and_transparency_make_no_colors():
    assert len(find_palette(key(noise=3)).colors) <= 4
    clear = np.dstack([key(), np.where((key() == (150, 200, 240)).all(-1), 0, 255)]).astype(np.uint8)
    assert [150, 200, 240] not in find_palette(clear).colors.tolist()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    assert 1 <= len(find_palette(noise).colors) <= 256
