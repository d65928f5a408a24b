"""The file of rows: whatever happens to its writers, it is read, and it takes the next row."""

from __future__ import annotations

import hashlib
import json
import os
import random
import resource
import signal
import sys
import time
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.errors import InputError
from lvcd.leaderboard import Row, append, read
from tests.helpers.rows import protocol, row

FORK = get_context("fork")


@pytest.fixture
def file(tmp_path):
    return tmp_path / "board" / "leaderboard.jsonl"


def test_rows_come_back_in_order(file):
    rows = [row("one"), row("two\nlines, \u2028 and ümlauts"), row("one", source_media="media/one")]
    for each in rows:
        append(file, each)
    assert read(file) == rows
    assert [each.id for each in read(file)] == [each.id for each in rows]
    assert file.read_bytes().count(b"\n") == 3
    assert [p.name for p in file.parent.iterdir() if not p.name.startswith(".")] == ["leaderboard.jsonl"]


def test_id_is_the_hash_of_all_else(file):
    append(file, row())
    held = json.loads(file.read_text())
    told = held.pop("id")
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    assert told == hashlib.sha256(text.encode()).hexdigest()[:12]
    assert replace(row(), n=5).id != told


def test_a_protocol_is_one_only_if_all_of_it_is():
    same = row(protocol=dict(reversed(protocol().items())))
    assert same.protocol_key == row().protocol_key
    changes = [{"binarized": True}, {"width": 65}, {"data": "1" * 64}, {"metrics": {"PSNR": {"size": 255}}}]
    others = {row(protocol=protocol(**change)).protocol_key for change in changes}
    assert len(others | {row().protocol_key}) == len(changes) + 1


def test_what_is_not_finite_is_not_known():
    made = row(clips=[{"key": "a", "scores": {"PSNR": float("nan"), "TC": float("inf")}, "media": None}])
    assert made.clips[0]["scores"] == {"PSNR": None, "TC": None}


# ------------------------------------------------------------------------------------------------------ torn by kill -9


@settings(max_examples=60, deadline=None)
@given(share=st.floats(0, 1), rows=st.integers(0, 3))
def test_cut_anywhere_in_its_last_line(tmp_path_factory, share, rows):
    file = tmp_path_factory.mktemp("board") / "leaderboard.jsonl"
    whole = [row(f"method {i}") for i in range(rows)]
    for each in whole:
        append(file, each)
    line = row("torn").line()
    kept = line[: round(share * len(line))]
    with file.open("ab") as stream:
        stream.write(kept)
    if len(kept) >= len(line) - 1:
        whole.append(row("torn"))  # all there but for the end of the line
    assert read(file) == whole
    append(file, row("next"))
    assert read(file) == [*whole, row("next")]
    torn = file.with_name("leaderboard.jsonl.torn")
    assert torn.exists() == (0 < len(kept) < len(line) - 1)
    if torn.exists():
        assert torn.read_bytes() == kept + b"\n"


def _append_until_killed(file, said):
    for number in range(sys.maxsize):
        each = row(f"{os.getpid()} {number}", warnings=["x" * 300_000])
        append(file, each)
        said.send(each.name)


@pytest.mark.slow
def test_killed_while_appending(file):
    """Each writer goes on where the last one was killed. Every row that was said to be written is there, once."""
    rng, names = random.Random(0), set()
    for _ in range(20):
        hear, said = FORK.Pipe(duplex=False)
        writer = FORK.Process(target=_append_until_killed, args=(file, said))
        writer.start()
        said.close()
        hear.poll(10)
        time.sleep(rng.uniform(0, 0.02))
        writer.kill()
        writer.join()
        assert writer.exitcode == -signal.SIGKILL
        with pytest.raises(EOFError):
            while True:
                names.add(hear.recv())
    found = [each.name for each in read(file)]
    assert len(names) >= 20 and names <= set(found)
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("share", [0.001, 0.3, 0.99])
def test_killed_in_the_middle_of_a_line(file, share):
    """A limit on the size of files makes sure of where the signal comes."""
    append(file, row("first"))
    at = file.stat().st_size + round(share * len(row("torn").line()))

    def write():
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (at, at))
        append(file, row("torn"))

    writer = FORK.Process(target=write)
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGXFSZ and file.stat().st_size == at
    assert read(file) == [row("first")]
    append(file, row("next"))
    assert read(file) == [row("first"), row("next")]


