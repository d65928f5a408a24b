"""Bad and slow shards: retried, then left out, named and counted; nothing else is lost with them."""

from __future__ import annotations

import functools
import http.server
import io
import json
import subprocess
import tarfile
import threading

import numpy as np
import pytest

from lvcd.data.clip import WindowSampling
from lvcd.data.stream.clip_stream import ClipStream
from lvcd.data.stream.epoch_plan import EpochPlan
from lvcd.data.stream.source import Pipe, RetryPolicy, ShardSource
from lvcd.errors import InputError
from lvcd.shards.format import ENCODED, Manifest, ShardWriter
from tests.helpers.shards import SIZE, key_of, npy, write_encoded, write_shards

CLIPS = (3, 2, 4)
ONCE = RetryPolicy(timeout=60, retries=0, pause=0)


@pytest.fixture
def shards(tmp_path):
    write_shards(tmp_path, CLIPS)
    return tmp_path


def read(where, retry=ONCE, stage="", train=False, **plan):
    """=> keys, lost lines."""
    source = ShardSource(str(where), stage)
    manifest: Manifest = source.manifest(retry, *([ENCODED] if stage else []))
    plan = EpochPlan(tuple(s.clips for s in manifest.shards), 2, train, **plan)
    stream = ClipStream(source, manifest, plan, *SIZE, WindowSampling(window=2), None, retry, bool(stage))
    batches = list(stream.consumer(0))
    return [k for batch in batches for k in batch.keys], [line for batch in batches for line in batch.errors]


def members(path):
    with tarfile.open(path) as tar:
        return {member.name: member for member in tar}


def flip(path, at, bits=0xFF):
    data = bytearray(path.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)


def all_but(*numbers):
    return [key_of(number) for number in range(sum(CLIPS)) if number not in numbers]


def lines_with(lines, *parts):
    """The number of lines that hold all of these parts."""
    return sum(all(part in line for part in parts) for line in lines)


def test_a_truncated_shard_loses_the_rest_of_it(shards):
    path = shards / "shard-00002.tar"
    cut = members(path)[f"{key_of(7)}.json"].offset + 1000
    path.write_bytes(path.read_bytes()[:cut])
    keys, lost = read(shards)
    assert keys == all_but(7, 8)
    assert lines_with(lost, "shard-00002.tar", "2 of 4", "unexpected end of data") == len(lost) == 2


@pytest.mark.parametrize("content", [b"", b"no tar at all" * 1000])
def test_a_shard_that_is_none(shards, content):
    (shards / "shard-00000.tar").write_bytes(content)
    keys, lost = read(shards)
    assert keys == all_but(0, 1, 2)
    assert len(lost) == 3
    assert lines_with(lost, "shard-00000.tar", "0 of 3") == len(lost)


def test_a_missing_shard(shards):
    (shards / "shard-00001.tar").unlink()
    keys, lost = read(shards)
    assert keys == all_but(3, 4)
    assert lines_with(lost, "shard-00001.tar", "0 of 2", "No such file") == len(lost) == 2


def test_a_flipped_bit_in_a_header_loses_what_follows(shards):
    path = shards / "shard-00002.tar"
    flip(path, members(path)[f"{key_of(7)}.json"].offset + 3)
    keys, lost = read(shards)
    assert keys == all_but(7, 8)
    assert all("byte" in line for line in lost)


