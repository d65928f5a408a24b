"""Flats in Python are the files of the command, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.palettes.of_picture import find_palette
from lvcd.palettes.palette_files import write_palette
from lvcd.pipeline import RenderSettings, load_pipeline, render_clip

STEP = {"num_inference_steps": 1, "overlap": 1, "output_type": "np"}
COMMAND = {"steps": 1, "overlap": 1, "flat": True}


def drawing(place: int) -> np.ndarray:
    """A square and a trace line in it, on paper that is not white."""
    picture = np.full((32, 48, 3), 244, np.uint8)
    picture[8:24, 6 + place : 26 + place] = 20
    picture[10:22, 8 + place : 24 + place] = 244
    picture[15, 8 + place : 24 + place] = 230, 40, 40
    return picture


def colored(place: int) -> np.ndarray:
    picture = np.full((32, 48, 3), (90, 140, 200), np.uint8)
    picture[8:24, 6 + place : 26 + place] = 20
    picture[10:15, 8 + place : 24 + place] = 230, 180, 60
    picture[15:22, 8 + place : 24 + place] = 170, 110, 30
    return picture


@pytest.fixture(scope="module")
def shot(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shot")
    (folder / "shot").mkdir()
    for number in range(3):
        write_png(folder / "shot" / f"{number}.png", drawing(3 * number))
    write_png(folder / "key.png", colored(0))
    write_png(folder / "late.png", colored(6))
    write_png(folder / "lines.png", drawing(0))
    write_palette(folder / "key.gpl", find_palette(colored(0)))
    return folder


def of_command(shot: Path, out: Path, reference: str | None = "key.png", **more) -> np.ndarray:
    settings = RenderSettings(**COMMAND, **more.pop("settings", {}))
    reference_path = None if reference is None else shot / reference
    render_clip(shot / "shot", reference_path, out, settings=settings, device="cpu", **more)
    return np.stack([read_image(file) for file in sorted(out.glob("*.png"))])


def of_python(shot: Path, **more) -> np.ndarray:
    frames = load_pipeline("mini", "cpu")(
        sketches=shot / "shot", flat=True, generator=torch.Generator().manual_seed(0), **STEP, **more
    ).frames[0]
    return (frames * 255).round().astype(np.uint8)


def test_a_reference(shot, tmp_path):
    assert np.array_equal(of_python(shot, reference=shot / "key.png"), of_command(shot, tmp_path / "out"))


def test_a_reference_with_its_drawing(shot, tmp_path):
    own = of_python(shot, reference=shot / "key.png", reference_sketch=shot / "lines.png")
    assert np.array_equal(own, of_command(shot, tmp_path / "out", reference_sketch=shot / "lines.png"))


def test_a_frame_of_the_clip_keys_and_a_sheet(shot, tmp_path):
    own = of_python(
        shot, reference=shot / "key.png", reference_frame=0, keys={2: shot / "late.png"}, sheets=[shot / "late.png"]
    )
    command = of_command(
        shot, tmp_path / "out", settings={"reference_frame": 0}, keys={2: shot / "late.png"},
        sheets=[shot / "late.png"],
    )  # fmt: skip
    assert np.array_equal(own, command)
    assert np.array_equal(own[0], colored(0)) and np.array_equal(own[2], colored(6))


def test_a_palette(shot, tmp_path):
    own = of_python(shot, keys={0: shot / "key.png"}, palette=shot / "key.gpl", gap=2)
    command = of_command(
        shot, tmp_path / "out", None, keys={0: shot / "key.png"}, palette=shot / "key.gpl", settings={"gap": 2}
    )
    assert np.array_equal(own, command)


def test_another_size_is_painted_at_and_the_sketches_size_comes_out(shot, tmp_path):
    own = of_python(shot, reference=shot / "key.png", height=16, width=24)
    assert own.shape == (3, 32, 48, 3)
    assert np.array_equal(own, of_command(shot, tmp_path / "out", settings={"size": (16, 24)}))


@pytest.mark.parametrize("words", [{"palette": "key.gpl"}, {"gap": 3}, {"flat": True, "output_type": "latent"}])
def test_what_does_not_go_together_is_refused(shot, words):
    with pytest.raises(InputError):
        load_pipeline("mini", "cpu")(shot / "key.png", shot / "shot", num_inference_steps=1, **words)