def _append_some(file, number):
    for i in range(20):
        append(file, row(f"{number} {i}", warnings=["x" * 50_000]))


def test_several_at_once(file):
    writers = [FORK.Process(target=_append_some, args=(file, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    names = [each.name for each in read(file)]
    assert sorted(names) == sorted(f"{number} {i}" for number in range(3) for i in range(20))


# ------------------------------------------------------------------------------------------------------------ bad input


def refused(file, *words):
    with pytest.raises(InputError) as error:
        read(file)
    message = str(error.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def changed(change):
    """A line whose content was changed before its id was made."""
    held = json.loads(row().line())
    del held["id"]
    change(held)
    text = json.dumps(held, sort_keys=True, separators=(",", ":"))
    held["id"] = hashlib.sha256(text.encode()).hexdigest()[:12]
    return json.dumps(held)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", ["line 2", "not JSON"]),
        ("half a row {", ["line 2", "not JSON"]),
        ("[1, 2]", ["line 2", "no row"]),
        ('{"a": 1}', ["line 2", "id is missing"]),
        (row().line().decode().strip().replace('"n":4', '"n":5'), ["line 2", "changed after it was written"]),
        (changed(lambda r: r.pop("metrics")), ["metrics is missing"]),
        (changed(lambda r: r["metrics"].update(PSNR=3)), ["metrics"]),
        (changed(lambda r: r["metrics"]["PSNR"].update(value="high")), ["metrics.PSNR.value is 'high'"]),
        (changed(lambda r: r["clips"][0].update(media="../../secret")), ["clips.0.media", "outside"]),
        (changed(lambda r: r.update(source_media="/etc")), ["source_media", "outside"]),
        (changed(lambda r: r.update(warnings="none")), ["warnings is 'none'"]),
        (changed(lambda r: r.update(n=True)), ["n is True"]),
        (changed(lambda r: r.update(stars=5)), ["stars", "version"]),
        ('{"a":' * 5000 + "1" + "}" * 5000, ["line 2"]),
        (row().line().decode().strip().replace("11.5", "NaN"), ["line 2"]),
    ],
)
def test_a_line_that_is_no_row_is_named(file, line, words):
    append(file, row())
    with file.open("a") as stream:
        stream.write(line + "\n")
    refused(file, "leaderboard.jsonl", "take the line out", *words)


def test_files_that_are_none(file, tmp_path):
    refused(file, "does not exist")
    refused(tmp_path, "cannot read")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        append(tmp_path / "file" / "leaderboard.jsonl", row())


def test_a_full_disk_leaves_no_half_row(file):
    """A limit on the size of files stands for the disk: the process gets EFBIG in the middle of the line."""
    append(file, row())
    before = file.read_bytes()

    def write():
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100,) * 2)  # Python ignores the signal
        with pytest.raises(InputError, match="cannot write"):
            append(file, row("too long"))

    writer = FORK.Process(target=write)
    writer.start()
    writer.join()
    assert writer.exitcode == 0
    assert file.read_bytes() == before


def test_what_would_not_be_read_is_not_written(file):
    append(file, row())
    before = file.read_bytes()
    for wrong in (row(leaks={"reference=blank": {"n": 1}}), row(source_media="/elsewhere"), row(warnings=[3])):
        with pytest.raises(ValueError, match="leaks|source_media|warnings"):
            append(file, wrong)
    assert file.read_bytes() == before


def test_rows_are_plain():
    with pytest.raises(TypeError):
        _ = Row(**{**vars(row()), "n": {1, 2}}).id


def test_a_device_is_no_leaderboard():
    with pytest.raises(InputError, match="is a device"):
        read(Path("/dev/zero"))
