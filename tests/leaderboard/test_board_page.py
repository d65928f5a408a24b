"""The page: what is in it, and how it answers to a mouse and a keyboard in a real browser where there is one."""

from __future__ import annotations

import base64
import json
import re

import numpy as np
import pytest
from markupsafe import escape
from PIL import Image

from lvcd.cli import main
from lvcd.io.movies import write_movie
from lvcd.leaderboard import append
from lvcd.leaderboard.clips import clip_keys, order_of_interest
from lvcd.leaderboard.table import boards
from tests.helpers.browser import Browser, needs_browser
from tests.helpers.rows import protocol, row

CLIPS, FRAMES, HEIGHT, WIDTH, FPS = 14, 6, 32, 48, 6
STEP = 40
"""Frame t is all grey t * STEP: what is seen tells which frame it is."""
EVIL = '<img src=x onerror="alert(1)">'


def html(file, out, *words):
    return main(["leaderboard", "html", "--file", str(file), "--out", str(out), *map(str, words)])


def embedded(page):
    """=> boards, files"""
    text = page.read_text()
    [data] = re.findall(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    read = json.loads(data)
    return read["boards"], read["files"]


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """Two methods of one protocol, a row of another, with real movies. Of method `one` clip 13 is the worst, clip 0
    the best; of the other one it is the other way round."""
    folder = tmp_path_factory.mktemp("board")
    movie = [np.full((HEIGHT, WIDTH, 3), STEP * t, np.uint8) for t in range(FRAMES)]
    write_movie(folder / "movie.webm", movie, FPS)
    data = (folder / "movie.webm").read_bytes()
    (folder / "source").mkdir()
    for i in range(CLIPS):
        Image.new("RGB", (WIDTH, HEIGHT), "white").save(folder / "source" / f"clip-{i}.reference.png")
        for kind in ("sketch", "original"):
            (folder / "source" / f"clip-{i}.{kind}.webm").write_bytes(data)
        for name in ("one", "two"):
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"clip-{i}.webm").write_bytes(data)
    scores = np.linspace(40, 10, CLIPS).tolist()

    def scored(name, psnr, media, **changes):
        made = row(name, psnr, np.linspace(0.5, 2, CLIPS).tolist(), source_media="source", **changes)
        for clip in made.clips:
            clip["media"] = f"{media}/{clip['key']}.webm"
        return made

    rows = [
        scored("one", scores, "one"),
        scored(EVIL, [score - 1 for score in reversed(scores)], "two", warnings=[EVIL]),
    ]
    rows.append(scored("one", scores, "one", protocol=protocol(f"strict {EVIL}", binarized=True)))
    for each in rows:
        append(folder / "leaderboard.jsonl", each)
    return folder / "leaderboard.jsonl"


@pytest.fixture(scope="module")
def page(board):
    out = board.parent / "pages" / "board.html"
    assert html(board, out) == 0
    return out


def test_it_needs_nothing_else_and_trusts_no_text(page):
    text = page.read_text()
    assert EVIL not in text and escape(EVIL) in text
    text = text.replace(escape(EVIL), "").replace(escape(EVIL.lower()), "")
    assert not re.search(r"""(src|href)\s*=|https?://|url\(|@import""", text.partition("<script")[0])
    assert "default-src 'none'" in text and "script-src 'sha256-" in text and "unsafe-inline" not in text
    assert text.index("<h2>smoke") < text.index("Published") < text.index("<h2>LVCD paper, Similar")


def test_clips_are_embedded_whole(page, board):
    (smoke, _), files = embedded(page)
    assert [clip["key"] for clip in smoke["clips"]] == [f"clip-{i}" for i in range(CLIPS)]
    media = smoke["clips"][3]["media"]
    assert (media["frames"], media["fps"]) == (FRAMES, FPS)
    for number in (*media["methods"], media["sketch"], media["original"]):
        uri = files[number]
        assert uri.startswith("data:video/webm;base64,")
        assert base64.b64decode(uri.partition(",")[2]) == (board.parent / "movie.webm").read_bytes()


def test_all_clips_are_there_that_have_room():
    """Not the worst by one metric alone: any score is clicked."""
    rng = np.random.default_rng(0)
    many = row("many", rng.random(200).tolist(), (1 + rng.random(200)).tolist())
    [board] = boards([many])
    chosen = order_of_interest(board)
    assert sorted(chosen) == sorted(clip_keys(board)) and len(chosen) == 200
    scores = {clip["key"]: clip["scores"] for clip in many.clips}
    assert set(chosen[4:14]) | set(chosen[:4]) >= set(sorted(scores, key=lambda key: scores[key]["PSNR"])[:10])
    assert set(chosen[:24]) >= set(sorted(scores, key=lambda key: -scores[key]["TC"])[:10])


