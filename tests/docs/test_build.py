"""The site: builds without a warning, has a row for every setting, and loads nothing from the network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import CEILING

pytest.importorskip("mkdocs", reason="mkdocs is not installed: pip install lvcd[docs]")

from tests.helpers.browser import Browser, needs_browser
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=CEILING)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_every_page_of_docs_and_every_notebook_is_there(site):
    sources = [*(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    pages = {page.stem for page in site.rglob("*.html")}
    assert len(sources) > 15 and {source.stem for source in sources} <= pages


def test_every_choice_of_conf_has_a_heading(site):
    page = (site / "config.html").read_text()
    for tree in ("train", "eval"):
        folder = ROOT / "conf" / tree
        for file in set(folder.rglob("*.yaml")) - {folder / f"{tree}.yaml"}:
            name = "-".join(file.relative_to(folder).with_suffix("").parts)
            assert f'id="{tree}-{name}"' in page


def test_every_option_says_what_it_means(site):
    """But for Hydra's own and the arguments of networks."""
    page = (site / "config.html").read_text()
    found = re.findall(r"<td><code>([\w.]+)</code></td>\s*<td>.*?</td>\s*<td>(.*?)</td>", page, re.DOTALL)
    free = ("hydra.", "module.networks.", "module.vae.")
    assert len(found) > 200 and {name for name, text in found if not text and not name.startswith(free)} == set()


def test_every_room_says_what_it_is(site):
    """Architecture lists the rooms of the package, each with the first sentence of its docstring."""
    page = (site / "architecture.html").read_text()
    found = re.findall(r"<td>\d</td>\s*<td><code>(\w+)</code></td>\s*<td>(.*?)</td>", page, re.DOTALL)
    assert len(found) > 20 and [room for room, text in found if len(text) < 15] == []


@pytest.mark.slow
@needs_browser
def test_pages_load_nothing_from_the_network_and_complain_of_nothing(site, tmp_path):
    pages = [page for page in sorted(site.rglob("*.html")) if page.stem != "404"]  # which only a server shows
    with Browser(tmp_path / "profile") as browser:
        for page in pages:
            browser.open(page.as_uri())
            browser.until("document.querySelector('article') != null")
            assert [address for address in browser.requests if not address.startswith(("file:", "blob:"))] == [], page
        assert browser.errors == []
        browser.open((site / "index.html").as_uri())
        browser.until("[...document.images].every(image => image.complete && image.naturalWidth > 0)")


@needs_browser
def test_search_works_from_files(site, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open((site / "index.html").as_uri())
        browser.run("document.querySelector('.md-search__input').focus()")
        browser.call("Input.insertText", text="shards")
        browser.until("document.querySelectorAll('.md-search-result__link').length > 0")
