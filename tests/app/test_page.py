"""The page in a real browser, as a person who colors uses it: every function once. Nothing leaves this machine."""

from __future__ import annotations

import http.client
import zipfile
from io import BytesIO
from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest

from lvcd.app import shot_painter
from lvcd.app.server import PageServer, make_server
from lvcd.app.shot_folder import find_last_shot
from lvcd.io.images import read_image, write_png
from lvcd.io.movies import write_movie
from lvcd.pipeline.render import render_clip
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
def shots(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("shots")


@pytest.fixture(scope="module")
def server(shots) -> PageServer:
    made = make_server(shots, "mini", "cpu", port=0)
    thread = made.start_thread()
    yield made
    made.stop()
    thread.join(60)


@pytest.fixture
def page(server, shots, tmp_path):
    """The page with the shot of the test before, at a desk."""
    with Browser(tmp_path / "profile", 1280, 720) as browser:
        browser.open(server.address)
        browser.until("document.querySelector('#drop input[type=file]') !== null")
        if find_last_shot(shots):
            browser.until("document.querySelector('#strip button') !== null")
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


def fetch(server: PageServer, path: str, status: int = 200, **headers: str) -> bytes:
    address = server.address.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request("GET", path, headers=headers)
    answer = connection.getresponse()
    assert answer.status == status
    policy = answer.getheader("Content-Security-Policy")
    assert status == 400 or "default-src 'self'" in policy
    return answer.read()


def test_it_is_cancelled_and_goes_on_after_a_restart(tmp_path, monkeypatch):
    """Cancelled after its first frames; a new server finds the shot, and ends with the frames of an unbroken run."""
    count = 20  # more than one window
    (tmp_path / "in").mkdir()
    for number in range(count):
        write_png(tmp_path / "in" / f"{number:03d}.png", np.roll(drawing(1), number, 1))
    write_png(tmp_path / "key.png", colored(1))
    write_png(tmp_path / "sheet.png", np.concatenate([colored(1), colored(2)], 1))
    seen = Event()

    def wait_in_the_middle(*words, on_progress, is_cancelled, **more):
        def progress(at):
            on_progress(at)
            if at.frames and at.steps < at.total_steps and not seen.is_set():
                seen.set()
                cancelled.wait(300)

        return render_clip(*words, on_progress=progress, is_cancelled=is_cancelled, **more)

    cancelled = Event()
    monkeypatch.setattr(shot_painter, "render_clip", wait_in_the_middle)
    server = make_server(tmp_path / "shots", "mini", "cpu", port=0)
    thread = server.start_thread()
    with Browser(tmp_path / "profile", 768, 1024) as page:
        page.open(server.address)
        drop_folder(page, tmp_path / "in")
        page.until(f"document.querySelectorAll('#strip button').length == {count}")
        tab(page, "2 Colors")
        drop(page, tmp_path / "key.png", at="#key")
        page.until("document.querySelector('#strip button').dataset.mark == 'key'")
        drop(page, tmp_path / "sheet.png", at="#sheet")
        page.until("document.querySelector('#sheets li') !== null")
        tab(page, "3 Paint")
        page.until("document.querySelector('#paint') !== null")
        page.click("#paint")
        page.until("/^[1-9][0-9]* of 20 frames/.test(document.querySelector('#progress p')?.textContent)")
        page.click("#cancel")
        page.until("document.querySelector('#said p').textContent.startsWith('stopping')")
        cancelled.set()
        page.until("/^cancelled: [1-9]/.test(document.querySelector('#progress p').textContent)")
        page.until("!document.querySelector('#resume').disabled")
    server.stop()
    thread.join(60)
    shot = find_last_shot(tmp_path / "shots")
    assert shot.partial.is_dir() and not shot.painted.exists()

    server = make_server(tmp_path / "shots", "mini", "cpu", port=0)
    thread = server.start_thread()
    with Browser(tmp_path / "profile2", 768, 1024) as page:
        page.open(server.address)
        page.until(f"document.querySelectorAll('#strip button').length == {count}")
        tab(page, "3 Paint")
        page.until("document.querySelector('#resume')?.textContent.includes('finished')")
        page.click("#resume")
        page.until("document.querySelector('#take a') !== null")
        assert page.run("document.documentElement.scrollWidth <= 768")
        assert page.errors == []
    server.stop()
    thread.join(60)
    render_clip(shot.sketches, None, tmp_path / "unbroken", settings=shot.record.settings, device="cpu", keys=shot.keys,
                sheets=shot.sheets)  # fmt: skip
    same = [
        (shot.painted / file.name).read_bytes() == file.read_bytes() for file in (tmp_path / "unbroken").glob("*.png")
    ]
    assert len(same) == count and all(same)


def drop_folder(page: Browser, folder: Path) -> None:
    page.until("document.querySelector('input[webkitdirectory]') !== null")
    page.upload("input[webkitdirectory]", folder)


def test_a_correction_is_painted_on_from_its_drawing(page, shots):
    """A region that is clicked and colored, a drawing that is dropped, and what is before them keeps its bytes."""
    shot = find_last_shot(shots)
    before = {file.name: file.read_bytes() for file in shot.painted.glob("*.png")}
    tab(page, "4 Look")
    page.until("document.querySelector('[data-part=painted]')?.naturalWidth == 96")
    for _ in range(2):
        page.click("#player [data-part=on]")
    page.until("document.querySelector('[data-part=where]').textContent.startsWith('drawing 3,')")
    page.run("document.querySelector('#said p').textContent = ''")
    page.click_at("#player [data-part=painted]", (27 + 12) / 96, 32 / 64)
    assert said(page).startswith("drawing 3")
    page.until("document.querySelector('#color input').value == '#3c5ac8'")  # what it has
    page.click("#color [data-color='#e6783c']")
    page.until("document.querySelector('#color output').textContent == '#e6783c'")
    assert "drawing 3 has a stroke of #e6783c" in click(page, "#recolor")
    page.until("document.querySelectorAll('#strip [data-mark=corrected]').length == 1")
    click(page, "#repaint")
    page.until("document.querySelector('#said p').textContent.includes('is painted: 2 frames')")
    after = {file.name: file.read_bytes() for file in shot.painted.glob("*.png")}
    assert [name for name in sorted(after) if after[name] != before[name]] == ["A0003.png", "A0006.png"]
    for number in (3, 6):
        frame = read_image(shot.painted / f"A{number:04d}.png")
        assert tuple(frame[32, 27 + 4 * number]) == ORANGE and tuple(frame[20, 13 + 4 * number]) == ORANGE

    write_png(shots / "fixed.png", np.where(read_image(shot.painted / "A0006.png") == ORANGE, BLUE, 0).astype(np.uint8))
    page.click("#strip button", 3)
    page.until("document.querySelector('[data-part=where]').textContent.startsWith('drawing 6,')")
    drop(page, shots / "fixed.png", at="#corrected")
    assert said(page).startswith("drawing 6 is corrected")
    click(page, "#forget")
    page.until("document.querySelector('#repaint').disabled")
    drop(page, shots / "fixed.png", at="#corrected")
    page.until("!document.querySelector('#repaint').disabled")
    click(page, "#repaint")
    page.until("document.querySelector('#said p').textContent.includes('is painted: 1 frames')")
    assert (read_image(shot.painted / "A0006.png") == read_image(shots / "fixed.png")).all()


def test_by_keyboard_alone(page):
    """Tab reaches the strip and the tabs; arrows, Enter and Space do what a mouse does."""
    reached = set()
    for _ in range(12):
        page.press("Tab")
        reached.add(page.run("document.activeElement.getAttribute('role')"))
    assert {"option", "tab"} <= reached
    page.run("document.querySelector('#strip [tabindex=\"0\"]').focus()")
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.press(key)
    page.until("document.querySelectorAll('#strip button')[2].getAttribute('aria-selected') == 'true'")
    tab(page, "4 Look")
    page.until("document.querySelector('[data-part=painted]')?.naturalWidth == 96")
    where = "document.querySelector('[data-part=where]').textContent"
    page.until(f"{where}.startsWith('drawing 3,')")
    page.run("document.querySelector('#player [type=range]').focus()")
    page.press("ArrowRight")
    page.until(f"{where}.startsWith('drawing 6,')")
    page.press(" ")
    page.until("document.querySelector('[data-part=play]').textContent == 'Stop'")
    page.until(f"!{where}.startsWith('drawing 6,')")
    page.press(" ")
    page.until("document.querySelector('[data-part=play]').textContent == 'Play'")
    page.run("document.querySelector('#said p').textContent = ''")
    page.run("document.querySelector('[data-part=target]').focus()")
    for key in ("ArrowLeft", "ArrowUp", "Enter"):
        page.press(key)
    assert "choose a color" in said(page)
    page.run("document.querySelector('#color button').focus()")
    page.press(" ")
    page.until("document.querySelector('#color button').getAttribute('aria-pressed') == 'true'")


USED = ("button", "checkbox", "ColorWell", "combobox", "link", "listbox", "option", "radio", "slider", "spinbutton",
        "tab", "textbox")  # fmt: skip
"""Roles, as screen readers know them, of what a person can use."""


def test_all_that_can_be_used_has_a_name_for_screen_readers(page):
    page.run("[...document.querySelectorAll('button')].find(e => e.textContent.includes('How drawings')).click()")
    page.until("document.querySelector('#level') !== null")
    page.call("Accessibility.enable")
    for name, part in (("1 Drawings", "#drop"), ("2 Colors", "#key"), ("3 Paint", "#gap"), ("4 Look", "#take a")):
        tab(page, name)
        page.until(f"document.querySelector('{part}')?.checkVisibility() === true")
        nodes = [node for node in page.call("Accessibility.getFullAXTree")["nodes"] if not node["ignored"]]
        used = [(node["role"]["value"], node["name"]["value"]) for node in nodes if node["role"]["value"] in USED]
        assert len(used) > 12 and [role for role, text in used if not text.strip()] == []
        for width, height in ((768, 1024), (1280, 720)):
            page.size(width, height)
            assert page.run(f"document.documentElement.scrollWidth <= {width}")


def test_every_kind_of_file_is_read(page, tmp_path):
    """TGA, PSD and a movie, as drawing programs write them."""
    from PIL import Image
    from psd_tools import PSDImage

    for kind in ("tga", "psd"):
        (tmp_path / kind).mkdir()
        for number in (1, 2):
            image = Image.fromarray(drawing(number))
            file = tmp_path / kind / f"{kind}{number}.{kind}"
            PSDImage.frompil(image).save(file) if kind == "psd" else image.save(file)
        drop(page, *sorted((tmp_path / kind).iterdir()))
        assert said(page).endswith("2 drawings of 96 x 64 pixels, numbers 1 to 2")
    write_movie(tmp_path / "shot.mkv", [drawing(n) for n in (1, 2, 3)], 12)
    drop(page, tmp_path / "shot.mkv")
    assert said(page).endswith("3 drawings of 96 x 64 pixels, numbers 0 to 2")
    page.until("[...document.querySelectorAll('#strip img')].every(e => e.naturalWidth == 96)")


def test_what_is_wrong_is_the_line_of_the_command(page, tmp_path):
    """Levels to choose from, damage, a key of another shape, and values that mean nothing: one line, and go on."""
    for level in "AB":
        for number in (1, 2):
            write_png(tmp_path / f"{level}{number:04d}.png", drawing(number))
    write_png(tmp_path / "tall.png", np.full((96, 64, 3), 200, np.uint8))
    (tmp_path / "broken.png").write_bytes((tmp_path / "A0001.png").read_bytes()[:200])

    drop(page, tmp_path / "A0001.png", tmp_path / "broken.png")
    assert "broken.png" in said(page) and is_wrong(page)
    drop(page, *sorted(tmp_path.glob("[AB]*.png")))
    assert "several levels, A and B" in said(page) and is_wrong(page)
    page.run("[...document.querySelectorAll('button')].find(e => e.textContent.includes('How drawings')).click()")
    page.until("document.querySelector('#level textarea, #level input') !== null")
    page.fill("#level textarea, #level input", "B")
    page.click("#read-again")
    page.until("document.querySelectorAll('#strip button').length == 2")

    tab(page, "2 Colors")
    drop(page, tmp_path / "broken.png", at="#key")
    assert "broken.png" in said(page) and is_wrong(page)
    drop(page, tmp_path / "tall.png", at="#key")
    page.until("document.querySelector('#strip button').dataset.mark == 'key'")
    tab(page, "3 Paint")
    page.until("document.querySelector('#gap textarea, #gap input') !== null")
    for field, text in (("gap", "wide"), ("gap", "-3"), ("size", "12"), ("size", "640x48")):
        before = page.run(f"document.querySelector('#{field} textarea, #{field} input').value")
        page.fill(f"#{field} textarea, #{field} input", text)
        line = click(page, "#paint")
        if text == "640x48":  # what only the rendering finds out
            page.until("document.querySelector('#said .wrong') !== null")
            line = said(page)
        assert is_wrong(page) and text in line, line
        page.fill(f"#{field} textarea, #{field} input", before)
    page.click("#paint")
    page.until("document.querySelector('#said .wrong')?.textContent.includes('tall.png')")


def click(page: Browser, selector: str) -> str:
    """Click, and return what the page says to it."""
    page.run("document.querySelector('#said p').textContent = ''")
    page.click(selector)
    return said(page)


def is_wrong(page: Browser) -> bool:
    return page.run("document.querySelector('#said [role=alert]') !== null")


def test_what_others_may_not_have(server):
    fetch(server, "/", status=400, Host="evil.example")
    fetch(server, "/", status=403, Origin="http://evil.example")
    fetch(server, "/take/..%2f..%2fetc/frames.zip", status=404)
    fetch(server, "/shots/..%2f..%2f..%2f..%2f..%2fetc/passwd", status=404)
    assert b"fonts.googleapis" not in fetch(server, "/")
