"""Test sets: which clips, and what a method sees of them; against Pillow and tarfile."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcd.errors import InputError
from lvcd.evaluation import Protocol, TestSet, evaluate
from lvcd.evaluation.testset import clip_seed
from lvcd.leaderboard.table import describe
from tests.helpers.evaluation import FunctionMethod, cartoons, repeat_reference, two_metrics
from tests.helpers.paths import TEST_STYLE


def opened(**settings) -> TestSet:
    return TestSet(Protocol(**{"name": "test", "shards": TEST_STYLE, **settings}))


def in_the_tar(name: str) -> np.ndarray:
    with tarfile.open(TEST_STYLE / "shard-00000.tar") as tar:
        return np.array(Image.open(io.BytesIO(tar.extractfile(name).read())))


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(TEST_STYLE, tmp_path / "set"))


def refused(path: Path, **settings) -> str:
    with pytest.raises(InputError) as told:
        opened(shards=path, **settings)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_clip_is_its_first_frame_and_what_follows():
    tests = opened(frames=5)
    clip = tests[2]
    assert clip.key == tests.keys[2]
    assert (clip.reference * 255).round().byte().numpy().tolist() == in_the_tar(f"{clip.key}.frame000.png").transpose(
        2, 0, 1
    ).tolist()
    assert clip.original.shape == (5, 3, 72, 128) and clip.sketches.shape == (5, 1, 72, 128)
    drawing = in_the_tar(f"{clip.key}.sketch005.png")
    assert ((1 - clip.sketches[-1, 0]) * 255).round().byte().numpy().tolist() == drawing.tolist()
    assert clip.original[-1].mul(255).round().byte().numpy().transpose(1, 2, 0).tolist() == (
        in_the_tar(f"{clip.key}.frame005.png").tolist()
    )


def test_whole_clips_and_some_of_them():
    tests = opened()
    assert len(tests) == 4 and sum(tests.lengths) + 4 == 87  # of the manifest
    assert opened(clips=2).keys == [tests.keys[1], tests.keys[3]]


def test_binarized_sketches_have_no_grey_and_keep_their_side():
    grey, pure = opened(frames=3)[0].sketches, opened(frames=3, binarized=True)[0].sketches
    assert set(pure.unique().tolist()) == {0.0, 1.0} and ((grey > 0) & (grey < 1)).float().mean() > 0.01
    assert bool((pure[grey > 0.51] == 1).all()) and bool((pure[grey < 0.49] == 0).all())


def test_another_size():
    tests = opened(frames=1, height=64, width=96)
    assert tests.sizes == {(64, 96)} and tests[0].original.shape[-2:] == tests[0].sketches.shape[-2:] == (64, 96)


def in_order() -> list[tuple[str, str, np.ndarray]]:
    """(key, rest of the name, pixels) of all pictures of the set, frames of a clip before its sketches."""
    with tarfile.open(TEST_STYLE / "shard-00000.tar") as tar:
        names = [name for name in tar.getnames() if name.endswith(".png")]
        found = [
            (*name.split(".", 1), np.array(Image.open(io.BytesIO(tar.extractfile(name).read())))) for name in names
        ]
    keys = list(dict.fromkeys(key for key, _, _ in found))
    return sorted(found, key=lambda picture: (keys.index(picture[0]), picture[1]))


def by_hand(pictures) -> str:
    found = hashlib.sha256()
    for key, name, pixels in pictures:
        kind, number = name[:-7], int(name[-7:-4])
        found.update(f"{key} {kind} {number} {pixels.shape[1]}x{pixels.shape[0]}\n".encode() + pixels.tobytes())
    return found.hexdigest()


def packed(out: Path, pictures) -> Path:
    """As another hand packs them: greater files, one shard for each clip, a manifest that says as little as it may."""
    out.mkdir()
    shards = []
    for number, key in enumerate(dict.fromkeys(key for key, _, _ in pictures)):
        own, file = [p for p in pictures if p[0] == key], out / f"shard-{number:05d}.tar"
        with tarfile.open(file, "w") as tar:
            files = {"json": json.dumps({"frames": len(own) // 2, "sketches": "exact"}).encode()}
            for _, name, pixels in own:
                data = io.BytesIO()
                Image.fromarray(pixels).save(data, format="PNG", compress_level=1)
                files[name] = data.getvalue()
            for name, content in files.items():
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size = len(content)
                tar.addfile(entry, io.BytesIO(content))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        shards.append({"name": file.name, "sha256": digest, "bytes": file.stat().st_size, "clips": 1})
    (out / "manifest.json").write_text(json.dumps({"format": "lvcd shards 1", "job": {}, "shards": shards}))
    return out


def test_the_row_tells_the_set_by_its_pictures(tmp_path):
    own = in_order()
    about = opened(frames=5).protocol_record({})
    assert about["data"] == by_hand(own)
    assert (about["width"], about["height"], about["frames"], about["sketch"]) == (128, 72, 5, "exact")
    assert opened(shards=packed(tmp_path / "set", own), data=about["data"], frames=5).protocol_record({}) == about


@pytest.mark.parametrize("what", ["a frame", "a sketch", "a key", "the order", "the last frame"])
def test_other_pictures_are_another_set(what, tmp_path):
    others = [(key, name, pixels.copy()) for key, name, pixels in in_order()]
    if what in ("a frame", "a sketch"):
        next(pixels for _, name, pixels in others if name.startswith(what[2:]))[0, 0] ^= 1
    elif what == "a key":
        others = [(key.replace("0", "1"), *rest) for key, *rest in others]
    elif what == "the order":
        first = others[0][0]
        others.sort(key=lambda picture: picture[0] == first)
    else:
        key, name, _ = max(others, key=lambda picture: picture[1])
        others = [p for p in others if p[0] != key or p[1][-7:] != name[-7:]]
    assert "test set" in refused(packed(tmp_path / "set", others), data=by_hand(in_order()))


def test_seeds_depend_on_the_clip_alone():
    seeds = {clip_seed(seed, key) for seed in range(3) for key in opened().keys}
    assert len(seeds) == 12 and clip_seed(1, "a") == clip_seed(1, "a")


def test_a_set_that_is_another_is_refused(copied):
    assert "test set" in refused(copied, data="0" * 64)
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").unlink()
    assert "no manifest.json" in refused(copied)
    manifest["shards"][0]["sha256"] = "0" * 64
    (copied / "manifest.json").write_text(json.dumps(manifest))
    assert "shard-00000.tar" in refused(copied)


def test_a_set_that_is_not_whole_is_refused(copied, tmp_path):
    shard = copied / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:200_000])
    assert "bytes" in refused(copied)
    shard.unlink()
    assert "no shards" in refused(copied)
    assert "nothing" in refused(tmp_path / "nothing")


def test_settings_without_a_meaning_are_refused():
    for wrong in (
        {"frames": 0},
        {"clips": 0},
        {"leaks": -1},
        {"height": 64},
        {"frames": 1.5},
        {"clips": True},
        {"binarized": 1},
    ):
        with pytest.raises(InputError, match="protocol"):
            opened(**wrong)


def test_a_set_with_fewer_clips_than_the_protocol_has_says_so(tmp_path):
    """The paper's protocol has 1,000: a row of four clips is no row of a thousand."""
    tests = opened(clips=1000, frames=2)
    assert tests.protocol_record({})["clips"] == 4 and len(tests.warnings) == 1 and "1,000" in tests.warnings[0]
    row = evaluate(FunctionMethod(repeat_reference), cartoons(clips=1000, frames=2), two_metrics(), tmp_path)
    assert row.protocol["clips"] == row.n == 4 and tests.warnings[0] in row.warnings
    assert "4 clips" in describe(row.protocol)
    assert opened(clips=4, frames=2).warnings == [] and opened(frames=2).protocol_record({})["clips"] is None
