"""The package as it is installed: its files, its start, and words that are mistyped."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from lvcd.cli import main
from tests.helpers.paths import ROOT

CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg", encoding="utf-8")
PLACES = {"lvcd": "src/lvcd", "lvcd.conf": "conf", "lvcd.toy_shards": "data/cartoons"}


def listed(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip()]


def files(folder: Path) -> set[str]:
    found = (f for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts and f.suffix != ".pyc")
    return {f.relative_to(folder).as_posix() for f in found}


def test_every_package_is_listed():
    folders = {f.parent.relative_to(ROOT / "src") for f in (ROOT / "src" / "lvcd").rglob("__init__.py")}
    packages = listed(CONFIG["options"]["packages"])
    assert len(packages) == len(set(packages))
    assert set(packages) == {".".join(folder.parts) for folder in folders} | set(PLACES)
    places = dict(line.replace(" ", "").split("=") for line in listed(CONFIG["options"]["package_dir"]))
    assert places == {"": "src", **{name: place for name, place in PLACES.items() if name != "lvcd"}}


@pytest.mark.parametrize("package", PLACES)
def test_every_file_is_shipped(package):
    folder = ROOT / PLACES[package]
    patterns = listed(CONFIG["options.package_data"][package])
    shipped = {f.relative_to(folder).as_posix() for pattern in patterns for f in folder.glob(pattern) if f.is_file()}
    assert {name for name in files(folder) if not name.endswith(".py")} <= shipped
    assert all(list(folder.glob(pattern)) for pattern in patterns)


def test_every_requirement_is_listed_once_and_constrained():
    requirements = listed(CONFIG["options"]["install_requires"])
    names = [re.match(r"[\w.-]+", line)[0].lower().replace("_", "-") for line in requirements]
    assert len(names) == len(set(names))
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    constrained = [line.partition("==")[0].lower().replace("_", "-") for line in lines if line]
    assert len(constrained) == len(set(constrained)) and set(names) <= set(constrained)


def test_the_versions_that_were_tried_are_in_the_ranges():
    """constraints.txt is the highest of each range, and `make test-lowest` takes the lowest."""
    highest = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if line)
    highest = {name.lower().replace("_", "-"): version for name, version in highest.items()}
    for section in (CONFIG["options"]["install_requires"], *CONFIG["options.extras_require"].values()):
        for line in listed(section):
            requirement = Requirement(line)
            name = requirement.name.lower().replace("_", "-")
            if name in highest:
                assert requirement.specifier.contains(highest[name]), line
            if section == CONFIG["options"]["install_requires"]:
                assert [s.version for s in requirement.specifier if s.operator == ">="], line


def test_the_build_needs_setuptools_alone():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert build["build-backend"] == "setuptools.build_meta"
    assert [re.match(r"\w+", line)[0] for line in build["requires"]] == ["setuptools"]


@pytest.mark.parametrize("words", [[], ["--help"], ["colorize", "--help"], ["leaderboard", "show", "--help"]])
def test_help_imports_nothing_large(words, tmp_path):
    """So that it takes a tenth of a second."""
    code = f"""
import sys
from lvcd.cli import main
try:
    main({words!r})
except SystemExit:
    pass
print(sorted(sys.modules.keys() & {{"torch", "numpy", "hydra", "omegaconf", "cv2", "PIL", "filelock"}}))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "[]", done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["colorise"], "did you mean colorize?"),
        (["leaderboard", "shw"], "did you mean show?"),
        (["colorize", "--sketchs", "x"], "did you mean --sketches?"),
        (["leaderboard", "show", "--protocl=x"], "did you mean --protocol?"),
        (["plan", "--crd", "24"], "did you mean --card?"),
        (["colorize"], "required: --sketches"),
        ([], "required: COMMAND"),
    ],
)
def test_a_mistyped_word_is_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as left:
        main(words)
    (line,) = capsys.readouterr().err.splitlines()
    assert left.value.code == 2 and message in line and "--help" in line
