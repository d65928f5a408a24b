"""`lvcd inspect`, with real shards, and its page in a real browser where there is one."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.inspection.measure import measure
from lvcd.inspection.summary import lengths
from lvcd.lineart.color_leak import LEAK_THRESHOLD, ColorLeak
from lvcd.lineart.xdog import xdog
from lvcd.shards.format import ShardWriter
from tests.helpers.browser import BROWSER, needs_browser
from tests.helpers.processes import CEILING

HEIGHT, WIDTH, FRAMES = 64, 96, 6
STYLES = ("shapes", "characters", "heldout_characters")


def inspect(*words):
    return main(["inspect", *map(str, words)])


def refused(capsys, *words):
    capsys.readouterr()
    assert inspect(*words) == 2
    lines = [line for line in capsys.readouterr().err.replace("\r", "\n").splitlines() if line.startswith("lvcd ")]
    assert len(lines) == 1
    return lines[0]


def luminance(frames):
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames])


def under(drawings, grey, strength):
    """Drawings with `grey` (0 black) left below their lines, at a share of its strength."""
    return np.minimum(drawings, np.rint(255 - strength * (255 - grey.astype(float)))).astype(np.uint8)


def by_xdog(frames):
    return np.rint(255 * (1 - xdog(torch.from_numpy(frames).movedim(-1, 1) / 127.5 - 1)[:, 0].numpy())).astype(np.uint8)


def told(frames, drawings):
    leak = ColorLeak()
    for frame, drawing in zip(frames, drawings):
        leak.add(frame, drawing)
    return leak.color_r2


# ---------------------------------------------------------------------------------------------------------------- leaks


@pytest.fixture(scope="module", params=[(style, seed) for style in STYLES for seed in range(3)])
def cartoon(request):
    style, seed = request.param
    clip = draw(seed, FRAMES, HEIGHT, WIDTH, style)
    return clip.frames, 255 - clip.lines


def test_line_art_tells_no_color(cartoon):
    frames, drawings = cartoon
    softened = np.stack([cv2.GaussianBlur(drawing, (0, 0), 0.8) for drawing in drawings])
    noise = np.random.default_rng(0).normal(0, 4, drawings.shape)
    noisy = np.clip(drawings + noise, 0, 255).astype(np.uint8)
    for clean in (drawings, by_xdog(frames), softened, noisy):
        assert told(frames, clean) < LEAK_THRESHOLD / 2


def test_grey_tells_the_color(cartoon):
    frames, drawings = cartoon
    grey = luminance(frames)
    hue = np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2HSV)[..., 0] for frame in frames])
    assert told(frames, grey) > 0.95
    assert told(frames, under(drawings, hue, 0.3)) > 0.7
    assert told(frames, under(drawings, grey, 0.05)) > LEAK_THRESHOLD
    assert told(frames, under(by_xdog(frames), grey, 0.05)) > LEAK_THRESHOLD
    assert told(frames, under(drawings, 255 - grey, 0.05)) > LEAK_THRESHOLD


@pytest.mark.parametrize("greys", [(250, 240, 240), (240, 250, 240), (250, 250, 250)])
def test_the_share_is_that_of_a_linear_fit_where_only_a_line_can_be_fitted(greys):
    """Two greys over three flat colors of one luminance: least squares tells what is left of the variance."""
    colors = np.array([[200, 40, 40], [20, 132, 40], [70, 92, 112]], np.uint8)
    frame = np.repeat(np.repeat(colors[None], 40, 0), 400, 1)  # 40 x 1200, three bands
    drawing = np.repeat(np.repeat(np.array([greys], np.uint8), 40, 0), 400, 1)
    assert np.ptp(colors @ (0.299, 0.587, 0.114)) < 1
    pixels = frame.reshape(-1, 3).astype(float)
    design = np.stack([np.ones(len(pixels)), drawing.ravel()], 1)
    rest = pixels - design @ np.linalg.lstsq(design, pixels, rcond=None)[0]
    expected = 1 - (rest**2).sum() / ((pixels - pixels.mean(0)) ** 2).sum()
    assert told([frame], [drawing]) == pytest.approx(expected, abs=0.01)  # in-between greys at the borders


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_noise_tells_little_and_shares_are_shares(seed):
    rng = np.random.default_rng(seed)
    frame = rng.integers(0, 256, (40, 60, 3), np.uint8)
    assert 0 <= told([frame], [rng.integers(250, 256, (40, 60), np.uint8)]) < LEAK_THRESHOLD
    assert told([frame], [rng.integers(0, 256, (40, 60), np.uint8)]) is None  # no paper


# ----------------------------------------------------------------------------------------------------- other flags


def flags(frames, drawings):
    return set(measure(zip(frames, drawings), len(frames)).flags)


def test_every_damage_has_its_flag_and_line_art_has_none(cartoon):
    frames, drawings = cartoon
    assert flags(frames, drawings) == set()
    assert flags(frames, by_xdog(frames)) == set()
    assert flags(frames, np.full_like(drawings, 255)) == {"empty"}
    assert "full" in flags(frames, 255 - drawings)
    assert "leak" in flags(frames, luminance(frames))
    some = drawings.copy()
    some[1:3] = 255
    assert flags(frames, some) == {"empty"}


def test_sketches_of_another_clip_do_not_match():
    clips = [draw(seed, FRAMES, HEIGHT, WIDTH, style) for seed in (10, 11, 12) for style in STYLES]
    for clip, other in zip(clips, clips[1:] + clips[:1]):
        assert flags(clip.frames, 255 - other.lines) == {"unpaired"}


# ------------------------------------------------------------------------------------------------- motion and colors


@pytest.mark.parametrize(("height", "step"), [(48, 2), (128, 3), (384, 9)])
def test_motion_is_in_pixels_of_the_frame(height, step):
    """A pan over a random pattern: every pixel moves by `step`."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (10, 24, 3), np.uint8)
    wide = cv2.resize(coarse, (height * 12 // 5, height), interpolation=cv2.INTER_CUBIC)
    frames = np.stack([wide[:, i * step : i * step + height * 3 // 2] for i in range(5)])
    numbers = measure(((frame, np.full(frame.shape[:2], 255, np.uint8)) for frame in frames), 5)
    assert numbers.motion_mean_px == pytest.approx(step, rel=0.12)
    assert numbers.motion_p99_px == pytest.approx(step, rel=0.3)


def test_motion_of_cartoons_against_their_exact_flow():
    clips = [draw(seed, 8, 96, 144, style, labels=True) for style in STYLES for seed in range(4)]
    ours = [measure(zip(clip.frames, 255 - clip.lines), 8) for clip in clips]
    exact = [np.hypot(clip.flow[..., 0], clip.flow[..., 1]) for clip in clips]
    mean = [n.motion_mean_px / flow.mean() for n, flow in zip(ours, exact)]
    high = [n.motion_p99_px / np.percentile(flow, 99) for n, flow in zip(ours, exact)]
    assert 0.7 < np.median(mean) < 1.2
    assert 0.7 < np.median(high) < 1.2


def test_a_still_frame_does_not_move():
    frame = draw(0, 1, HEIGHT, WIDTH).frames[0]
    numbers = measure([(frame, np.full(frame.shape[:2], 255, np.uint8))] * 3, 3)
    assert (numbers.motion_mean_px, numbers.motion_p99_px) == (0, 0)
    assert measure([(frame, frame[..., 0])], 1).motion_mean_px is None


def test_the_palette_is_the_flat_colors():
    frame = np.zeros((50, 100, 3), np.uint8)
    frame[:, :60], frame[:, 60:90], frame[:, 90:] = (255, 0, 0), (0, 128, 255), (16, 16, 16)
    palette = measure([(frame, np.full((50, 100), 255, np.uint8))], 1).palette
    assert [color for color, _ in palette] == ["#ff0000", "#0080ff", "#101010"]
    assert [share for _, share in palette] == pytest.approx([0.6, 0.3, 0.1], abs=0.02)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.integers(1, 2000), st.integers(1, 9), min_size=1))
def test_every_clip_is_in_one_bin(counts):
    bars = lengths(counts)
    assert sum(clips for _, clips in bars) == sum(counts.values())
    assert len(bars) <= 12


# --------------------------------------------------------------------------------------------------------------- shards

CREDIT = 'A <b>"hand"</b>; B & C'


def write(folder, damage=lambda shard, clip, frames, drawings: drawings, shards=2, clips=3):
    folder.mkdir()
    record = []
    for shard in range(shards):
        file = folder / f"shard-{shard:05d}.tar"
        with file.open("wb") as stream, ShardWriter(stream) as tar:
            for clip in range(clips):
                drawn = draw(10 * shard + clip, FRAMES + clip, HEIGHT, WIDTH)
                drawings = damage(shard, clip, drawn.frames, 255 - drawn.lines)
                about = {"film": "<script>alert(1)</script>.mp4", "film_sha256": f"{shard}", "start": 0, "fps": 24.0,
                         "frames": FRAMES + clip, "sketches": "xdog", "credit": CREDIT,
                         "license": "CC0 1.0"}  # fmt: skip
                tar.add(f"film-{shard}-{clip}", about, zip(drawn.frames, drawings))
        record.append({"name": file.name, "sha256": "", "bytes": file.stat().st_size, "clips": clips})
    manifest = {"format": "lvcd shards 1", "job": {}, "films": [], "shards": record, "counts": {}}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def spoil(shard, clip, frames, drawings):
    if (shard, clip) == (1, 1):
        return under(drawings, luminance(frames), 0.1)
    return np.full_like(drawings, 255) if (shard, clip) == (0, 2) else drawings


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return write(tmp_path_factory.mktemp("inspect") / "shards", spoil)


@pytest.fixture
def made(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "made")


@pytest.fixture(scope="module")
def page(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("page")
    assert inspect(whole, "--out", out) == 0
    return out


def test_all_is_counted_and_some_looked_at(made, tmp_path, capsys):
    assert inspect(made, "--clips", 2, "--out", tmp_path / "out") == 0
    text = capsys.readouterr().out
    assert "6, 2 of them measured" in text
    found = json.loads((tmp_path / "out" / "clips.json").read_text())
    assert found["counts"]["clips"] == 6
    assert found["counts"]["all_frames"] == 2 * (3 * FRAMES + 3)
    assert found["counts"]["lengths"] == {str(FRAMES + n): 2 for n in range(3)}
    assert found["counts"]["sizes"] == {f"{WIDTH} x {HEIGHT}": 6}
    assert found["counts"]["extractors"] == {"xdog": 6}
    assert found["counts"]["licenses"] == {"CC0 1.0": 6}
    assert found["counts"]["credits"] == {'A <b>"hand"</b>': 6, "B & C": 6}
    assert found["counts"]["films"] == {"0": 3, "1": 3}
    assert [clip["key"] for clip in found["clips"]] == ["film-0-1", "film-1-1"]
    assert found["notes"] == []


def test_flagged_clips_are_named(page):
    found = json.loads((page / "clips.json").read_text())
    assert {clip["key"]: clip["flags"] for clip in found["clips"] if clip["flags"]} == {
        "film-0-2": ["empty"],
        "film-1-1": ["leak"],
    }
    assert found["flagged"] == {"leak": 1, "empty": 1}


def test_the_page_needs_nothing_else_and_trusts_no_name(page):
    text = (page / "index.html").read_text()
    order = ["0-2", "1-1", "0-0", "0-1", "1-0", "1-2"]  # flagged first
    assert re.findall(r'<article id="film-([^"]*)"', text) == order
    assert not re.search(r"(?:src|href)=(?!\"data:image/jpeg;base64,)", text)
    assert "<script>alert" not in text and "<b>&quot;" not in text
    assert text.count("data:image/jpeg") == 6


def test_a_folder_without_a_manifest(made, capsys):
    (made / "manifest.json").unlink()
    assert inspect(made) == 0
    assert "no manifest.json" in capsys.readouterr().out


def test_a_missing_and_a_foreign_shard(made, capsys):
    (made / "shard-00001.tar").rename(made / "shard-00007.tar")
    assert inspect(made) == 0
    text = capsys.readouterr().out
    assert "shard-00001.tar" in text and "shard-00007.tar" in text


def test_a_shard_cut_short(made, capsys):
    file = made / "shard-00001.tar"
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    assert inspect(made) == 0
    text = capsys.readouterr().out
    assert re.search(r"shard-00001.tar .*\d+ bytes.* \d+", text)
    assert re.search(r"shard-00001.tar .*byte \d+", text)
    assert re.search(r"film-1-\d .*shard-00001.tar .*\w+.png", text)


def test_clips_that_are_there_twice_are_no_negative_loss(made, capsys):
    file = made / "shard-00000.tar"
    with tarfile.open(file) as tar:
        members = [(member, tar.extractfile(member).read()) for member in tar if member.isfile()]
    with tarfile.open(file, "w") as tar:
        for member, data in members * 2:
            tar.addfile(member, io.BytesIO(data))
    assert inspect(made) == 0
    text = capsys.readouterr().out
    assert re.search(r"shard-00000.tar .*\d+ bytes.* \d+", text) and not re.search(r"(?<![\w-])-\d", text)


def test_a_picture_that_cannot_be_decoded(made, tmp_path, capsys):
    file = made / "shard-00000.tar"
    with tarfile.open(file) as tar:
        place = tar.getmember("film-0-1.frame003.png").offset_data
    data = bytearray(file.read_bytes())
    data[place + 60] ^= 0xFF
    file.write_bytes(data)
    assert inspect(made, "--out", tmp_path / "out") == 0
    assert re.search(r"film-0-1 .*shard-00000\.tar", capsys.readouterr().out)
    found = json.loads((tmp_path / "out" / "clips.json").read_text())
    assert found["flagged"]["undecodable"] == 1


def test_encoded_shards(made, capsys):
    stage = made / "96p"
    stage.mkdir()
    file = stage / "shard-00000.tar"
    files = {"json": json.dumps({"film": "a.mp4", "frames": 4, "fps": 24, "sketches": "xdog"}).encode()}
    arrays = {
        "latents": np.zeros((4, 4, 8, 12), np.float16),
        "tokens": np.zeros((4, 16), np.float16),
        "sketches": np.full((4, 64, 96), 255, np.uint8),
    }
    for name, array in arrays.items():
        data = io.BytesIO()
        np.save(data, array)
        files[f"{name}.npy"] = data.getvalue()
    with file.open("wb") as stream, ShardWriter(stream) as tar:
        tar.add_files("a-0", files)
        tar.add_files("a-1", {name: data for name, data in files.items() if name != "latents.npy"})
    source = hashlib.sha256((made / "manifest.json").read_bytes()).hexdigest()
    shard = {"name": file.name, "sha256": "", "bytes": file.stat().st_size, "clips": 2}
    record = {"format": "lvcd encoded 1", "source_sha256": source, "stage": {"name": "96p"}, "encoders": {"vae": "ab"},
              "shards": [shard]}  # fmt: skip
    (stage / "manifest.json").write_text(json.dumps(record))
    assert inspect(stage) == 0
    text = capsys.readouterr().out
    assert "96p" in text and "96 x 64" in text and "no frames" in text and "1 no lines" in text
    assert re.search(r"a-1 .*shard-00000\.tar .*latents\.npy", text)
    assert "other shards" not in text
    (made / "manifest.json").write_text("{}")
    assert inspect(stage) == 0
    assert "other shards" in capsys.readouterr().out


def test_what_is_no_folder_of_shards(made, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert "nothing" in refused(capsys, tmp_path / "nothing")
    assert "no shards" in refused(capsys, tmp_path / "empty")
    assert "--clips 0" in refused(capsys, made, "--clips", 0)
    assert "cannot write" in refused(capsys, made, "--out", made / "manifest.json")
    (made / "shard-00000.tar").write_bytes(b"no tar at all" * 100)
    assert "shard-0000" in refused(capsys, made)
    (made / "manifest.json").write_text('{"format": "lvcd weights 9"}')
    assert "manifest.json" in refused(capsys, made)


def test_a_name_that_leaves_the_folder(made, capsys):
    with tarfile.open(made / "shard-00001.tar", "a") as tar:
        tar.addfile(tarfile.TarInfo("../evil.json"))
    assert "'../evil.json'" in refused(capsys, made)


# -------------------------------------------------------------------------------------------------------------- browser


@needs_browser
@pytest.mark.parametrize(
    ("view", "order", "hidden"),
    [
        ("", ["0-2", "1-1", "0-0", "0-1", "1-0", "1-2"], []),
        ("#sort=name", ["0-0", "0-1", "0-2", "1-0", "1-1", "1-2"], []),
        ("#sort=frames", ["0-2", "1-2", "1-1", "0-1", "0-0", "1-0"], []),
        ("#sort=name&flag=leak", ["1-1"], ["0-0", "0-1", "0-2", "1-0", "1-2"]),
        ("#sort=name&flag=sound&find=FILM-0", ["0-0", "0-1"], ["0-2", "1-0", "1-1", "1-2"]),
    ],
)
def test_the_page_sorts_and_filters_in_a_browser(page, view, order, hidden, tmp_path):
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom",
               f"--user-data-dir={tmp_path}", (page / "index.html").as_uri() + view]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=CEILING, check=True)
    assert "CONSOLE" not in done.stderr
    clips = re.findall(r'<article id="film-([0-9-]+)"[^>]*?( hidden="")?>', done.stdout)
    assert [clip for clip, unseen in clips if not unseen] == order
    assert [clip for clip, unseen in clips if unseen] == hidden
