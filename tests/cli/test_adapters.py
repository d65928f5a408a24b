"""`lvcd colorize --adapter` and `lvcd export --adapter`: what is typed, painted, resumed and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lvcd.cli import main
from lvcd.cli.colorize import weighted_adapters
from lvcd.data.cartoons import draw
from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.training import FineTuneModule, networks_from_folder
from tests.helpers.toys import write_run

A, B = Path("a"), Path("b")


@pytest.mark.parametrize(
    ("words", "adapters"),
    [
        ([], []),
        ([A], [(A, 1.0)]),
        ([A, 0.8], [(A, 0.8)]),
        ([0.8, A], [(A, 0.8)]),
        ([A, 0.5, B], [(A, 0.5), (B, 1.0)]),
        ([A, B, 0.5], [(A, 1.0), (B, 0.5)]),
    ],
)
def test_a_weight_is_of_the_adapter_before_it(words, adapters):
    assert weighted_adapters(words) == adapters


@pytest.mark.parametrize("words", [[0.5], [A, 0.5, 0.6], [0.5, A, B]])
def test_a_weight_of_no_adapter_is_refused(words):
    with pytest.raises(InputError, match="of no adapter"):
        weighted_adapters(words)


@pytest.fixture(scope="module")
def shot(tmp_path_factory, model_folder) -> Path:
    """Three drawings, the first in color, and two adapters of the model."""
    folder = tmp_path_factory.mktemp("shot")
    drawn = draw(3, 3, 32, 48)
    (folder / "sketches").mkdir()
    for i, lines in enumerate(drawn.lines):
        write_png(folder / "sketches" / f"{i}.png", np.repeat((255 - lines)[..., None], 3, -1))
    write_png(folder / "key.png", drawn.frames[0])
    for seed in (0, 1):
        module = FineTuneModule(networks_from_folder(model_folder), "lora", lora={"rank": 2})
        torch.manual_seed(seed)
        for name, p in module.named_parameters():
            if ".lora_B." in name:
                torch.nn.init.normal_(p, std=0.2)
        module.export_adapter(folder / f"adapter{seed}")
    return folder


def colorize(shot: Path, model: Path, out: Path, *words: object) -> int:
    given = ["--sketches", shot / "sketches", "--reference", shot / "key.png", "--model", model, "--output", out]
    return main(["colorize", *map(str, given), "--steps", "1", "--overlap", "1", "--device", "cpu", *map(str, words)])


def frames(folder: Path) -> list[np.ndarray]:
    return [np.asarray(read_image(file)) for file in sorted(folder.glob("*.png"))]


def test_adapters_change_what_is_painted_by_their_weights(shot, model_folder, tmp_path, capsys):
    one, two = (["--adapter", shot / f"adapter{seed}"] for seed in (0, 1))
    runs = {
        "none": [],
        "zero": [*one, "--adapter-weight", 0],
        "one": one,
        "both": [*one, *two, "--adapter-weight", 0.5],
    }
    for name, words in runs.items():
        assert colorize(shot, model_folder, tmp_path / name, *words) == 0
    painted = {name: frames(tmp_path / name) for name in runs}
    assert all(np.array_equal(x, y) for x, y in zip(painted["none"], painted["zero"], strict=True))
    assert not np.array_equal(painted["none"][1], painted["one"][1])
    assert not np.array_equal(painted["both"][1], painted["one"][1])
    capsys.readouterr()
    assert colorize(shot, model_folder, tmp_path / "one", *one, "--resume") == 0  # finished, of the same job
    assert "finished already" in capsys.readouterr().out
    for words in (two, [], [*one, "--adapter-weight", 0.5]):
        assert colorize(shot, model_folder, tmp_path / "one", *words, "--resume") == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_what_is_no_adapter_of_the_model_is_one_line(shot, model_folder, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    torch.save({}, tmp_path / "adapter.ckpt")
    for words in (
        ["--adapter", tmp_path / "none"],
        ["--adapter", tmp_path / "empty"],
        ["--adapter", tmp_path / "adapter.ckpt"],
        ["--adapter", shot / "adapter0", "--adapter-weight", "nan"],
        ["--adapter-weight", "0.5"],
        ["--adapter", shot / "adapter0", "--model", "mini"],
    ):
        assert colorize(shot, model_folder, tmp_path / "out", *words) == 2
        (line,) = [x for x in capsys.readouterr().err.strip().splitlines() if x.startswith("lvcd ")]
        assert not (tmp_path / "out").exists()


def test_a_run_with_whole_weights_has_no_adapter(tmp_path, model_folder, capsys):
    write_run(tmp_path / "run", model_folder)
    assert main(["export", str(tmp_path / "run"), "--adapter", "--out", str(tmp_path / "out")]) == 2
    assert "more than adapters" in capsys.readouterr().err and not (tmp_path / "out").exists()
