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
from lvcd.evaluation import Protocol, TestSet
from lvcd.evaluation.testset import clip_seed

CARTOONS = Path(__file__).parents[2] / "data" / "cartoons" / "test_style"


def opened(**settings) -> TestSet:
    return TestSet(Protocol(**{"name": "test", "shards": CARTOONS, **settings}))


def in_the_tar(name: str) -> np.ndarray:
    with tarfile.open(CARTOONS / "shard-00000.tar") as tar:
        return np.array(Image.open(io.BytesIO(tar.extractfile(name).read())))


@pytest.fixture
def copied(tmp_path) -> Path:
    return Path(shutil.copytree(CARTOONS, tmp_path / "set"))


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


def test_the_row_tells_the_set_by_its_manifest():
    about = opened(frames=5).about({})
    assert about["data"] == hashlib.sha256((CARTOONS / "manifest.json").read_bytes()).hexdigest()
    assert (about["width"], about["height"], about["frames"], about["sketch"]) == (128, 72, 5, "exact")


def test_seeds_depend_on_the_clip_alone():
    seeds = {clip_seed(seed, key) for seed in range(3) for key in opened().keys}
    assert len(seeds) == 12 and clip_seed(1, "a") == clip_seed(1, "a")


def test_a_set_that_is_another_is_refused(copied):
    assert "is not the test set of test" in refused(copied, data="0" * 64)
    manifest = json.loads((copied / "manifest.json").read_text())
    (copied / "manifest.json").unlink()
    assert "no manifest.json" in refused(copied)
    manifest["shards"][0]["sha256"] = "0" * 64
    (copied / "manifest.json").write_text(json.dumps(manifest))
    assert "is not the shard of its manifest" in refused(copied)


def test_a_set_that_is_not_whole_is_refused(copied, tmp_path):
    shard = copied / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:200_000])
    assert "bytes, the manifest says" in refused(copied)
    shard.unlink()
    assert "has no shards" in refused(copied)
    assert "is no folder" in refused(tmp_path / "nothing")


def test_settings_without_a_meaning_are_refused():
    for wrong in ({"frames": 0}, {"clips": 0}, {"leaks": -1}, {"height": 64}, {"frames": 1.5}):
        with pytest.raises(InputError, match="protocol"):
            opened(**wrong)
