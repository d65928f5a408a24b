"""A metric, a method and a protocol of one's own come by configuration, from files outside the package."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest
from hydra.utils import instantiate

from lvcd.cli.hydra_entry import compose_config
from lvcd.evaluation import TestSet, evaluate
from lvcd.metrics import Suite
from lvcd.training.callbacks import Scores
from tests.helpers.paths import TEST_STYLE

MODULE = '''
"""Own parts, in fewer than 30 lines each."""

from lvcd.evaluation import Protocol
from lvcd.metrics import ClipMean


class MeanColorError(ClipMean):
    """Mean absolute error of the frames' mean colors."""

    higher_is_better = False

    def update(self, preds, target):
        error = (preds.mean((3, 4)) - target.mean((3, 4))).abs().mean((1, 2))
        self.add(error, preds.shape[1])


class Grey:
    """Paints every frame grey."""

    def __init__(self, level=0.5):
        self.name, self.settings, self.level = "grey", {"kind": "grey", "level": level}, level

    def paint(self, reference, reference_sketch, sketches, seed):
        return reference.new_full((len(sketches), *reference.shape), self.level)


def short_clips(name, shards, frames=2):
    return Protocol(name, shards, frames=frames, clips=2, leaks=0)
'''


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A folder with own_parts.py, method/grey.yaml and protocol/short.yaml."""
    (tmp_path / "own_parts.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    files = {
        "method/grey.yaml": "_target_: own_parts.Grey\nlevel: 0.25",
        "protocol/short.yaml": f"_target_: own_parts.short_clips\nname: short\nshards: {TEST_STYLE}",
        "metrics/own.yaml": "defaults: [paper]\nmine: {_target_: own_parts.MeanColorError}\npaper: null",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text) + "\n")
    return tmp_path


def suite_of(config) -> Suite:
    return Suite(instantiate(config.metrics, _convert_="all").values())


@pytest.mark.parametrize("words", [["metrics=own"], ["+metrics.mine._target_=own_parts.MeanColorError"]])
def test_a_metric_adds_a_column(words, own):
    suite = suite_of(compose_config("eval", ["--config-dir", str(own), *words]))
    assert "MeanColorError" in suite.metrics
    assert ("PSNR" in suite.metrics) == (words != ["metrics=own"])


def test_a_method_and_a_protocol_make_a_row(own):
    words = ["--config-dir", str(own), "method=grey", "protocol=short", "metrics=own"]
    config = compose_config("eval", words)
    tests = TestSet(instantiate(config.protocol))
    row = evaluate(instantiate(config.method), tests, suite_of(config), own / "out")
    assert (row.name, row.n, row.protocol["name"], row.protocol["frames"]) == ("grey", 2, "short", 2)
    colors = [(clip.original.mean((2, 3)) - round(0.25 * 255) / 255).abs().mean().item() for clip in tests]
    assert row.metrics["MeanColorError"]["value"] == pytest.approx(sum(colors) / 2, rel=1e-4)


def test_the_same_metric_scores_in_training(own):
    """Beside the paper's: the callback has them all in one suite."""
    config = compose_config(
        "train", ["callbacks=paint", "+callbacks.scores.metrics.mine._target_=own_parts.MeanColorError"]
    )
    callback = instantiate(config.callbacks.scores)
    assert isinstance(callback, Scores)
    [metric] = callback.metrics.values()
    assert Suite([metric]).metrics.keys() == {"MeanColorError"}
