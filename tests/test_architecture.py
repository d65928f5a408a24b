"""Imports point downward, foreign libraries stay in their rooms, and no window is written into the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

LVCD = ROOT / "src" / "lvcd"

FLOORS = (
    ("errors", "frames", "pixel_values", "spacing", "weights"),
    ("diffusion", "flats", "io", "lineart", "loggers", "nn", "report", "system"),
    ("checkpoints", "metrics", "palettes", "sampling", "shards"),
    ("data", "inspection", "leaderboard", "pipeline", "review"),
    ("prepare", "training"),
    ("app", "evaluation"),
    ("cli",),
)
"""Every room of the package, from the ground up. A room imports only from floors below its own."""

NEVER = {
    "data": {"nn", "checkpoints"},
    "metrics": {"nn", "checkpoints", "sampling"},
    "sampling": {"nn"},
    "shards": {"nn", "checkpoints"},
    "inspection": {"nn", "checkpoints"},
    "leaderboard": {"nn", "checkpoints", "pipeline", "data"},
}
"""Walls within the house: a room may not import these, although they are on a floor below."""

THIRD_PARTY = {
    "hydra": {"train", "eval", "cli"},
    "omegaconf": {"train", "eval", "cli"},
    "lightning": {"loggers", "training", "data/datamodule", "data/resumable", "train", "cli"},
    "pytorch_lightning": set(),
    "diffusers": {"nn", "checkpoints", "pipeline"},
    "peft": {"nn", "checkpoints"},
    "webdataset": {"data", "shards"},
    "gradio": {"app"},
    "fastapi": {"app"},
    "starlette": {"app"},
    "uvicorn": {"app"},
}
"""Library -> the rooms or modules that may import it."""


def modules() -> dict[str, Path]:
    """Module, like nn/unet, -> its file. The scripts at the root count as modules too."""
    found = {p.relative_to(LVCD).with_suffix("").as_posix(): p for p in LVCD.rglob("*.py")}
    found |= {name: ROOT / f"{name}.py" for name in ("train", "eval") if (ROOT / f"{name}.py").exists()}
    return found


def imported(module: str, code: str) -> set[str]:
    """Full names of all that a module imports, wherever the statement stands."""
    package = ["lvcd", *module.split("/")[:-1]]
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, *([node.module] if node.module else [])])
            names |= {f"{start}.{alias.name}" for alias in node.names}
    return names


def rooms() -> set[str]:
    """Every folder with Python files and every module at the top of the package."""
    return {p.name.removesuffix(".py") for p in LVCD.iterdir() if p.suffix == ".py" or any(p.glob("*.py"))} - {
        "__init__"
    }


def faults(module: str, code: str) -> list[str]:
    """Imports that a module must not have."""
    room = module.split("/")[0]
    floor = {name: number for number, names in enumerate(FLOORS) for name in names}
    found = []
    for name in sorted(imported(module, code)):
        library, *rest = name.split(".")
        if library == "lvcd" and rest and room in floor and rest[0] in floor and rest[0] != room:
            other = rest[0]
            if floor[other] >= floor[room] or other in NEVER.get(room, ()):
                found.append(f"{module} imports {name}")
        allowed = THIRD_PARTY.get(library)
        if allowed is not None and not {room, module} & allowed:
            found.append(f"{module} imports {name}")
    return found


def test_every_room_is_listed_once():
    listed = [name for names in FLOORS for name in names]
    assert len(listed) == len(set(listed)) and set(listed) == rooms()


@pytest.mark.parametrize("module", sorted(modules()))
def test_imports(module):
    assert faults(module, modules()[module].read_text()) == []


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("frames", "from .diffusion import noise"),
        ("frames", "import lvcd.errors"),
        ("diffusion/noise", "from lvcd.nn.unet import ColorUNet"),
        ("diffusion/noise", "def f():\n    from ..nn import unet"),
        ("data/clip", "from lvcd.nn import unet"),
        ("data/clip", "from ..pipeline import inputs"),
        ("shards/folder", "from lvcd.prepare.film_cache import FilmCache"),
        ("nn/unet", "from lvcd import data"),
        ("nn/unet", "import lvcd.sampling.segments"),
        ("io/reader", "from lvcd.nn.attention import LayoutContext"),
        ("io/reader", "from ..lineart.xdog import xdog"),
        ("lineart/sketch", "from ..nn.condition import Condition"),
        ("pipeline/render", "from ..training import Training"),
        ("training/color", "from .. import cli"),
        ("training", "import hydra"),
        ("pipeline", "from omegaconf import DictConfig"),
        ("pipeline", "import lightning"),
        ("data/batch", "import lightning.pytorch"),
        ("sampling/sequential", "from diffusers import DiffusionPipeline"),
        ("cli", "import diffusers"),
        ("training", "import webdataset as wds"),
    ],
)
def test_a_wrong_import_is_seen(module, line):
    assert len(faults(module, line)) == 1


def test_a_right_import_is_not():
    code = "import torch\nfrom lvcd.frames import FrameLayout\nfrom .attention import LayoutContext\nimport diffusers"
    assert faults("nn/unet", code) == []


# --------------------------------------------------------------------------------------------------- no literal windows

WINDOWS = {14, 15, 19}
"""The window of SVD, with the reference, and with four frames of overlap: settings, nowhere numbers in the code."""
FREE = ("frames", "pipeline", "nn/", "sampling/", "diffusion/")


def literal_windows(code: str) -> list[int]:
    """Line numbers of literal windows, but for defaults of `window` and the keys num_frames and window."""
    tree = ast.parse(code)
    fine: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == "window":
            fine.add(node.value)
        elif isinstance(node, ast.arguments):
            plain = [*node.posonlyargs, *node.args]
            defaults = [*zip(plain[len(plain) - len(node.defaults) :], node.defaults)]
            defaults += zip(node.kwonlyargs, node.kw_defaults)
            fine |= {value for arg, value in defaults if arg.arg == "window"}
        elif isinstance(node, ast.Dict):
            fine |= {
                v
                for k, v in zip(node.keys, node.values)
                if isinstance(k, ast.Constant) and k.value in ("num_frames", "window")
            }
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and type(node.value) is int and node.value in WINDOWS and node not in fine
    ]


@pytest.mark.parametrize("module", [m for m in sorted(modules()) if m.startswith(FREE)])
def test_no_literal_window(module):
    assert literal_windows(modules()[module].read_text()) == []


def test_a_literal_window_is_seen():
    assert literal_windows("def f(x):\n    return x[14:] if len(x) > 15 else range(19)") == [2, 2, 2]
    assert literal_windows("def f(size=14): ...") == [1]
    assert literal_windows("def f(a, window=14, *, b=1): ...\nclass A:\n    window: int = 14") == []
    assert literal_windows("d = {'num_frames': 14, 'window': 14, 'size': 140}") == []
