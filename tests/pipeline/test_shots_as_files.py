"""Shots as studios, scanners and programs write them: read from files, flats have exactly the reference's colors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from psd_tools import PSDImage

from lvcd.io.frame_folder import FrameSelection
from lvcd.io.images import read_image
from lvcd.io.reader import open_frames
from lvcd.lineart.reading import DrawingReader
from lvcd.pipeline import FlatFiller
from lvcd.pipeline.inputs import color
from lvcd.pipeline.render_inputs import find_ink_color

H, W, FRAMES = 72, 128, 2
SKY, BALL, BOX = (150, 200, 240), (220, 60, 50), (60, 160, 80)


def shot(step: int, solid: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """A ball that moves and a box => key, uint8 (H W 3), and ink, uint8 (H W), 255 on a line."""
    key, ink = np.full((H, W, 3), SKY, np.uint8), np.zeros((H, W), np.uint8)
    for layer, tone in ((key, BALL), (ink, 255)):
        cv2.circle(layer, (84 + step, 30), 14, tone, -1 if layer is key else 2)
    for layer, tone in ((key, BOX), (ink, 255)):
        cv2.rectangle(layer, (12, 32), (36, 60), tone, -1 if layer is key else 2)
    if solid:
        ink[:37] = 255  # a night sky, say: more than half of the drawing
    key[ink > 0] = 0
    return key, ink


def grey(ink: np.ndarray) -> np.ndarray:
    return 255 - ink


def rgba(ink: np.ndarray, tone: tuple[int, int, int] = (0, 0, 0)) -> np.ndarray:
    return np.dstack([np.full((*ink.shape, 3), tone, np.uint8), ink])


def pillow(ending: str, prepare: Callable = lambda ink: Image.fromarray(grey(ink)), **options) -> Callable:
    """Write each drawing by Pillow."""

    def write(folder: Path, inks: list[np.ndarray]) -> Path:
        for i, ink in enumerate(inks):
            prepare(ink).save(folder / f"{i:04d}.{ending}", **options)
        return folder

    return write


def animation(ending: str, **options) -> Callable:
    """Write all drawings into one file by Pillow."""

    def write(folder: Path, inks: list[np.ndarray]) -> Path:
        first, *rest = [Image.fromarray(np.repeat(grey(ink)[..., None], 3, -1)) for ink in inks]
        first.save(folder / f"shot.{ending}", save_all=True, append_images=rest, duration=100, **options)
        return folder / f"shot.{ending}"

    return write


def tiff(prepare: Callable, **options) -> Callable:
    """Write each drawing by tifffile."""

    def write(folder: Path, inks: list[np.ndarray]) -> Path:
        for i, ink in enumerate(inks):
            tifffile.imwrite(folder / f"{i:04d}.tif", prepare(ink), **options)
        return folder

    return write


def named(*names: str) -> Callable:
    def write(folder: Path, inks: list[np.ndarray]) -> Path:
        for name, ink in zip(names, inks, strict=True):
            Image.fromarray(rgba(ink) if name.lower().endswith("tga") else grey(ink)).save(folder / name)
        return folder

    return write


def psd(folder: Path, inks: list[np.ndarray]) -> Path:
    for i, ink in enumerate(inks):
        PSDImage.frompil(Image.fromarray(np.repeat(grey(ink)[..., None], 3, -1))).save(folder / f"{i}.psd")
    return folder


def turned(ink: np.ndarray) -> Image.Image:
    image = Image.fromarray(np.rot90(grey(ink)).copy())  # the tag turns it back
    image.getexif()[0x0112] = 6
    return image


def with_sidecars(folder: Path, inks: list[np.ndarray]) -> Path:
    pillow("png")(folder, inks)
    for name in ("._0001.png", ".DS_Store", "Thumbs.db", "notes.txt"):
        (folder / name).write_bytes(b"\0\5\26\7")
    return folder


def deep(ink: np.ndarray) -> np.ndarray:
    return grey(ink).astype(np.uint16) * 257


def paletted(ink: np.ndarray) -> Image.Image:
    return Image.fromarray(np.repeat(grey(ink)[..., None], 3, -1)).quantize(4)


def clear_paper(ink: np.ndarray) -> Image.Image:
    image = Image.fromarray((ink > 0).astype(np.uint8))
    image.putpalette([255, 255, 255, 0, 0, 0])
    image.info["transparency"] = 0
    return image


def multiplied(ink: np.ndarray) -> np.ndarray:
    color = np.full((*ink.shape, 3), (30, 30, 220)) * (ink[..., None] / 255)
    return np.dstack([color.astype(np.uint8), ink])


SHOTS: dict[str, Callable] = {
    "an animated PNG": animation("png"),
    "an .apng": animation("apng", format="PNG"),
    "an animated GIF": animation("gif"),
    "an animated WebP": animation("webp", lossless=True),
    "a TIFF of pages": animation("tiff"),
    "AVIF": pillow("avif", lambda ink: Image.fromarray(np.repeat(grey(ink)[..., None], 3, -1)), quality=95),
    "GIF stills": pillow("gif"),
    "grey and alpha": pillow("png", lambda ink: Image.fromarray(np.dstack([np.zeros_like(ink), ink]), "LA")),
    "CMYK JPEG": pillow("jpg", lambda ink: Image.fromarray(grey(ink)).convert("RGB").convert("CMYK"), quality=95),
    "turned by EXIF": lambda folder, inks: [
        turned(ink).save(folder / f"{i}.png", exif=turned(ink).getexif()) for i, ink in enumerate(inks)
    ] and folder,
    "16-bit grey PNG": pillow("png", lambda ink: Image.fromarray(deep(ink))),
    "1-bit PNG": pillow("png", lambda ink: Image.fromarray(grey(ink)).convert("1")),
    "palette PNG": pillow("png", paletted),
    "palette PNG with clear paper": pillow("png", clear_paper, transparency=0),
    "TGA of OpenToonz": pillow("tga", lambda ink: Image.fromarray(rgba(ink))),
    "PSD": psd,
    "16-bit grey TIFF": tiff(deep),
    "16-bit RGB TIFF": tiff(lambda ink: np.repeat(deep(ink)[..., None], 3, -1), photometric="rgb"),
    "16-bit RGBA TIFF": tiff(
        lambda ink: rgba(ink).astype(np.uint16) * 257, photometric="rgb", extrasamples=["unassalpha"]
    ),
    "premultiplied TIFF": tiff(multiplied, photometric="rgb", extrasamples=["assocalpha"]),
    "premultiplied blue PNG": pillow("png", lambda ink: Image.fromarray(multiplied(ink))),
    "CCITT TIFF": pillow("tif", lambda ink: Image.fromarray(grey(ink)).convert("1"), compression="group4"),
    "white is zero": tiff(lambda ink: ink > 0, photometric="miniswhite"),
    "sidecars of a Mac": with_sidecars,
    "numbers with gaps": named("A0001.png", "A0010.png"),
    "numbers without zeros": named("f2.png", "f10.png"),
    "PNG and TGA": named("A0001.tga", "A0002.png"),
    "endings in capitals": named("A0001.PNG", "A0002.Tif"),
    "names of elsewhere": named("原画 1.png", "原画 2.png"),
}  # fmt: skip


def fill(sketches: Path, key: Path, outlines: bool = True) -> list[np.ndarray]:
    """Fill a shot from files as `lvcd colorize --flat --reference-frame 0` does, with a model that says nothing."""
    with open_frames(sketches, FrameSelection(leave_out=(key,))) as clip:
        clip.contents()
        reader = DrawingReader(clip)
        drawings = [reader(clip[i]) for i in range(len(clip))]
        own = None if outlines else find_ink_color(clip[0], drawings[0].ink)
    reference = color(read_image(key), (H, W)) / 2 + 0.5
    filler = FlatFiller(reference, drawings[0], ink_color=own)
    painted = torch.full((3, H // 2, W // 2), 0.5)
    return [(filler(drawing, painted) * 255).round().byte().movedim(0, -1).numpy() for drawing in drawings]


def check(frames: list[np.ndarray]) -> None:
    assert len(frames) == FRAMES
    for step, frame in enumerate(frames):
        key, ink = shot(3 * step)
        clear = cv2.dilate(ink, np.ones((5, 5), np.uint8)) == 0  # a JPEG's lines are soft
        assert np.array_equal(frame[clear], key[clear])


@pytest.mark.parametrize("name", SHOTS)
def test_fills_are_the_references(tmp_path, name):
    (tmp_path / "shot").mkdir()
    sketches = SHOTS[name](tmp_path / "shot", [shot(3 * step)[1] for step in range(FRAMES)])
    Image.fromarray(shot(0)[0]).save(tmp_path / "key.png")
    check(fill(sketches, tmp_path / "key.png"))


@pytest.mark.parametrize("kind", ["psd", "tga", "inside", "clear"])
def test_references_of_every_kind(tmp_path, kind):
    folder = tmp_path / "shot"
    folder.mkdir()
    pillow("png")(folder, [shot(3 * step)[1] for step in range(FRAMES)])
    image = Image.fromarray(shot(0)[0])
    key = (folder if kind == "inside" else tmp_path) / f"key.{kind if kind in ('psd', 'tga') else 'png'}"
    if kind == "psd":
        PSDImage.frompil(image).save(key)
    elif kind == "clear":  # a cel: what is not painted is transparent, which is white
        pixels = np.array(image)
        Image.fromarray(np.dstack([pixels, np.where((pixels == SKY).all(-1), 0, 255).astype(np.uint8)])).save(key)
    else:
        image.save(key)
    frames = fill(folder, key)
    if kind == "clear":
        assert all(frame.shape == (H, W, 3) and tuple(frame[2, 2]) == (255, 255, 255) for frame in frames)
        assert all(tuple(frame[45, 24]) == BOX for frame in frames)
    else:
        check(frames)


def test_mostly_solid_black_is_dark_lines(tmp_path):
    (tmp_path / "shot").mkdir()
    inks = [shot(3 * step, solid=True)[1] for step in range(FRAMES)]
    assert np.mean(inks[0] > 0) > 0.5
    Image.fromarray(shot(0, solid=True)[0]).save(tmp_path / "key.png")
    frames = fill(pillow("png")(tmp_path / "shot", inks), tmp_path / "key.png")
    for frame, ink in zip(frames, inks):
        assert (frame[ink == 255] == 0).all() and tuple(frame[40, 84]) == BALL and tuple(frame[50, 24]) == BOX


def test_lines_stay_black_where_the_key_has_no_outlines(tmp_path):
    (tmp_path / "shot").mkdir()
    inks = [shot(3 * step)[1] for step in range(FRAMES)]
    key = np.full((H, W, 3), SKY, np.uint8)
    cv2.circle(key, (84, 30), 15, BALL, -1)
    cv2.rectangle(key, (11, 31), (37, 61), BOX, -1)
    Image.fromarray(key).save(tmp_path / "key.png")
    frames = fill(pillow("png")(tmp_path / "shot", inks), tmp_path / "key.png", outlines=False)
    check(frames)
    assert all((frame[ink == 255] == 0).all() for frame, ink in zip(frames, inks))


def test_a_blank_drawing_in_the_middle_gets_one_color(tmp_path):
    (tmp_path / "shot").mkdir()
    inks = [shot(0)[1], np.zeros((H, W), np.uint8), shot(3)[1]]
    Image.fromarray(shot(0)[0]).save(tmp_path / "key.png")
    first, blank, last = fill(pillow("png")(tmp_path / "shot", inks), tmp_path / "key.png")
    assert (blank == SKY).all()
    check([first, last])


def test_small_highlights(tmp_path):
    (tmp_path / "shot").mkdir()
    shine, inks, keys = (255, 240, 60), [], []
    for step in range(FRAMES):
        key, ink = np.full((H, W, 3), SKY, np.uint8), np.zeros((H, W), np.uint8)
        for i, radius in enumerate(range(2, 10)):
            cv2.circle(key, (12 + 15 * i + step, 36), radius, shine, -1)
            cv2.circle(ink, (12 + 15 * i + step, 36), radius, 255, 1, cv2.LINE_AA)
        keys.append(np.rint(key * (1 - ink[..., None] / 255)).astype(np.uint8))
        inks.append(ink)
    Image.fromarray(keys[0]).save(tmp_path / "key.png")
    frames = fill(pillow("png")(tmp_path / "shot", inks), tmp_path / "key.png")
    for step, frame in enumerate(frames):
        assert all(tuple(frame[36, 12 + 15 * i + step]) == shine for i in range(8))
