"""Cels: clear paper, layers and hard lines, as other programs read them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from psd_tools import PSDImage

from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.io.reader import open_frames
from lvcd.pipeline import RenderCancelled, RenderSettings, render_clip

HEIGHT, WIDTH = 48, 64
BALL, WHITE, BOX, LINE = (220, 60, 50), (255, 255, 255), (60, 160, 80), (20, 10, 40)
CLEAR, OPAQUE, EYE = (2, 2), (30, 15), (16, 44)
"""Pixels (row, column) of the ground, of the box, and of the eye, which is white and no ground."""
FRAMES = 3


def drawn(step: int) -> tuple[np.ndarray, np.ndarray]:
    """A ball with an eye and a box, on nothing => coverage by lines (H W) in [0, 1], and colors uint8 (H W 4)."""
    lines, color = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    left, ball = 8 + step, (44 - step, 18)
    cv2.rectangle(color, (left, 24), (left + 16, 40), (*BOX, 255), -1)
    cv2.circle(color, ball, 12, (*BALL, 255), -1)
    cv2.circle(color, (ball[0], 16), 4, (*WHITE, 255), -1)
    cv2.rectangle(lines, (left, 24), (left + 16, 40), 255, 2)
    cv2.circle(lines, ball, 12, 255, 2, cv2.LINE_AA)
    cv2.circle(lines, (ball[0], 16), 4, 255, 1, cv2.LINE_AA)
    return lines / np.float32(255), color


@pytest.fixture(scope="module")
def shot(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cels")
    (folder / "shot").mkdir()
    for step in range(FRAMES):
        lines, color = drawn(step)
        write_png(
            folder / "shot" / f"A{2 * step + 1:04d}.png",
            np.repeat(255 - (lines * 255)[..., None], 3, -1).astype(np.uint8),
        )
        if step == 0:
            alpha = np.maximum(lines, color[..., 3] / 255)
            mixed = lines[..., None] * LINE + (1 - lines[..., None]) * color[..., :3] * (color[..., 3:] > 0)
            straight = np.where(alpha[..., None] > 0, mixed / np.maximum(alpha, 1e-6)[..., None], 0)
            key = np.rint(np.dstack([straight, alpha * 255])).astype(np.uint8)
            write_png(folder / "clear.png", key)
            over = straight * alpha[..., None] + 255 * (1 - alpha[..., None])
            write_png(folder / "white.png", np.rint(over).astype(np.uint8))
    return folder


@pytest.fixture
def paint(shot, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lvcd.flats.bucket.MIN_AGREEMENT", 0.0)  # the toy model paints noise, which large areas keep

    def run(name, key="clear", resume=False, is_cancelled=lambda: False, said=None, **changes):
        settings = RenderSettings(steps=1, overlap=1, flat=True, reference_frame=0, **changes)
        render_clip(shot / "shot", shot / f"{key}.png", tmp_path / name, model_folder, settings=settings, device="cpu",
                    resume=resume, is_cancelled=is_cancelled,
                    on_warning=(lambda _: None) if said is None else said.append)  # fmt: skip
        return tmp_path / name

    return run


@pytest.mark.parametrize("key", ["clear", "white"])
def test_clear_paper(paint, key):
    """With transparency in the reference, and with white paper around: the eye is white, and not clear."""
    out, plain = paint("out", key, alpha=True), paint("plain", key)
    for file in sorted(out.glob("*.png")):
        frame, whole = read_image(file).astype(int), read_image(plain / file.name).astype(int)
        assert frame[CLEAR][3] == 0 and tuple(frame[OPAQUE]) == (*BOX, 255) and tuple(frame[EYE]) == (*WHITE, 255)
        assert ((frame[..., 3] > 0) & (frame[..., 3] < 255)).any()  # the outline of the ball
        over_white = frame[..., :3] * frame[..., 3:] / 255 + 255 - frame[..., 3:]
        if file.name != "A0001.png":  # the reference, which comes out as it went in without --alpha
            assert np.abs(over_white - whole).max() <= 2


def test_layers_in_folders_are_the_frame(paint):
    out, plain = paint("out", layers=True), paint("plain")
    names = [f"A{n:04d}.png" for n in (1, 3, 5)]
    assert {"color", "ground", "line", "trace"} == {p.name for p in out.iterdir()} - {"flats"}
    for name in names[1:]:
        picture = Image.new("RGBA", (WIDTH, HEIGHT))
        for layer in ("ground", "color", "line"):
            with Image.open(out / layer / name) as image:
                picture.alpha_composite(image)
        frame = read_image(plain / name).astype(int)
        assert np.abs(np.asarray(picture)[..., :3].astype(int) - frame).max() <= 2
        color = read_image(out / "color" / name)
        assert color[CLEAR][3] == 0 and tuple(color[EYE]) == (*WHITE, 255) and set(np.unique(color[..., 3])) == {0, 255}
        line = read_image(out / "line" / name)
        assert {tuple(c) for c in line[line[..., 3] > 250][:, :3]} == {LINE}


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [False, True])
def test_layers_in_photoshop_files_and_pages(paint, alpha):
    """psd-tools, Pillow and tifffile read what they show."""
    flat = paint("flat", alpha=alpha)
    folders = paint("folders", alpha=alpha, layers=True)
    psd = paint("psd", alpha=alpha, layers=True, format="psd")
    tiff = paint("tiff", alpha=alpha, layers=True, format="tiff")
    for name in ("A0003", "A0005"):
        document = PSDImage.open(psd / f"{name}.psd")
        assert [layer.name for layer in document] == ["ground", "color", "line", "trace"]
        assert [layer.visible for layer in document] == [not alpha, True, True, False]
        with tifffile.TiffFile(tiff / f"{name}.tiff") as file:
            pages = {page.tags[285].value: page.asarray() for page in file.pages}
        with Image.open(tiff / f"{name}.tiff") as image:
            assert image.n_frames == 4 and image.mode == "RGBA"
        for layer in document:
            expected = read_image(folders / layer.name / f"{name}.png")
            shown = np.asarray(layer.topil()) if layer.width else np.zeros_like(expected)
            assert np.array_equal(pages[layer.name], expected)
            assert np.array_equal(shown, expected)
        frame, seen = read_image(flat / f"{name}.png").astype(int), read_image(psd / f"{name}.psd").astype(int)
        solid = frame[..., -1] >= 64 if alpha else np.ones((HEIGHT, WIDTH), bool)
        assert np.abs(frame[..., :3] - seen[..., :3])[solid].max() <= 4
        assert not alpha or np.abs(frame[..., 3] - seen[..., 3]).max() <= 1
        with Image.open(psd / f"{name}.psd") as image:
            assert image.size == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("key", "alpha"), [("clear", True), ("white", False)])
def test_aliased_has_no_color_but_the_references(shot, paint, key, alpha):
    """Counted: every pixel's color occurs in the reference, and transparency is all or nothing."""
    reference = read_image(shot / f"{key}.png")
    known = {tuple(c) for c in reference.reshape(-1, reference.shape[2])[:, :3]}
    out = paint("out", key, aliased=True, alpha=alpha)
    for file in out.glob("*.png"):
        frame = read_image(file)
        colors = {tuple(c) for c in frame[frame[..., -1] == 255 if alpha else np.ones(frame.shape[:2], bool)][:, :3]}
        assert colors <= known and {BALL, BOX, LINE} <= colors
        if alpha:
            assert set(np.unique(frame[..., 3])) == {0, 255}


