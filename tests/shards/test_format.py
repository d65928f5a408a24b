"""The shard format: the same bytes every time, readable by others, and honest about damage."""

from __future__ import annotations

import io
import tarfile

import numpy as np
import pytest
import webdataset as wds

from lvcd.errors import InputError
from lvcd.lineart.extract import ProvidedLineArt, make_extractor
from lvcd.lineart.sketch import to_sketch
from lvcd.shards.format import DEFAULT_FPS, Manifest, ShardWriter, clip_key, playback_fps
from lvcd.shards.index import clip_entries
from lvcd.shards.members import read_shard

KEYS = ["a-00000000-000000", "a-00000000-000003", "b-00000000-000000"]


def pairs(seed, count=3):
    random = np.random.default_rng(seed)
    return [(random.integers(0, 256, (16, 24, 3), np.uint8), random.integers(0, 256, (16, 24), np.uint8))
            for _ in range(count)]  # fmt: skip


def write(path):
    with path.open("wb") as file, ShardWriter(file) as shard:
        for seed, key in enumerate(KEYS):
            assert shard.add(key, {"frames": 3, "fps": 24.0}, pairs(seed)) == 3
    return path


@pytest.fixture
def shard(tmp_path):
    return write(tmp_path / "shard-00000.tar")


def read(path):
    lost = []
    return list(read_shard(path, lost.append)), lost


def test_what_was_written_is_read(shard):
    clips, lost = read(shard)
    assert lost == []
    assert [clip["__key__"] for clip in clips] == KEYS
    for seed, clip in enumerate(clips):
        assert clip["json"] == {"frames": 3, "fps": 24.0}
        for (frame, drawing), got_frame, got_drawing in zip(pairs(seed), clip["frames"], clip["sketches"], strict=True):
            assert np.array_equal(got_frame, frame)
            assert np.array_equal(got_drawing, drawing)


def test_bytes_depend_on_nothing_else(shard, tmp_path):
    assert write(tmp_path / "again.tar").read_bytes() == shard.read_bytes()
    with tarfile.open(shard) as tar:
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in tar} == {(0, 0, 0, "", "", 0o644)}


