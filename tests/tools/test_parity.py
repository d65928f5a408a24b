"""The recording of the original implementation that is kept in tests/data/golden, and how faults in one are told."""

from __future__ import annotations

import json
import shutil

import pytest
from safetensors.torch import load_file, save_file

from tools import parity as compare

KEPT = ("attention", "train_forward", "vae", "sample_switch", "sample_distinct")


def test_what_is_kept_is_compared(golden):
    recording = compare.Recording(golden)
    assert {name for name in compare.COMPARISONS if recording.has(name)} == set(KEPT)


@pytest.mark.parametrize("name", KEPT)
def test_the_original_is_met(golden, name):
    lines = list(compare.COMPARISONS[name](compare.Recording(golden)))
    assert lines
    misses = [line for line in lines if not line[1] <= line[2]]
    assert not misses, "\n".join(f"{tensor}: off by {d:.1e}, tolerance {t:.1e}" for tensor, d, t in misses)


@pytest.fixture
def short(golden, tmp_path):
    """A recording of two files only, to change at will."""

    def make(*names: str):
        folder = tmp_path / "recording"
        folder.mkdir()
        manifest = json.loads((golden / "manifest.json").read_text())
        manifest["files"] = {f"{n}.safetensors": manifest["files"][f"{n}.safetensors"] for n in names}
        (folder / "manifest.json").write_text(json.dumps(manifest))
        for name in names:
            shutil.copy(golden / f"{name}.safetensors", folder)
        return folder

    return make


def corrupt(folder, file, name, value):
    tensors = load_file(folder / f"{file}.safetensors")
    tensors[name].view(-1)[-1] = value
    save_file(tensors, folder / f"{file}.safetensors")


@pytest.mark.parametrize(
    ("file", "tensor", "value"),
    [("attention", "temp.y_15", 100.0), ("attention", "conv.y_19", float("nan")), ("vae", "moments", 100.0)],
)
def test_one_wrong_number_is_a_miss(short, capsys, file, tensor, value):
    folder = short(file)
    assert compare.main([str(folder)]) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    assert lines and all(line.endswith(" ok") for line in lines) and total == f"{len(lines)} ok, 0 MISS"
    corrupt(folder, file, tensor, value)
    assert compare.main([str(folder)]) == 1
    *lines, total = capsys.readouterr().out.splitlines()
    (miss,) = [line for line in lines if line.endswith(" MISS")]
    assert tensor in miss and total == f"{len(lines) - 1} ok, 1 MISS"


def test_nothing_to_compare_is_no_success(short):
    assert compare.main([str(short())]) == 1


@pytest.mark.parametrize("what", ["missing", "empty", "not json", "other json"])
def test_a_folder_that_is_no_recording(tmp_path, capsys, what):
    folder = tmp_path / "folder"
    if what != "missing":
        folder.mkdir()
    if what == "not json":
        (folder / "manifest.json").write_text("{")
    if what == "other json":
        (folder / "manifest.json").write_text("{}")
    assert compare.main([str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err
