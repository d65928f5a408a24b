"""The ComfyUI nodes, in a host that keeps ComfyUI's published contract (tests/helpers/comfy.py)."""

from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
import torch

from lvcd.errors import InputError
from lvcd.io.images import read_image, write_png
from lvcd.pipeline.render import render_clip
from lvcd.pipeline.render_settings import RenderSettings
from lvcd.review import KINDS
from tests.helpers.comfy import WIDGETS, ComfyHost, WorkflowInterruptedError
from tests.helpers.paths import ROOT

WORKFLOWS = sorted((ROOT / "comfyui" / "example_workflows").glob("*.json"))
READ = {"lines": "auto", "paper": "auto", "traces": True}
SAMPLE = {"steps": 1, "overlap": 0, "seed": 3, "width": 0, "height": 0, "steady": False}
CPU = {"model": "mini (bundled)", "device": "cpu", "dtype": "auto", "offload": "none", "storage": "as computed"}


def drawing(place: int) -> np.ndarray:
    """A square in black lines on white paper."""
    picture = np.full((32, 48, 3), 255, np.uint8)
    picture[8:24, 8 + place : 28 + place] = 0
    picture[10:22, 10 + place : 26 + place] = 255
    return picture


def colored(place: int) -> np.ndarray:
    """The same square in color."""
    picture = drawing(place)
    picture[10:22, 10 + place : 26 + place] = 200, 60, 40
    return picture


@pytest.fixture
def host(tmp_path, monkeypatch):
    host = ComfyHost(tmp_path, monkeypatch)
    (host.input / "shot").mkdir()
    for number in range(3):
        write_png(host.input / "shot" / f"A{number:04d}.png", drawing(4 * number))
    write_png(host.input / "key.png", colored(0))
    return host


def painting(**more) -> dict:
    """A workflow that paints the shot from its first drawing in color."""
    return {
        "1": {"class_type": "LVCDLoadModel", "inputs": CPU},
        "2": {"class_type": "LVCDLoadDrawings", "inputs": {"folder": "shot", **READ}},
        "3": {"class_type": "LoadImage", "inputs": {"image": "key.png"}},
        "4": {"class_type": "LVCDKey", "inputs": {"image": ["3", 0], "number": 0}},
        "5": {
            "class_type": "LVCDColorize",
            "inputs": {"model": ["1", 0], "drawings": ["2", 0], "keys": ["4", 0], **SAMPLE, **more},
        },
        "6": {"class_type": "PreviewImage", "inputs": {"images": ["5", 0]}},
    }


def test_every_node_keeps_the_contract(host):
    for name, node in host.nodes.items():
        declared = node.INPUT_TYPES()
        assert set(declared) <= {"required", "optional", "hidden"} and "required" in declared, name
        assert callable(getattr(node(), node.FUNCTION)) and node.CATEGORY and isinstance(node.RETURN_TYPES, tuple)
        assert len(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)) == len(node.RETURN_TYPES)
        for part in declared.values():
            for field, (kind, *options) in part.items():
                assert isinstance(kind, list) or kind.isupper(), f"{name}.{field}"
                assert all(isinstance(option, dict) for option in options)
                if kind in WIDGETS and kind not in ("BOOLEAN", "STRING"):
                    default = options[0]["default"]
                    assert options[0].get("min", default) <= default <= options[0].get("max", default)
    json.dumps({name: node.INPUT_TYPES() for name, node in host.nodes.items()})  # the page gets them as JSON


def test_the_folder_can_be_installed_as_a_custom_node():
    project = tomllib.loads((ROOT / "comfyui" / "pyproject.toml").read_text())
    assert project["project"]["name"] == "lvcd" and project["project"]["dependencies"] == ["lvcd"]
    assert project["tool"]["comfy"]["DisplayName"]


def test_frames_are_those_of_the_command(host, tmp_path):
    images, mask, _, notes = host.run(painting())["5"]
    assert images.shape == (3, 32, 48, 3) and images.dtype == torch.float32
    assert mask.shape == (3, 32, 48) and mask.max() == 0 and isinstance(notes, str)
    settings = RenderSettings(steps=1, overlap=0, seed=3)
    shot, key = host.input / "shot", host.input / "key.png"
    render_clip(shot, None, tmp_path / "command", settings=settings, device="cpu", keys={0: key})
    frames = [read_image(file) for file in sorted((tmp_path / "command").glob("*.png"))]
    assert np.array_equal((images.numpy() * 255).round().astype(np.uint8), frames)
    assert np.array_equal(frames[0], colored(0)) and host.freed == 1
    done, total = zip(*host.bar)
    assert list(done) == sorted(done) and done[-1] == total[-1] and len(set(total)) == 1


def test_a_batch_of_images_is_a_shot(host):
    workflow = painting()
    clear = np.dstack([np.zeros((32, 48, 3), np.uint8), 255 - drawing(0)[..., 0]])
    write_png(host.input / "clear.png", clear)
    workflow["7"] = {"class_type": "LoadImage", "inputs": {"image": "clear.png"}}
    workflow["2"] = {"class_type": "LVCDReadDrawings", "inputs": {"images": ["7", 0], "mask": ["7", 1], **READ}}
    workflow["4"]["inputs"]["number"] = 1
    done = host.run(workflow)
    drawings, lines, traces, _ = done["2"]
    assert torch.equal(lines, torch.from_numpy(drawing(0)[None] / np.float32(255))) and traces.min() == 1
    assert done["5"][0].shape == (1, 32, 48, 3)


