"""A model folder is data: it brings no code, and whatever its JSON files say ends in one line or in a model."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lvcd.cli import main
from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training import networks_from_folder
from tests.helpers.svd import save_svd

MARK = "import os\nos.environ['LVCD_TEST_WAS_RUN'] = '1'\nclass ColorUNet: ...\n"


@pytest.fixture
def folder(model_folder, tmp_path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "model", copy_function=os.symlink))


def set_json(file: Path, content: object) -> None:
    file.unlink()  # a link
    file.write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.mark.parametrize("name", ["None.py", "unet/x.py", "pipeline.py", "vae/__init__.py"])
def test_a_stray_file_of_code_is_refused(folder, name, monkeypatch):
    monkeypatch.delenv("LVCD_TEST_WAS_RUN", raising=False)
    (folder / name).write_text(MARK)
    for load in (load_pipeline, networks_from_folder):
        with pytest.raises(InputError, match=r"holds code"):
            load(folder)
    assert "LVCD_TEST_WAS_RUN" not in os.environ


@pytest.mark.parametrize(
    "change",
    [
        {"unet": ["x", "ColorUNet"]},
        {"unet": ["lvcd.nn.unet", "Malice"]},
        {"vae": ["os", "system"]},
        {"unet": ["unet", "ColorUNet"]},
        {"controlnet": ["diffusers", "ControlNetModel"]},
        {"controlnet": None},
        {"_class_name": "StableDiffusionPipeline"},
        {"_class_name": ["pipeline", "Malice"]},
        {"safety_checker": ["x", "Checker"]},
        {"window": 10**9},
        {"steps": 0},
        {"steps": "25"},
        {"sigma_max": float("nan")},
        {"sigma_min": 900.0},
        {"solver": "os.system"},
        {"isolation": "yes"},
    ],
    ids=str,
)
def test_an_index_that_names_something_else_is_refused(folder, change, capsys):
    (folder / "x.txt").write_text(MARK)
    index = json.loads((folder / "model_index.json").read_text())
    set_json(folder / "model_index.json", index | change)
    with pytest.raises(InputError) as error:
        load_pipeline(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)
    assert "x" not in sys.modules


def test_code_in_svd_is_refused(tmp_path, monkeypatch):
    path = save_svd("whole", tmp_path / "svd")
    networks_from_folder(path)
    index = json.loads((path / "model_index.json").read_text())
    (path / "model_index.json").write_text(json.dumps(index | {"unet": ["x", "UNet"]}))
    with pytest.raises(InputError, match="unet is"):
        networks_from_folder(path)


def test_a_kernel_of_the_hub_is_not_fetched(folder):
    """transformers downloads and runs a kernel that config.json names as its implementation of attention."""
    file = folder / "image_encoder" / "config.json"
    config = json.loads(file.read_text())
    bad = {
        "_attn_implementation": "some/kernel",
        "attn_implementation": "some/kernel",
        "auto_map": {"AutoModel": "x.Y"},
    }
    set_json(file, config | bad | {"quantization_config": {"quant_method": "bitsandbytes"}, "output_attentions": True})
    assert load_pipeline(folder, "cpu").image_encoder.config._attn_implementation == "sdpa"


@pytest.mark.parametrize(
    "name", ["model_index.json", "unet/config.json", "vae/config.json", "image_encoder/config.json"]
)
def test_deep_json_is_one_line(folder, name):
    set_json(folder / name, '{"a":' * 5000 + "1" + "}" * 5000)
    with pytest.raises(InputError, match="not JSON"):
        load_pipeline(folder)


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "image_size"])
def test_a_size_that_no_network_has_ends_at_once(folder, key):
    file = folder / "image_encoder" / "config.json"
    set_json(file, json.loads(file.read_text()) | {key: 2**63})
    with pytest.raises(InputError, match=key):
        load_pipeline(folder, "cpu")


def test_long_names_are_one_line(tmp_path, capsys):
    for name in ("x" * 5000, "a\0b", f"{'y' * 300}/z"):
        with pytest.raises(InputError):
            load_pipeline(name)
    assert main(["convert", "--svd", "x" * 5000, "--out", str(tmp_path / "out")]) == 2
    assert main(["convert", "--svd", str(tmp_path), "--out", str(tmp_path / ("y" * 300))]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


JUNK = (
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 1, 3, 7, 2**31, 2**63, 10**30, 1e308, float("inf"), float("nan"), 0.5, -0.0]),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=20),
    st.lists(st.one_of(st.integers(-5, 2**40), st.text(max_size=3), st.none()), max_size=5),
    st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
    st.just([1] * 100_000),
)
"""Kinds of values that such a file may have. benchmarks.faults tries many more of each."""
FILES = ("model_index.json", *(f"{name}/config.json" for name in ("unet", "controlnet", "vae", "image_encoder")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [None, *range(len(JUNK))])
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(file=st.sampled_from(FILES), which=st.integers(0, 1000), data=st.data())
def test_wrong_values_are_one_line(folder, kind, file, which, data):
    original = (folder / file).read_text()
    content = json.loads(original)
    key = sorted(content)[which % len(content)]
    if kind is None:
        del content[key]
    else:
        content[key] = data.draw(JUNK[kind])
    set_json(folder / file, content)
    try:
        for load in (lambda: load_pipeline(folder, "cpu"), lambda: networks_from_folder(folder, weights=False)):
            try:
                load()
            except InputError as error:
                assert "\n" not in str(error) and len(str(error)) < 1200
    finally:
        set_json(folder / file, original)
