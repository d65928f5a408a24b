"""What Linux has and other systems have not: no module needs it to be imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lvcd.system import available_cores

IMPORT_ALL = """
import importlib, pkgutil, sys
import lvcd
for module in pkgutil.walk_packages(lvcd.__path__, "lvcd."):
    if module.name != "lvcd.cli.__main__":
        importlib.import_module(module.name)
print(len(sys.modules))
"""
BLOCKED = """
import builtins
found = builtins.__import__
def blocked(name, globals=None, *more, **others):
    if name in ("fcntl", "resource") and (globals or {}).get("__name__", "").startswith("lvcd"):
        raise ModuleNotFoundError(f"No module named {name!r}")
    return found(name, globals, *more, **others)
builtins.__import__ = blocked
"""
"""Of our own modules only: on this system the libraries below import both, where they know that they are there."""


@pytest.mark.slow
def test_every_module_is_imported_where_fcntl_and_resource_are_not(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", BLOCKED + IMPORT_ALL], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_cores_are_counted_where_there_is_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert available_cores() == (os.cpu_count() or 1)


@pytest.mark.parametrize("words", [["--help"], ["prepare", "cartoons", "--help"], ["prepare", "--help"]])
def test_commands_start_where_there_is_no_affinity(words, tmp_path):
    code = f"import os, sys; del os.sched_getaffinity\nfrom lvcd.cli import main\nsys.exit(main({words!r}))"
    if not hasattr(os, "sched_getaffinity"):
        pytest.skip("so it is here")
    command = [sys.executable, "-c", BLOCKED + code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