def test_flats_palette_review_recolor_and_saving(host):
    (host.input / "night.gpl").write_text("GIMP Palette\nName: night\n#\n255 255 255 paper\n0 0 90 coat\n9 9 9 ink\n")
    workflow = painting(flats=["8", 0])
    workflow |= {
        "7": {"class_type": "LVCDPalette", "inputs": {"file": "from the image", "image": ["3", 0]}},
        "8": {
            "class_type": "LVCDFlats",
            "inputs": {"gap": -1.0, "trace": "darker", "alpha": False, "aliased": True, "palette": ["7", 0]},
        },
        "9": {"class_type": "LVCDReview", "inputs": {"frames": ["5", 2], "doubt": 0.9, "speck": 12}},
        "10": {"class_type": "LVCDPalette", "inputs": {"file": "night.gpl"}},
        "11": {"class_type": "LVCDRecolor", "inputs": {"frames": ["5", 2], "palette": ["10", 0]}},
        "12": {"class_type": "LVCDSaveFrames", "inputs": {"frames": ["11", 2], "name": "night"}},
        "13": {"class_type": "PreviewImage", "inputs": {"images": ["9", 2]}},
    }
    done = host.run(workflow)
    palette = done["7"][0]
    names = {tuple(color) for color in palette.colors.tolist()}
    assert (200, 60, 40) in names and done["7"][1].shape == (1, 48, 48 * len(names), 3)
    flat = (done["5"][0].numpy() * 255).round().astype(np.uint8)
    assert {tuple(color) for color in flat.reshape(-1, 3).tolist()} <= names
    report, findings, marked = done["9"]
    assert all(kind in report for kind in KINDS) and findings >= 0 and marked.shape == (3, 32, 48, 3)
    night = (done["11"][0].numpy() * 255).round().astype(np.uint8)
    new = {tuple(c): n for c, n in zip(palette.colors.tolist(), done["10"][0].colors.tolist())}
    assert [new[tuple(c)] for c in flat.reshape(-1, 3).tolist()] == night.reshape(-1, 3).tolist()
    assert sorted(file.name for file in (host.output / "night_00001").glob("*.png")) == [
        "A0000.png", "A0001.png", "A0002.png",
    ]  # fmt: skip
    host.run(workflow)
    assert (host.output / "night_00002").is_dir()


def test_clear_paper_is_a_mask(host):
    workflow = painting(flats=["8", 0])
    workflow["8"] = {
        "class_type": "LVCDFlats",
        "inputs": {"gap": 0.0, "trace": "darker", "alpha": True, "aliased": True},
    }
    mask = host.run(workflow)["5"][1]
    assert mask[0, 0, 0] == 1 and mask[0, 16, 18] == 0


def test_an_adapter_is_added_to_the_model(host):
    (host.models / "loras" / "show").mkdir(parents=True)
    workflow = painting(model=["8", 0])
    workflow["8"] = {"class_type": "LVCDLoadAdapter", "inputs": {"model": ["1", 0], "adapter": "show", "weight": 0.5}}
    with pytest.raises(InputError, match="show"):  # it reaches the loader, which says that the folder holds none
        host.run(workflow)


def test_interrupting_ends_the_workflow(host):
    host.interrupt = lambda: bool(host.bar)
    with pytest.raises(WorkflowInterruptedError):
        host.run(painting())


@pytest.mark.parametrize(
    ("node", "change", "error"),
    [
        ("4", {"number": 7}, InputError),  # no drawing has the number
        ("3", {"image": "none.png"}, ValueError),
        ("2", {"folder": "../.."}, ValueError),
        ("1", {"model": "/etc"}, ValueError),
        ("5", {"width": 64}, InputError),
        ("5", {"overlap": 40}, InputError),
        ("5", {"steps": -1}, ValueError),
    ],
)
def test_bad_input_is_told_in_one_line(host, node, change, error):
    workflow = painting()
    workflow[node]["inputs"] = {**workflow[node]["inputs"], **change}
    with pytest.raises(error) as raised:
        host.run(workflow)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["../shot", "a/b", "", ".hidden", "x" * 200])
def test_frames_are_saved_inside_the_output_folder(host, name):
    with pytest.raises(InputError):
        host.nodes["LVCDSaveFrames"]().save(host.temp, name)
    assert not list(host.output.iterdir())


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_an_example_runs_as_the_page_saves_it(host, workflow):
    prompt = host.prompt_of(json.loads(workflow.read_text()))
    for node in prompt.values():
        if node["class_type"] == "LVCDColorize":
            node["inputs"] |= SAMPLE
    done = host.run(prompt)
    assert (host.output / "shot_00001" / "A0002.png").is_file() and len(done) == len(prompt)


def test_the_folder_imports_without_the_host():
    code = (ROOT / "comfyui" / "nodes.py").read_text()
    assert "\nimport folder_paths" not in code and "\nfrom comfy" not in code  # so that tools can read the nodes