def test_what_two_protocols_show_is_embedded_once(page, board, tmp_path):
    """The last row shows the files of the first one: they are there once, and take room once."""
    boards, files = embedded(page)
    media = [clip["media"] for shown in boards for clip in shown["clips"] if clip["media"]]
    assert len(media) > CLIPS and len(set(files)) == len(files) == 2  # all movies are the same here, and all references
    assert {files[each["reference"]][:14] for each in media} == {"data:image/png"}
    room = sum(len(f.read_bytes()) + 2 for f in board.parent.glob("*/clip-*")) * 4 / 3
    assert html(board, tmp_path / "all.html", "--megabytes", room / 1e6) == 0
    again = [clip["media"] for shown in embedded(tmp_path / "all.html")[0] for clip in shown["clips"] if clip["media"]]
    assert again == media


def test_the_worst_of_each_row_come_first_when_room_is_short(board, tmp_path, capsys):
    """PSNR decides: of one method the last clips are worst, of the other one the first."""
    size = len((board.parent / "movie.webm").read_bytes()) * 4 * 4 / 3 + 200
    assert html(board, tmp_path / "few.html", "--megabytes", 12.5 * size / 1e6) == 0
    shown = [{clip["key"] for clip in b["clips"] if clip["media"]} for b in embedded(tmp_path / "few.html")[0]]
    spread = {"clip-0", "clip-4", "clip-9", "clip-13"}
    assert spread | {"clip-1", "clip-12"} <= shown[0] and spread | {"clip-12"} <= shown[1]
    assert "no room" in (tmp_path / "few.html").read_text()
    assert f"{len(shown[0]) + len(shown[1])} clips" in capsys.readouterr().out
    assert (tmp_path / "few.html").stat().st_size < 12.5 * size + 60_000
    assert html(board, tmp_path / "none.html", "--megabytes", 0) == 0
    assert not any(clip["media"] for b in embedded(tmp_path / "none.html")[0] for clip in b["clips"])


def test_it_takes_no_other_files_place(board, capsys):
    before = board.read_bytes()
    assert html(board, board) == 2 and ".html" in capsys.readouterr().err
    assert board.read_bytes() == before


def test_a_lost_clip_is_told(board, tmp_path):
    copy = tmp_path / "leaderboard.jsonl"
    copy.write_bytes(board.read_bytes())
    assert html(copy, tmp_path / "board.html") == 0
    text = (tmp_path / "board.html").read_text()
    assert re.search(r"\d+ .*source/clip-0", text)


def test_bad_input(board, tmp_path, capsys):
    def refused(*words):
        capsys.readouterr()
        assert html(*words) == 2
        [line] = capsys.readouterr().err.splitlines()
        return line

    assert "--megabytes -1" in refused(board, tmp_path / "a.html", "--megabytes", -1)
    assert "--megabytes nan" in refused(board, tmp_path / "a.html", "--megabytes", "nan")
    assert "is a folder" in refused(board, tmp_path)
    assert "does not exist" in refused(tmp_path / "none.jsonl", tmp_path / "a.html")
    (tmp_path / "file").write_text("")
    assert "cannot write" in refused(board, tmp_path / "file" / "a.html")
    secret = tmp_path / "secret.webm"
    secret.write_bytes(b"secret")
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "link.webm").symlink_to(secret)
    foreign = row()
    foreign.clips[0]["media"] = "link.webm"
    append(folder / "leaderboard.jsonl", foreign)
    assert "who wrote this leaderboard" in refused(folder / "leaderboard.jsonl", tmp_path / "a.html")
    assert not (tmp_path / "a.html").exists()


# -------------------------------------------------------------------------------------------------------------- browser

SCORES = "section:first-of-type .viewer .scores"
SMOKE = "document.querySelector('.viewer')"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(browser, page):
    browser.size(1280, 900)
    browser.errors.clear()
    browser.open(page.as_uri())
    browser.until("document.querySelector('video')?.readyState >= 2")
    yield browser
    assert browser.errors == []
    assert browser.requests == [page.as_uri()]


def title(browser):
    return browser.run(f"{SMOKE}.querySelector('h3').textContent")


def keys(browser):
    return browser.run(f"[...{SMOKE}.querySelectorAll('.scores tbody th')].map(cell => cell.textContent)")


def greys(browser):
    """What each movie of the first protocol shows, as a number of the frame."""
    return browser.run(f"""[...{SMOKE}.querySelectorAll('video')].map(movie => {{
        const canvas = document.createElement('canvas'), context = canvas.getContext('2d');
        context.drawImage(movie, 0, 0);
        return Math.round(context.getImageData(5, 5, 1, 1).data[0] / {STEP});
    }})""")


@needs_browser
def test_columns_sort(opened):
    cited = "document.querySelector('section.board:last-of-type table')"
    column = f"[...{cited}.tBodies[0].rows].map(row => row.cells[%d].textContent)"
    heads = opened.run(f"[...{cited}.tHead.rows[0].cells].map(cell => cell.textContent)")
    time = len(heads) - 1
    opened.click("section.board:last-of-type thead button", time)
    assert opened.run(column % time) == ["1.17", "1.40", "1.75", "2.33", "3.50"]
    assert opened.run(f"{cited}.tHead.rows[0].cells[{time}].getAttribute('aria-sort')") == "ascending"
    opened.click("section.board:last-of-type thead button", time)
    assert opened.run(column % time) == ["3.50", "2.33", "1.75", "1.40", "1.17"]
    opened.click("section.board:last-of-type thead button", 5)  # TC: nearest to 1 first
    assert opened.run(column % 5) == ["1.0737", "1.0745", "1.0784", "1.0785", "1.0949"]
    similar = "[...document.querySelectorAll('h2')].find(h => h.textContent.includes('Similar')).parentElement"
    opened.run(f"[...{similar}.querySelectorAll('thead button')].find(b => b.textContent.startsWith('PSNR')).click()")
    shown = opened.run(f"[...{similar}.querySelectorAll('tbody th')].map(cell => cell.textContent)")
    assert shown[0] == "LVCD" and shown[-1] == "ACOF (prev)"  # the best first where higher is better


