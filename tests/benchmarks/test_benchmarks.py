"""Every benchmark runs, on sizes that say nothing about speed."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.processes import CEILING

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py")))
def test_it_measures_toys(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--toy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0 and done.stdout, done.stderr[-2000:]
    assert "error" not in done.stdout.lower() and "nan" not in done.stdout.lower().split()
