"""A folder of shards belongs to one job: it is resumed, whoever began it, and refused to another job."""

from __future__ import annotations

import hashlib
import json

import pytest

from lvcd.errors import InputError
from lvcd.shards.folder import ShardFolder
from lvcd.shards.format import ENCODED, PIXELS

JOB = {"films": [{"name": "a.mp4"}], "settings": {"size": (2, 3)}}
NAMES = {"shard-00000.tar": 1, "shard-00001.tar": 2}


def write(folder, clips, name=None):
    with folder.write_shard(name) as shard:
        for clip in range(clips):
            shard.add_files(f"clip-{clip}", {"json": b"{}"})


def files(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file()}


def finished(path):
    with ShardFolder(path, PIXELS, JOB) as folder:
        for clips in NAMES.values():
            write(folder, clips)
        folder.finish()
    return path


def test_a_finished_folder_has_shards_and_a_manifest(tmp_path):
    made = files(finished(tmp_path))
    assert set(made) == {*NAMES, "manifest.json"}
    manifest = json.loads(made["manifest.json"])
    assert list(manifest) == ["format", "job", "films", "shards"] and manifest["format"] == PIXELS
    assert {shard["name"]: shard["clips"] for shard in manifest["shards"]} == NAMES
    assert all(shard["sha256"] == hashlib.sha256(made[shard["name"]]).hexdigest() for shard in manifest["shards"])
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        assert folder.finished and folder.record == manifest


def test_an_unfinished_one_is_resumed_after_its_last_whole_shard(tmp_path):
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        write(folder, 1)
        folder.scratch.mkdir()
        (folder.scratch / "00000.clips").touch()
        with pytest.raises(RuntimeError), folder.write_shard() as shard:
            shard.add_files("clip-0", {"json": b"{}"})
            raise RuntimeError("power cut")
    (tmp_path / ".shard-00001.tar.0123abcd.tmp").touch()  # of a write that was killed
    assert not (tmp_path / "manifest.json").exists() and (tmp_path / ".prepare.json").exists()
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        assert not folder.finished and [shard["name"] for shard in folder.record["shards"]] == ["shard-00000.tar"]
        assert (folder.scratch / "00000.clips").exists()
        write(folder, 2)
        folder.finish()
    assert files(tmp_path) == files(finished(tmp_path.parent / f"{tmp_path.name}-whole"))


@pytest.mark.parametrize("damage", [lambda file: file.unlink(), lambda file: file.write_bytes(b"no more")])
def test_shards_that_follow_one_another_are_written_again_from_the_first_that_is_damaged(tmp_path, damage):
    before = files(finished(tmp_path))
    damage(tmp_path / "shard-00000.tar")
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        assert not folder.finished and folder.record["shards"] == [] and not (tmp_path / "manifest.json").exists()
        for clips in NAMES.values():
            write(folder, clips)
        folder.finish()
    assert files(tmp_path) == before


def test_planned_shards_are_independent(tmp_path):
    job = {"source_sha256": "ab", "stage": {"name": "8x8"}, "encoders": {"vae": "cd"}}
    with ShardFolder(tmp_path, ENCODED, job, NAMES) as folder:
        assert folder.missing == [*NAMES]
        write(folder, 2, "shard-00001.tar")
        write(folder, 1, "shard-00000.tar")
        assert folder.missing == []
        folder.finish()
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert list(manifest) == ["format", "source_sha256", "stage", "encoders", "shards"]
    assert [shard["name"] for shard in manifest["shards"]] == [*NAMES]
    (tmp_path / "shard-00000.tar").unlink()
    with ShardFolder(tmp_path, ENCODED, job, NAMES) as folder:
        assert not folder.finished and folder.missing == ["shard-00000.tar"] and (tmp_path / ".encode.json").exists()
    with ShardFolder(tmp_path, ENCODED, job, {**NAMES, "shard-00001.tar": 3}) as folder:
        assert folder.missing == [*NAMES], "one that lacks a clip is not finished"
    with pytest.raises(InputError, match="model"):
        ShardFolder(tmp_path, ENCODED, {**job, "encoders": {}}, NAMES)


def test_one_run_at_a_time_and_one_job(tmp_path):
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        with pytest.raises(InputError, match="another run"):
            ShardFolder(tmp_path, PIXELS, JOB)
        write(folder, 1)
    with pytest.raises(InputError, match="settings"):
        ShardFolder(tmp_path, PIXELS, {**JOB, "settings": {}})
    with pytest.raises(InputError, match="delete"):
        (tmp_path / ".prepare.json").rename(tmp_path / "manifest.json")
        ShardFolder(tmp_path, ENCODED, {}, {})
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(InputError, match="no manifest"):
        ShardFolder(tmp_path, PIXELS, JOB)


def test_a_job_that_came_to_nothing_is_not_in_the_way(tmp_path):
    with ShardFolder(tmp_path, PIXELS, {"films": []}) as folder:
        folder.scratch.mkdir()
        other = folder.scratch
    with ShardFolder(tmp_path, PIXELS, JOB) as folder:
        assert folder.record["job"]["settings"] == {"size": [2, 3]} and folder.scratch != other and not other.exists()
