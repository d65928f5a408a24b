"""Notebooks: run from top to bottom, define nothing, and are small enough to be read on the web."""

from __future__ import annotations

import ast
import re

import nbformat
import pytest

from tools.notebooks import NOTEBOOKS, ROOT, executed

MOST_BYTES = 400_000
NAMES = [path.stem for path in NOTEBOOKS]
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)


def code_cells(notebook) -> list:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def definitions(code: str) -> list[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
    return [type(node).__name__ for node in ast.walk(ast.parse(code)) if isinstance(node, kinds)]


def kinds(cell) -> list[str]:
    """What a cell puts out: `stdout`, `stderr` or the best type of each result."""
    best = ("image/png", "text/html", "text/plain")
    return [o.get("name") or next(kind for kind in best if kind in o.get("data", {})) for o in cell.outputs]


def test_the_five_are_there():
    assert NAMES == ["01_colorize", "02_clips_and_lineart", "03_reference_attention", "04_long_video", "05_studio"]


def test_a_definition_is_seen():
    assert definitions("def f(): ...\nclass A: ...\ng = lambda: 0") == ["FunctionDef", "ClassDef", "Lambda"]
    assert definitions("x = [y for y in range(3)]\nfor z in x:\n    print(z)") == []


@notebooks
def test_defines_nothing(path):
    cells = code_cells(nbformat.read(path, as_version=4))
    assert any("from lvcd" in cell.source for cell in cells)
    assert [definitions(cell.source) for cell in cells] == [[]] * len(cells)


@notebooks
def test_is_kept_whole_and_small(path):
    """As one run left it, with pictures, and without a path of the machine that ran it."""
    text = path.read_text()
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kind for cell in cells for kind in kinds(cell)]
    assert shown.count("image/png") >= 3 and "stderr" not in shown
    assert len(text) < MOST_BYTES
    assert not re.search(r"/(home|root|tmp|Users|usr|work)/|site-packages", text)


@pytest.mark.slow
@notebooks
def test_runs(path):
    """Anew, and puts out the same kinds of things as the kept run: numbers and pictures may differ with the machine."""
    kept, new = (code_cells(n) for n in (nbformat.read(path, as_version=4), executed(path)))
    assert [kinds(cell) for cell in new] == [kinds(cell) for cell in kept]
    assert str(ROOT) not in str(new)
