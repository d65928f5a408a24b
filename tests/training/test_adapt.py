"""Learning a shot from its keys: what it makes clips of, what it keeps, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lvcd.checkpoints.adapters import read_adapter
from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.io.images import write_png
from lvcd.pipeline import load_pipeline
from lvcd.training.adapt import AdaptSettings, Key, adapt, moving_clip, read_keys


@pytest.fixture(scope="module")
def shot(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("shot")
    drawn = draw(3, 4, 32, 48)
    (folder / "drawings").mkdir()
    for i, lines in enumerate(drawn.lines):
        write_png(folder / "drawings" / f"{i + 1:03}.png", np.repeat((255 - lines)[..., None], 3, -1))
        write_png(folder / f"{i + 1}.png", drawn.frames[i])
    return folder


def keys(shot: Path, *numbers: int) -> dict[int, Path]:
    return {number: shot / f"{number}.png" for number in numbers}


def test_keys_are_read_at_a_size_that_networks_take(shot):
    (one, two) = read_keys(shot / "drawings", keys(shot, 1, 3), None, 32)
    assert one.frame.shape == (3, 32, 64) and two.sketch.shape == (1, 32, 64)
    assert one.frame.min() >= -1 and one.frame.max() <= 1 and one.sketch.min() >= 0 and one.sketch.max() <= 1


def test_a_clip_moves_lines_and_colors_alike():
    """Where the sketch has its one square, the frame has its one color."""
    sketch = torch.zeros(1, 64, 96)
    sketch[:, 20:40, 30:60] = 1
    key = Key(torch.cat([2 * sketch - 1, sketch - 1, -torch.ones(1, 64, 96)]), sketch)
    frames, sketches = moving_clip(key, key, 5, np.random.default_rng(0))
    assert frames.shape == (6, 3, 64, 96) and sketches.shape == (6, 1, 64, 96)
    inside = sketches[:, 0] > 0.99
    assert (frames[:, 0][inside] > 0.95).all() and inside.flatten(1).any(1).all()
    assert (sketches[1] - sketches[5]).abs().max() > 0.5  # it moves
    again, _ = moving_clip(key, key, 5, np.random.default_rng(0))
    assert torch.equal(frames, again)


@pytest.mark.slow
def test_ctrl_c_keeps_the_best_so_far(shot, model_folder, tmp_path):
    seen = []

    def stop(progress) -> None:
        seen.append(progress)
        if len(seen) == 2:
            raise KeyboardInterrupt

    result = adapt(shot / "drawings", keys(shot, 1, 4), tmp_path / "out", model_folder, AdaptSettings(minutes=60.0),
                   "cpu", stop)  # fmt: skip
    assert result.interrupted and result.steps == result.best_step == 2 and result.first is None
    assert seen[0].seconds_left > seen[1].seconds_left > 0
    adapter = read_adapter(tmp_path / "out")
    assert set(adapter.layers) == {"unet", "controlnet"}
    assert any(layer.up.abs().max() > 0 for layer in adapter.layers["unet"].values())
    load_pipeline(model_folder, "cpu", adapters=[(tmp_path / "out", 0.8)])


@pytest.mark.slow
@pytest.mark.parametrize("helps", [True, False])
def test_the_held_out_key_decides_what_is_kept(shot, model_folder, tmp_path, helps, monkeypatch, capsys):
    losses = iter([1.0, 0.5 if helps else 2.0])
    monkeypatch.setattr("lvcd.training.adapt._Learner._held_out_loss", lambda self: next(losses))
    words = [f"--key={n}={file}" for n, file in keys(shot, 1, 2, 4).items()]
    out = tmp_path / "out"
    code = main(["adapt", str(shot / "drawings"), *words, "--out", str(out), "--model", str(model_folder),
                 "--minutes", "1e-9", "--rank", "2", "--device", "cpu"])  # fmt: skip
    assert code == (0 if helps else 1) and out.exists() is helps
    assert ("-50.0%" if helps else "nothing is written") in capsys.readouterr().out


@pytest.mark.parametrize(
    "change",
    [
        {"keys": (1,)},
        {"keys": (1, 9)},
        {"minutes": "0"},
        {"lr": "2"},
        {"rank": "0"},
        {"model": "nowhere"},
    ],
)
def test_what_cannot_be_is_one_line(shot, model_folder, tmp_path, change, capsys):
    numbers = change.get("keys", (1, 4))
    words = [f"--key={n}={shot / '1.png' if n == 9 else shot / f'{n}.png'}" for n in numbers]
    more = [word for name, value in change.items() if name != "keys" for word in (f"--{name}", value)]
    given = ["adapt", str(shot / "drawings"), *words, "--out", str(tmp_path / "out"), "--model", str(model_folder)]
    assert main([*given, *more]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not (tmp_path / "out").exists()
