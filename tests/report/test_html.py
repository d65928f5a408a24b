"""Both pages have one policy: their own style and script by hash, nothing else, and no text that is taken for HTML."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from lvcd.cli import main
from lvcd.leaderboard import append
from lvcd.report.html import breaking, page
from tests.helpers.browser import Browser, needs_browser
from tests.helpers.paths import TEST_STYLE
from tests.helpers.rows import row

EVIL = "</style><script>alert(1)</script>"


@pytest.fixture(scope="module")
def pages(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    append(folder / "leaderboard.jsonl", row(EVIL, warnings=[EVIL]))
    assert (
        main(["leaderboard", "html", "--file", str(folder / "leaderboard.jsonl"), "--out", str(folder / "b.html")]) == 0
    )
    assert main(["inspect", str(TEST_STYLE), "--out", str(folder / "inspect")]) == 0
    return {"board": folder / "b.html", "inspect": folder / "inspect" / "index.html"}


@pytest.mark.parametrize("name", ["board", "inspect"])
def test_the_policy_names_the_hashes_of_what_is_there(name, pages):
    text = pages[name].read_text()
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.strip().split(" ", 1) for rule in html.unescape(policy).split(";"))
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for kind, content in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert "unsafe" not in policy and " style=" not in text and " onclick=" not in text


@needs_browser
@pytest.mark.parametrize("name", ["board", "inspect"])
def test_a_browser_has_nothing_to_complain_of(name, pages, tmp_path):
    with Browser(tmp_path) as browser:
        browser.open(pages[name].as_uri())
        browser.until("getComputedStyle(document.body).maxWidth != 'none'")
        browser.run("document.body.setAttribute('onclick', 'window.ran = 1'); document.body.click()")
        assert browser.run("window.ran === undefined")  # the policy holds: an inline handler never runs
        assert browser.requests == [pages[name].as_uri()]
        assert all("onclick" in error or "inline event handler" in error for error in browser.errors)


def test_what_a_template_lacks_is_an_error_and_text_is_escaped():
    with pytest.raises(UndefinedError):
        list(page("lvcd.leaderboard", "board_page", "title"))
    text = "".join(page("lvcd.leaderboard", "board_page", EVIL, {"a": EVIL}, measured=[], cited=[], notes=[EVIL]))
    assert EVIL not in text and str(Markup.escape(EVIL)) in text


def test_names_break_at_underscores_and_capitals():
    assert breaking("segment_match") == "segment_<wbr>match"
    assert breaking("ShiftTolerantLPIPS") == "Shift<wbr>Tolerant<wbr>LPIPS"
    assert breaking("a<b") == "a&lt;b"