def test_the_stock_loader_gives_each_clip_once(shard):
    samples = list(wds.WebDataset(str(shard), shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == KEYS
    for seed, sample in enumerate(samples):
        assert sample["json"]["frames"] == 3
        for index, (frame, drawing) in enumerate(pairs(seed)):
            assert np.array_equal(sample[f"frame{index:03d}.png"], frame)
            assert np.array_equal(sample[f"sketch{index:03d}.png"][..., 0], drawing)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_shard_gives_its_whole_clips_and_says_so(shard, share):
    data = shard.read_bytes()
    with tarfile.open(shard) as tar:
        end = tar.getmembers()[-1]
    shard.write_bytes(data[: int((end.offset_data + end.size) * share)])
    clips, lost = read(shard)
    assert [clip["__key__"] for clip in clips] == KEYS[: len(clips)]
    assert len(clips) < 3
    assert any("cut short" in line for line in lost)


def test_a_damaged_image_loses_its_clip_alone(shard):
    with tarfile.open(shard) as tar:
        hit = tar.getmember(f"{KEYS[1]}.frame001.png").offset_data
    data = bytearray(shard.read_bytes())
    data[hit + 60] ^= 0xFF
    shard.write_bytes(data)
    clips, lost = read(shard)
    assert [clip["__key__"] for clip in clips] == [KEYS[0], KEYS[2]]
    assert len(lost) == 1
    assert KEYS[1] in lost[0]


def test_a_damaged_header_is_told(shard):
    with tarfile.open(shard) as tar:
        hit = tar.getmember(f"{KEYS[2]}.json").offset
    data = bytearray(shard.read_bytes())
    data[hit + 3] ^= 0xFF
    shard.write_bytes(data)
    clips, lost = read(shard)
    assert len(clips) == 2
    assert len(lost) == 1


def test_a_missing_file_loses_its_clip(tmp_path):
    path = tmp_path / "short.tar"
    with path.open("wb") as file, ShardWriter(file) as shard:
        shard.add("a-0-0", {"frames": 4}, pairs(0))
    assert read(path) == ([], ["clip a-0-0 of short.tar is lost: it has no frame003.png"])


@pytest.mark.parametrize("name", ["../a.json", "/etc/a.json", "x/../../a.json", "a.exe", "a.frame000.png/b"])
def test_names_that_are_none_of_ours_are_refused(tmp_path, name):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = 2
        tar.addfile(entry, io.BytesIO(b"{}"))
    with pytest.raises(InputError, match="no file of a shard"):
        list(read_shard(path))


def test_links_are_refused(tmp_path):
    path = tmp_path / "evil.tar"
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo("a.json")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(entry)
    with pytest.raises(InputError, match="no file of a shard"):
        list(read_shard(path))


@pytest.mark.parametrize("content", [b"", b"no tar at all"])
def test_no_tar(tmp_path, content):
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(InputError, match="x.tar"):
        list(read_shard(tmp_path / "x.tar"))


def test_keys_are_plain():
    assert clip_key("Ein Film.v2 (ü).mp4", "0123456789abcdef", 42) == "Ein_Film_v2_-01234567-000042"
    assert clip_key("../..", "0123456789", 0) == "_-01234567-000000"
    assert len(clip_key("x" * 500 + ".mkv", "0" * 64, 10**6)) < 60


@pytest.mark.parametrize("fps", [None, "", "fast", 0, -5, float("nan"), float("inf"), 1e300, [24]])
def test_a_rate_that_cannot_be_true_is_the_default(fps):
    assert playback_fps({"fps": fps}) == playback_fps({}) == DEFAULT_FPS
    assert playback_fps({"fps": 23.976}) == 23.976


def test_drawings_are_read_as_they_were_written():
    drawing = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert np.array_equal(((1 - to_sketch(drawing, "dark")[0]) * 255).round().byte().numpy(), drawing)


def test_xdog_draws_dark_lines_on_white():
    frame = np.full((32, 32, 3), 230, np.uint8)
    frame[:, 16:] = (40, 90, 200)
    (drawing,) = make_extractor("xdog")(0, [frame])
    assert drawing.shape == (32, 32)
    assert drawing.dtype == np.uint8
    assert (drawing[:, :8] == 255).all()
    assert drawing[:, 14:18].min() < 64


def test_given_lines_of_any_polarity_and_size():
    lines = np.zeros((32, 48, 3), np.uint8)
    lines[:, 20:24] = 255  # white on black
    extract = ProvidedLineArt([lines] * 2, 2, (16, 24), "lines")
    (drawing,) = extract(1, [np.zeros((16, 24, 3), np.uint8)])
    assert drawing.shape == (16, 24)
    assert (drawing[:, 10:12] == 0).all()
    assert (drawing[:, :9] == 255).all()


@pytest.mark.parametrize(("count", "size", "word"), [(3, (32, 48), "one for each"), (2, (32, 32), "aspect")])
def test_given_lines_that_do_not_fit(count, size, word):
    with pytest.raises(InputError, match=word):
        ProvidedLineArt([np.zeros((32, 48, 3), np.uint8)] * 2, count, size, "lines")


def test_sparse_members_are_refused(tmp_path):
    """They claim sizes that no file has."""
    entry = tarfile.TarInfo("a.json")
    entry.type, entry.size = tarfile.GNUTYPE_SPARSE, 0
    (tmp_path / "x.tar").write_bytes(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(InputError, match="no file of a shard"):
        list(read_shard(tmp_path / "x.tar"))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "lvcd shards 1", "shards": [{"name": "a; b"}]}', "\xff",
                                  '{"format": "lvcd shards 1", "shards": [{"name": null, "clips": 1, "bytes": 1}]}',
                                  '{"format": "lvcd shards 1", "shards": [{"name": "../a", "clips": 1, "bytes": 1}]}'])  # fmt: skip # noqa: E501
def test_what_is_no_manifest(text):
    with pytest.raises(ValueError):
        Manifest.parse(text.encode("latin-1"))


@pytest.mark.parametrize("frames", ["999999999", "1e400", "NaN", "[" * 5000, "9" * 5000, "[1]", "-1"])
def test_a_number_of_frames_that_cannot_be_loses_the_clip_alone(tmp_path, frames):
    """Also 999,999,999, whose names would not fit into memory."""
    with (tmp_path / "shard-00000.tar").open("wb") as file, ShardWriter(file) as shard:
        shard.add("a", {}, pairs(0))
        shard.add("b", {"frames": 3}, pairs(1))
    data = (tmp_path / "shard-00000.tar").read_bytes()
    text = f'{{"frames": {frames}}}'.encode()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar, tarfile.open(tmp_path / "x.tar", "w") as out:
        for entry in tar:
            content = text if entry.name == "a.json" else tar.extractfile(entry).read()
            entry.size = len(content)
            out.addfile(entry, io.BytesIO(content))
    lost = []
    assert [entry.key for entry in clip_entries(tmp_path / "x.tar", lost.append)] == ["b"]
    assert len(lost) == 1 and "clip a of x.tar is lost" in lost[0] and "\n" not in lost[0]


def test_a_manifest_nested_deep_is_none():
    with pytest.raises(ValueError, match="deep"):
        Manifest.parse(b"[" * 100_000)
