"""The page in a real browser, as a person who colors uses it: every function once. Nothing leaves this machine."""

from __future__ import annotations

import http.client
import zipfile
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest

from lvcd.app.server import PageServer, make_server
from lvcd.io.images import read_image, write_png
from tests.helpers.browser import Browser, needs_browser

pytestmark = [pytest.mark.slow, needs_browser]
ORANGE, BLUE = (230, 120, 60), (60, 90, 200)


def drawing(number: int) -> np.ndarray:
    image = np.full((64, 96, 3), 255, np.uint8)
    cv2.rectangle(image, (10 + 4 * number, 14), (44 + 4 * number, 50), (0, 0, 0), 2)
    cv2.circle(image, (27 + 4 * number, 32), 8, (0, 0, 0), 2)
    return image


def colored(number: int) -> np.ndarray:
    image = drawing(number)
    cv2.floodFill(image, None, (13 + 4 * number, 20), ORANGE)
    cv2.floodFill(image, None, (27 + 4 * number, 32), BLUE)
    return image


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> PageServer:
    made = make_server(tmp_path_factory.mktemp("shots"), "mini", "cpu", port=0)
    thread = made.start_thread()
    yield made
    made.stop()
    thread.join(60)


@pytest.fixture
def page(server, tmp_path):
    with Browser(tmp_path / "profile", 1280, 720) as browser:
        browser.open(server.address)
        browser.until("document.querySelector('#drop input[type=file]') !== null")
        yield browser
        foreign = [one for one in browser.requests if not one.startswith((server.address, "blob:"))]
        assert foreign == [] and browser.errors == []


def tab(page: Browser, name: str) -> None:
    page.run(f"[...document.querySelectorAll('[role=tab]')].find(e => e.textContent.trim() == '{name}').click()")
    page.until(f"document.querySelector('[role=tab][aria-selected=true]').textContent.trim() == '{name}'")


def drop(page: Browser, *files: Path, at: str = "#drop") -> None:
    page.run("document.querySelector('#said p').textContent = ''")
    page.until(f"document.querySelector('{at} input[type=file]') !== null")
    page.upload(f"{at} input[type=file]", *files)


def said(page: Browser) -> str:
    page.until("document.querySelector('#said p').textContent != ''")
    return page.run("document.querySelector('#said p').textContent")


def test_from_drawings_to_downloads(page, server, tmp_path):
    for number in (1, 2, 3, 6):
        write_png(tmp_path / f"A{number:04d}.png", drawing(number))
    write_png(tmp_path / "key.png", colored(1))

    drop(page, *sorted(tmp_path.glob("A*.png")))
    page.until("document.querySelectorAll('#strip button').length == 4")
    facts = page.run("document.querySelector('#facts').innerText")
    assert "4 drawings of 96 x 64" in facts and "4 to 5" in facts and "dark lines" in facts

    tab(page, "2 Colors")
    drop(page, tmp_path / "key.png", at="#key")
    page.until("document.querySelector('#strip button').dataset.mark == 'key'")

    tab(page, "3 Paint")
    page.until("document.querySelector('#steps input') !== null")
    page.fill("#steps input", "1")
    page.click("#paint")
    page.until("document.querySelector('#take a') !== null")
    assert "4 frames" in said(page)
    page.until("document.querySelector('[data-part=painted]').naturalWidth == 96")
    assert page.run("document.querySelectorAll('#strip [data-mark=painted]').length") == 3

    links = page.run("[...document.querySelectorAll('#take a')].map(e => e.getAttribute('href'))")
    assert len(links) == 5
    got = {link.split("/")[3].split("?")[0]: fetch(server, link) for link in links}
    with zipfile.ZipFile(BytesIO(got["frames.zip"])) as archive:
        assert archive.namelist() == [f"A{number:04d}.png" for number in (1, 2, 3, 6)]
        (tmp_path / "out.png").write_bytes(archive.read("A0006.png"))
    frame = read_image(tmp_path / "out.png")
    assert tuple(frame[20, 13 + 24]) == ORANGE and tuple(frame[32, 27 + 24]) == BLUE
    assert b"ftyp" in got["movie.mp4"][:64] and got["palette.gpl"].startswith(b"GIMP Palette")


def fetch(server: PageServer, path: str, host: str | None = None, status: int = 200) -> bytes:
    address = server.address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    assert answer.status == status
    policy = answer.getheader("Content-Security-Policy")
    assert status == 400 or "default-src 'self'" in policy
    return answer.read()


def test_what_others_may_not_have(server):
    fetch(server, "/", host="evil.example", status=400)
    fetch(server, "/take/..%2f..%2fetc/frames.zip", status=404)
    fetch(server, "/shots/..%2f..%2f..%2f..%2f..%2fetc/passwd", status=404)
    assert b"fonts.googleapis" not in fetch(server, "/")
