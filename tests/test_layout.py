"""Where tests lie: a folder for each room, helpers in one package, and no test module that another one needs."""

from __future__ import annotations

import ast
import re

import pytest

from tests.helpers.paths import ROOT

TESTS = ROOT / "tests"
BESIDE_ROOMS = {"benchmarks", "comfyui", "docs", "tools"}
"""Folders of tests/ that mirror another folder of the checkout than a room of src/lvcd."""
MODULES = sorted(
    path.relative_to(ROOT).as_posix() for top in ("tests", "benchmarks") for path in (ROOT / top).rglob("*.py")
)


def imported(code: str) -> set[str]:
    """Return the modules that `code` imports anywhere."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("module", MODULES)
def test_a_module_needs_no_test_and_no_path(module):
    code = (ROOT / module).read_text()
    parts = {part for name in imported(code) for part in name.split(".")}
    assert not {part for part in parts if part.startswith("test_") or part == "conftest"}
    assert not re.search(r"sys\.path(\.(insert|append|extend)\(|\[[^]]*\]\s*=[^=]|\s*\+?=[^=])", code)


@pytest.mark.parametrize(
    "folder", sorted({path.parent.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")} - {"."})
)
def test_a_folder_has_a_room(folder):
    assert folder in BESIDE_ROOMS or (ROOT / "src" / "lvcd" / folder).is_dir()


def test_folders_beside_the_rooms_are_there():
    assert all((ROOT / folder).is_dir() for folder in BESIDE_ROOMS)
