"""Features of originals that one evaluation has left serve the next one, to the last bit, and none of anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from lvcd.evaluation import evaluate, originals
from lvcd.metrics import FrechetDistance, Suite
from tests.helpers.evaluation import FunctionMethod, cartoons, repeat_reference

pytestmark = pytest.mark.filterwarnings("ignore:.*too few")


def colors(frames: torch.Tensor) -> torch.Tensor:
    """(n 3 H W) -> (n 12): as a network would, and sooner."""
    return torch.nn.functional.adaptive_avg_pool2d(frames, 2).flatten(1)


colors.sha256 = "1" * 64


def pale(reference, sketches):
    return (0.7 * reference + 0.3 * sketches).clamp(0, 1)


def scored(out: Path, paint=pale, size: int = 64, change=None, **protocol) -> tuple[list, int]:
    """What the row says of the metric, and how many clips' frames the network looked at."""
    metric = FrechetDistance(colors, size=size)
    if change:
        change(metric)
    looked, own = [], metric._features
    metric._features = lambda frames: looked.append(len(frames)) or own(frames)
    row = evaluate(FunctionMethod(paint), cartoons(**protocol), Suite([metric]), out)
    return [row.metrics, row.protocol], sum(looked)


def files(out: Path) -> list[Path]:
    return sorted((out / "originals").rglob("*.safetensors"))


def poison(out: Path) -> None:
    for file in files(out):
        save_file({"features": torch.zeros_like(load_file(file)["features"])}, file)


def test_the_next_method_reads_them_and_its_row_is_the_same(tmp_path):
    fresh, looks = scored(tmp_path / "fresh")
    assert looks == 8  # four clips, painted and original
    assert scored(tmp_path / "kept", repeat_reference)[1] == 8
    assert scored(tmp_path / "kept") == (fresh, 4)
    assert len(files(tmp_path / "kept")) == 4


def test_what_is_torn_is_found_again(tmp_path):
    fresh, _ = scored(tmp_path)
    whole = {file: file.read_bytes() for file in files(tmp_path)}
    first, second, *_ = whole
    first.write_bytes(whole[first][:-100])
    second.write_bytes(b"")
    assert scored(tmp_path) == (fresh, 6)
    assert {file: file.read_bytes() for file in files(tmp_path)} == whole


def another_network(metric: FrechetDistance) -> None:
    metric.extractor.sha256 = "0" * 64


CHANGES = {"clips": {"frames": 2}, "size": {"height": 64, "width": 64}, "metric": {"size": 48}}


@pytest.mark.parametrize("what", [*CHANGES, "network", "code", "threads"])
def test_whoever_sees_something_else_does_not_read_them(what, tmp_path, monkeypatch):
    scored(tmp_path)
    poison(tmp_path)
    assert scored(tmp_path)[0] != scored(tmp_path / "fresh")[0]  # they would be believed
    settings = CHANGES.get(what) or ({"change": another_network} if what == "network" else {})
    if what == "code":
        monkeypatch.setattr(originals, "code", lambda: "another")
    if what == "threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    assert scored(tmp_path, **settings) == scored(tmp_path / "other", **settings)


def test_a_set_of_other_pictures_does_not_read_them(tmp_path, monkeypatch):
    scored(tmp_path)
    poison(tmp_path)
    own = originals.TestSet.protocol_record
    monkeypatch.setattr(
        originals.TestSet, "protocol_record", lambda tests, metrics: own(tests, metrics) | {"data": "0" * 64}
    )
    assert scored(tmp_path)[1] == 8


def test_sketches_do_not_matter_to_them(tmp_path):
    scored(tmp_path, repeat_reference)
    assert scored(tmp_path, repeat_reference, binarized=True)[1] == 4


def test_a_network_without_a_hash_leaves_nothing(tmp_path):
    def nameless(metric: FrechetDistance) -> None:
        metric.extractor.sha256 = None

    scored(tmp_path, change=nameless)
    assert not files(tmp_path)