@needs_browser
def test_a_score_shows_its_clip(opened):
    assert keys(opened) == [f"clip-{i}" for i in range(13, 3, -1)]  # the worst ten of the first row
    assert title(opened) == "clip-13 (1 of 10)"
    opened.click(f"{SCORES} tbody tr:nth-child(4) td:nth-of-type(1) button")
    assert title(opened).startswith("clip-10 ")
    assert opened.run(f"{SMOKE}.querySelector('.chosen .score').textContent") == f"{40 - 30 * 10 / 13:.2f}"
    opened.click(f"{SCORES} thead th:nth-child(3) button")
    assert keys(opened) == [f"clip-{i}" for i in range(10)] and title(opened).startswith("clip-0 ")
    assert opened.run(f"{SMOKE}.querySelector('.chosen figcaption span').textContent") == EVIL
    opened.click("section:first-of-type .viewer .scores .bar button", 1)
    assert len(keys(opened)) == CLIPS
    opened.click("button.value")  # of the table above: back to the first row's worst
    assert title(opened) == "clip-13 (1 of 10)"


@needs_browser
def test_a_link_leads_to_the_same_view(opened, page):
    opened.click(f"{SCORES} tbody tr:nth-child(3) td:nth-of-type(2) button")
    address, seen = opened.run("location.href"), (title(opened), keys(opened))
    opened.open(address)
    assert (title(opened), keys(opened)) == seen
    opened.open(page.as_uri() + "#board=none&clip=%3Cb%3E&metric=FID&by=1&all=maybe")
    assert title(opened) == "clip-13 (1 of 10)"
    opened.requests[:] = [page.as_uri()]


@needs_browser
def test_movies_play_in_step(opened):
    opened.until(f"{SMOKE}.querySelector('.play button').textContent == 'Pause'")
    movies = f"[...{SMOKE}.querySelectorAll('video')]"
    opened.until(f"{movies}.every(movie => movie.currentTime > 0.3 && !movie.paused)")
    opened.until(f"{movies}[0].currentTime < 0.2")  # and again from the start
    opened.until(f"{movies}.every(movie => Math.abs(movie.currentTime - {movies}[0].currentTime) < 1 / {FPS})")
    opened.click("section:first-of-type .viewer .play button")
    settled = f"{movies}.every(movie => movie.paused && !movie.seeking)"
    opened.until(settled)
    at = opened.run(f"Number({SMOKE}.querySelector('input').value)")
    assert greys(opened) == [at] * 4
    opened.run(f"{SMOKE}.querySelector('input').focus()")
    opened.press("ArrowRight" if at < FRAMES - 1 else "ArrowLeft")
    opened.until(settled)
    after = at + 1 if at < FRAMES - 1 else at - 1
    assert greys(opened) == [after] * 4
    told = opened.run(f"{SMOKE}.querySelector('output').textContent")
    assert told == f"frame {after + 1} / {FRAMES}"


@needs_browser
def test_it_works_with_a_keyboard(opened):
    opened.run(f"{SMOKE}.querySelector('.scores [aria-pressed=true][tabindex]').focus()")
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "Enter"):
        opened.press(key)
    assert title(opened).startswith("clip-11 ")
    assert opened.run("document.activeElement.getAttribute('aria-label')").startswith(f"clip-11, {EVIL}")
    stops = opened.run(f"{SMOKE}.querySelectorAll('.scores tbody button[tabindex=\"0\"]').length")
    assert stops == 1  # Tab does not go through all scores
    opened.run("document.querySelector('thead button').focus()")
    opened.press("Enter")
    assert opened.run("document.querySelector('thead th').getAttribute('aria-sort')") == "ascending"


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_it_is_readable_at_any_width_in_light_and_dark(opened, width, scheme):
    opened.size(width, 800, scheme)
    assert opened.run("document.documentElement.scrollWidth") <= width
    low, high = opened.run("""(() => {
        const all = 'p, th, td, small, h1, h2, .warning, thead button, figcaption';
        const light = color => { const [r, g, b] = color.match(/[0-9.]+/g).map(v => (v / 255) ** 2.2);
                                 return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const paper = light(getComputedStyle(document.body).backgroundColor);
        const ratios = [...document.querySelectorAll(all)].map(e => {
            const ink = light(getComputedStyle(e).color);
            return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
        });
        return [Math.min(...ratios), paper];
    })()""")
    assert low >= 4.5
    assert (high > 0.5) == (scheme == "light")