def test_a_flipped_bit_in_an_image_loses_its_clip(shards):
    path = shards / "shard-00002.tar"
    for name, member in members(path).items():
        if name.startswith(f"{key_of(6)}.frame"):
            flip(path, member.offset_data + member.size // 2)
    keys, lost = read(shards)
    assert keys == all_but(6)
    assert len(lost) == 1
    assert lines_with(lost[:1], key_of(6), "shard-00002.tar")


@pytest.mark.parametrize("position", range(0, 20000, 1777))
def test_whatever_bit_flips_the_rest_is_there(shards, position):
    path = shards / "shard-00000.tar"
    flip(path, position % path.stat().st_size)
    keys, lost = read(shards)
    assert len(keys) + len(lost) == sum(CLIPS)
    assert set(keys) >= set(all_but(0, 1, 2))


def test_a_missing_file_loses_its_clip(tmp_path):
    write_shards(tmp_path, (2,))
    with tarfile.open(tmp_path / "shard-00000.tar") as tar:
        files = [(member, tar.extractfile(member).read()) for member in tar]
    for gone in ("json", "sketch"):
        with tarfile.open(tmp_path / "shard-00000.tar", "w") as tar:
            for member, data in files:
                if not member.name.startswith(f"{key_of(0)}.{gone}"):
                    tar.addfile(member, io.BytesIO(data))
        keys, lost = read(tmp_path)
        assert keys == [key_of(1)]
        assert len(lost) == 1
        assert lines_with(lost[:1], key_of(0), "shard-00000.tar", gone)


def test_files_of_a_clip_in_any_order(shards):
    """RawBatch again by a tar that sorts names: the json comes after the frames."""
    path = shards / "shard-00000.tar"
    with tarfile.open(path) as tar:
        files = sorted([(member, tar.extractfile(member).read()) for member in tar], key=lambda pair: pair[0].name)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for member, data in files:
            tar.addfile(member, io.BytesIO(data))
    assert read(shards) == (all_but(), [])


def test_json_that_makes_no_sense(tmp_path):
    write_shards(tmp_path, (2,))
    for text in ("{", "[]", '{"frames": 0}', '{"frames": -3}', '{"frames": "x"}', '{"frames": 1000000}'):
        with (tmp_path / "shard-00000.tar").open("r+b") as file:
            file.seek(512)
            file.write(text.encode().ljust(32))
        keys, lost = read(tmp_path)
        assert keys == [key_of(1)]
        assert len(lost) == 1


@pytest.mark.parametrize("name", ["../a.json", "/etc/a.json", "x/../../a.json", "a.exe", "a.frame000.png/b"])
def test_names_that_are_none_of_ours_are_refused(shards, name):
    path = shards / "shard-00001.tar"
    with tarfile.open(path, "a") as tar:
        entry = tarfile.TarInfo(name)
        tar.addfile(entry)
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["shards"][1] |= {"bytes": path.stat().st_size, "clips": 3}
    (shards / "manifest.json").write_text(json.dumps(manifest))
    keys, lost = read(shards)
    assert set(keys) >= set(all_but(4))
    assert any(repr(name) in line for line in lost)


def test_links_are_refused(shards):
    with tarfile.open(shards / "shard-00001.tar", "w") as tar:
        entry = tarfile.TarInfo("a.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(entry)
    assert read(shards)[0] == all_but(3, 4)


def test_a_header_that_claims_too_much_is_no_order_for_memory(shards):
    path = shards / "shard-00001.tar"
    entry = tarfile.TarInfo(f"{key_of(3)}.json")
    entry.size = 1 << 40
    path.write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    keys, lost = read(shards)
    assert keys == all_but(3, 4)
    assert "larger" in lost[0]


def test_training_keeps_its_batches_full(shards):
    (shards / "shard-00001.tar").unlink()
    keys, lost = read(shards, train=True, buffer=2)
    assert len(keys) == 10
    assert set(keys) == set(all_but(3, 4))
    assert len(lost) == 2 or len(lost) == 3  # one of them may also have been the padding


@pytest.mark.parametrize(
    "latents",
    [
        npy(np.zeros((5, 4, 2, 3), object)),
        npy(np.zeros((4, 4, 2, 3), "f2")),
        npy(np.full((5, 4, 2, 3), float("nan"), "f2")),
        npy(np.asfortranarray(np.zeros((5, 4, 2, 3), "f2"))),
        npy(np.zeros((5, 4, 2, 3), "f2"))[:-2],
        b"no array",
    ],
)
def test_bad_latents_lose_their_clip(tmp_path, latents):
    write_shards(tmp_path, (2,))
    write_encoded(tmp_path, (2,))
    path = tmp_path / "16p" / "shard-00000.tar"
    with tarfile.open(path) as tar:
        files = [(member.name, tar.extractfile(member).read()) for member in tar]
    with path.open("wb") as file, ShardWriter(file) as shard:
        for name, data in files:
            key, field = name.split(".", 1)
            shard.add_files(key, {field: latents if name == f"{key_of(0)}.latents.npy" else data})
    keys, lost = read(tmp_path, stage="16p")
    assert keys == [key_of(1)]
    assert len(lost) == 1


# -------------------------------------------------------------------------------------------------- addresses and pipes


def test_commands(shards):
    assert read(f"pipe:cat {shards}/{{}}") == (all_but(), [])


def test_http(shards):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=shards)
    handler.log_message = lambda *args: None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        (shards / "shard-00001.tar").unlink()
        keys, lost = read(address)
        with pytest.raises(InputError, match="manifest.json"):
            read(f"{address}/elsewhere")
        server.shutdown()
    assert keys == all_but(3, 4)
    assert len(lost) == 2


def test_what_fails_once_is_read_again_from_there(shards, tmp_path):
    """The first time, a shard ends in its third clip."""
    end = members(shards / "shard-00002.tar")[f"{key_of(7)}.json"].offset + 700
    mark = tmp_path / "tried"
    command = f"if [ {{}} = shard-00002.tar ] && mkdir {mark} 2>/dev/null; then head -c {end} {shards}/{{}}; exit 3; fi; cat {shards}/{{}}"  # fmt: skip # noqa: E501
    assert read(f"pipe:{command}", RetryPolicy(60, 1, 0)) == (all_but(), [])
    mark.rmdir()
    keys, lost = read(f"pipe:{command}", ONCE)
    assert keys == all_but(7, 8)
    assert lines_with(lost, "shard-00002.tar", "2 of 4", "status 3") == len(lost) == 2


@pytest.mark.slow
def test_a_pipe_that_gives_nothing_is_given_up(shards):
    """And so is all that its shell has started."""
    retry = RetryPolicy(timeout=3, retries=1, pause=0)
    command = (
        f"if [ {{}} = shard-00001.tar ]; then head -c 700 {shards}/{{}}; sleep 98765 & wait; fi; cat {shards}/{{}}"
    )
    keys, lost = read(f"pipe:{command}", retry)
    assert keys == all_but(3, 4)
    assert lines_with(lost, "shard-00001.tar", "0 of 2", "3 s") == len(lost) == 2
    assert "sleep 98765" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


def test_a_pipe_that_is_closed_early_ends_its_command():
    pipe = Pipe("pipe:yes", 5)
    assert pipe.read(4) == b"y\ny\n"
    pipe.seek(100_000)
    assert pipe.tell() == 100_000
    pipe.close()
    pipe.close()
    assert pipe._pipe.proc.returncode is not None


# ------------------------------------------------------------------------------------------------------------ manifests


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("{", "cannot be read"),
        ("[]", "cannot be read"),
        ('{"format": "lvcd shards 1"}', "cannot be read"),
        ('{"format": "lvcd shards 9", "shards": []}', "this version"),
        ('{"format": "lvcd encoded 1", "shards": []}', "folder"),
        ('{"format": "lvcd shards 1", "shards": [{"name": "a; rm -r b", "clips": 1, "bytes": 1}]}', "do not trust"),
        ('{"format": "lvcd shards 1", "shards": [{"name": "../a.tar", "clips": 1, "bytes": 1}]}', "do not trust"),
    ],
)
def test_manifests_that_cannot_be_used(tmp_path, text, word):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=word) as error:
        ShardSource(str(tmp_path)).manifest(ONCE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("where", ["nowhere", "pipe:exit 4 #{}", "pipe:sleep 100 #{}", "http://127.0.0.1:1", "nfs://x"])
def test_no_manifest(where):
    with pytest.raises(InputError, match=r"manifest\.json") as error:
        ShardSource(where).manifest(RetryPolicy(timeout=0.3, retries=0, pause=0))
    assert "\n" not in str(error.value)