@pytest.mark.parametrize("suffix", [".mov", ".mkv", ".apng", ".webm"])
def test_clear_movies(paint, suffix):
    """What FFmpeg and Pillow decode is what a folder shows: exactly, but for the codecs with losses."""
    frames = [read_image(file).astype(int) for file in sorted(paint("out", alpha=True).glob("*.png"))]
    with open_frames(paint(f"movie{suffix}", alpha=True)) as movie:
        shown = [frame.astype(int) for frame in movie]
    assert len(shown) == FRAMES
    for frame, seen in zip(frames, shown):
        clear, solid = frame[..., 3] == 0, frame[..., 3] == 255
        assert seen[clear][:, 3].max() <= (40 if suffix == ".webm" else 1)
        if suffix != ".webm":  # its colors are halved in size
            assert np.abs(seen - frame)[solid].max() <= (3 if suffix == ".mov" else 0)


@pytest.mark.parametrize(("suffix", "changes"), [(".mp4", {"alpha": True}), (".gif", {"alpha": True}),
                                                  (".mov", {"layers": True}), (".mov", {"format": "tga"})])  # fmt: skip
def test_movies_that_cannot_hold_it(paint, tmp_path, suffix, changes):
    with pytest.raises(InputError, match=f"movie{suffix}"):
        paint(f"movie{suffix}", **changes)
    assert not list(tmp_path.glob("movie*"))


def test_aliased_where_the_model_paints(shot, model_folder, tmp_path):
    """A drawing that encloses nothing keeps what the model painted: in colors of the reference."""
    (tmp_path / "open").mkdir()
    for step in range(2):
        picture = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
        cv2.line(picture, (5, 5 + step), (50, 30), (0, 0, 0), 2, cv2.LINE_AA)
        write_png(tmp_path / "open" / f"{step}.png", picture)
    settings = RenderSettings(steps=1, overlap=1, flat=True, aliased=True, lines="dark")
    render_clip(tmp_path / "open", shot / "white.png", tmp_path / "out", model_folder, settings=settings, device="cpu")
    known = {tuple(c) for c in read_image(shot / "white.png").reshape(-1, 3)} | {(0, 0, 0)}
    for file in (tmp_path / "out").glob("*.png"):
        assert {tuple(c) for c in read_image(file).reshape(-1, 3)} <= known


def test_no_ground_is_said(shot, paint, tmp_path):
    blue = read_image(shot / "white.png")
    blue[(blue == 255).all(-1)] = (150, 200, 240)
    write_png(shot / "blue.png", blue)
    said: list[str] = []
    out = paint("out", "blue", alpha=True, said=said)
    assert sum("nothing is clear" in line for line in said) == 1
    assert all((read_image(file)[..., -1] == 255).all() for file in list(out.glob("*.png"))[:1])


@pytest.mark.parametrize("changes", [{"layers": True, "format": "psd"}, {"layers": True, "alpha": True}])
def test_interrupted_is_uninterrupted(paint, tmp_path, changes):
    paint("whole", **changes)
    asked: list[int] = []
    with pytest.raises(RenderCancelled):
        paint("out", is_cancelled=lambda: asked.append(0) or len(asked) > 0, **changes)
    paint("out", resume=True, **changes)
    once, again = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*.*")}
        for name in ("whole", "out")
    )
    assert once == again and len(once) >= FRAMES


@pytest.mark.parametrize("changes", [{"alpha": True}, {"layers": True}, {"aliased": True}, {"format": "bmp"}])
def test_settings_that_cannot_be_used(changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        RenderSettings(**changes)
