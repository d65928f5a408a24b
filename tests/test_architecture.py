"""Imports point downward, foreign libraries stay in their rooms, and no window is written into the code."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LVCD = ROOT / "src" / "lvcd"

BOTTOM = {"errors", "frames"}
MIDDLE = {"nn", "data", "video"}
MAY_SEE = {
    "errors": set(),
    "frames": set(),
    "diffusion": {"frames"},
    "nn": {"diffusion"} | BOTTOM,
    "xdog": {"errors"},
    "data": {"diffusion", "xdog"} | BOTTOM,
    "video": {"diffusion"} | BOTTOM,
    "flats": set(),
    "metrics": {"errors", "flats", "xdog"},
    "sheets": set(),
    "weights": set(),
    "memory": set(),
    "pages": set(),
    "leaderboard": {"loggers", "metrics", "pages", "sheets", "video", "errors"},
    "plan": {"training", "nn", "data", "diffusion"} | BOTTOM,
    "loggers": {"errors"},
    "images": {"data", "video", "errors"},
    "prepare": {"data", "video", "errors"},
    "pipeline": {"diffusion", "images"} | MIDDLE | BOTTOM,
    "training": {"pipeline", "nn", "data", "diffusion", "metrics"} | BOTTOM,
    "methods": {"pipeline", "diffusion", "flats"} | MIDDLE | BOTTOM,
    "inspection": {"data", "pages", "video", "errors"},
    "callbacks": {"loggers", "sheets", "training", "pipeline", "images", "diffusion", "metrics"} | MIDDLE | BOTTOM,
}
"""Room -> the rooms below it that it may import. What is not listed is on top (cli, train.py, eval.py, methods ...):
it may import every room listed here, and nobody listed here may import it."""

THIRD_PARTY = {
    "hydra": {"train", "eval", "cli", "entry", "sweep", "prepare/__main__"},
    "omegaconf": {"train", "eval", "cli", "entry", "sweep", "prepare/__main__"},
    "lightning": {"loggers", "training", "data/position", "callbacks", "train"},
    "pytorch_lightning": set(),
    "diffusers": {"nn", "pipeline", "training"},
    "webdataset": {"data"},
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


def faults(module: str, code: str) -> list[str]:
    """Imports that a module must not have."""
    room = module.split("/")[0]
    found = []
    for name in sorted(imported(module, code)):
        library, *rest = name.split(".")
        if library == "lvcd" and rest and room in MAY_SEE:
            other = rest[0]
            is_room = other in MAY_SEE or other == "cli" or (LVCD / other).is_dir() or (LVCD / f"{other}.py").is_file()
            if is_room and other != room and other not in MAY_SEE[room]:
                found.append(f"{module} imports {name}")
        allowed = THIRD_PARTY.get(library)
        if allowed is not None and not {room, module} & allowed:
            found.append(f"{module} imports {name}")
    return found


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
        ("data/clip", "from ..video import files"),
        ("nn/unet", "from lvcd import data"),
        ("nn/unet", "import lvcd.video.segments"),
        ("video/files", "from lvcd.nn.attention import Shared"),
        ("video/files", "from ..data.lineart import xdog"),
        ("images", "from .nn.condition import Condition"),
        ("pipeline", "from .training import Training"),
        ("training", "from . import cli"),
        ("training", "import hydra"),
        ("pipeline", "from omegaconf import DictConfig"),
        ("pipeline", "import lightning"),
        ("data/batch", "import lightning.pytorch"),
        ("video/colorize", "from diffusers import DiffusionPipeline"),
        ("cli", "import diffusers"),
        ("training", "import webdataset as wds"),
    ],
)
def test_a_wrong_import_is_seen(module, line):
    assert len(faults(module, line)) == 1


def test_a_right_import_is_not():
    code = "import torch\nfrom lvcd.frames import FrameLayout\nfrom .attention import Shared\nimport diffusers"
    assert faults("nn/unet", code) == []


# --------------------------------------------------------------------------------------------------- no literal windows

WINDOWS = {14, 15, 19}
"""The window of SVD, with the reference, and with four frames of overlap: settings, nowhere numbers in the code."""
FREE = ("frames", "pipeline", "nn/", "video/", "diffusion/")


def literal_windows(code: str) -> list[int]:
    """Line numbers of literal windows, but for defaults of `window` and the configuration key num_frames."""
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
                v for k, v in zip(node.keys, node.values) if isinstance(k, ast.Constant) and k.value == "num_frames"
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
    assert literal_windows("d = {'num_frames': 14, 'window': 140}") == []
