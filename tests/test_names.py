"""One name means one thing: a reader who searches the package for a class or a file finds one."""

from __future__ import annotations

import ast
from collections import Counter

from tests.helpers.paths import ROOT

LVCD = ROOT / "src" / "lvcd"


def test_every_class_has_a_name_of_its_own():
    names = Counter(
        node.name
        for file in LVCD.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in names.items() if count > 1] == []


def test_every_file_has_a_name_of_its_own():
    """A command in cli/ may be named like what it commands."""
    names = Counter(file.name for file in LVCD.rglob("*.py") if file.parent.name != "cli" and file.stem != "__init__")
    assert [name for name, count in names.items() if count > 1] == []


def test_everything_public_has_a_docstring():
    missing = []
    for file in sorted(LVCD.rglob("*.py")):
        tree = ast.parse(file.read_text())
        public = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name[0] != "_"]
        missing += [
            f"{file.relative_to(LVCD)}: {n.name}"
            for n in public
            if not ast.get_docstring(n) and not (file.parent.name == "cli" and n.name in ("arguments", "run"))
        ]
        if not ast.get_docstring(tree) and file.stem != "__main__":
            missing.append(str(file.relative_to(LVCD)))
    assert missing == []
