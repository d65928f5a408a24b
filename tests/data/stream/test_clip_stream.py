"""Real shards run_stages the stages: every clip once, what it should be, and the same after a stop."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from lvcd.data.clip import WindowSampling
from lvcd.data.stream.clip_stream import (
    ClipStream,
    DecodedSample,
    augment_samples,
    batch_samples,
    fill_gaps,
    run_stages,
    skip_items,
)
from lvcd.data.stream.epoch_plan import EpochPlan, Slot
from lvcd.data.stream.source import RetryPolicy, ShardSource
from lvcd.shards.format import ENCODED
from tests.helpers.shards import SIZE, key_of, write_encoded, write_shards

CLIPS = (3, 2, 4)
RETRY = RetryPolicy(timeout=60, retries=0, pause=0)


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, CLIPS)
    write_encoded(folder, CLIPS)
    return folder


def stream(folder, encoded=False, augment=None, sampling=WindowSampling(window=2), epoch=0, done=0, rank=0, **plan):  # noqa: B008
    source = ShardSource(str(folder), "16p" if encoded else "")
    manifest = source.manifest(RETRY, ENCODED) if encoded else source.manifest(RETRY)
    plan = EpochPlan(tuple(s.clips for s in manifest.shards), windows=sampling.windows, **{"batch_size": 2, **plan})
    return ClipStream(source, manifest, plan, *SIZE, sampling, augment, RETRY, encoded, rank, epoch, done)


def in_turn(stream):
    """The batches of a rank as a loader gives them, without its processes."""
    workers = stream.plan.workers
    consumers = [stream.consumer((worker + stream.done) % workers) for worker in range(workers)]
    batches = []
    while consumers:
        for consumer in list(consumers):
            batch = next(consumer, None)
            if batch is None:
                consumers.remove(consumer)
            else:
                batches.append(batch)
    assert not any(batch.errors for batch in batches)
    return [batch.to("cpu") for batch in batches]


def same(a, b):
    return a.keys == b.keys and torch.equal(a.sketches, b.sketches) and torch.equal(a.frames, b.frames)


@settings(deadline=None, max_examples=25)
@given(
    st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 2), st.booleans(), st.integers(0, 2)
)  # fmt: skip
def test_every_clip_once(shards, ranks, workers, batch_size, windows, train, epoch):
    plan = {"ranks": ranks, "workers": max(1, workers), "batch_size": batch_size, "train": train, "buffer": 4}
    seen, whole = Counter(), stream(shards, sampling=WindowSampling(2, windows=windows), epoch=epoch, **plan)
    for rank in range(ranks):
        batches = in_turn(replace(whole, rank=rank))
        assert len(batches) == whole.plan.batches(rank)
        seen.update(key for batch in batches for key in batch.keys)
    assert set(seen) == {key_of(number) for number in range(sum(CLIPS))}
    assert seen.total() - windows * sum(CLIPS) == whole.plan.padded
    assert train or set(seen.values()) == {windows}


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("done", [0, 3])
def test_real_workers_deliver_in_that_order(shards, workers, done):
    whole = stream(shards, workers=max(1, workers), batch_size=1, buffer=3, done=done)
    loader = DataLoader(whole, batch_size=None, num_workers=workers)
    assert [batch.keys for batch in loader] == [batch.keys for batch in in_turn(whole)]


def test_spawned_workers_deliver_the_same(shards):
    whole = stream(shards, batch_size=4)
    loader = DataLoader(whole, None, num_workers=1, multiprocessing_context=multiprocessing.get_context("spawn"))
    assert all(same(a.to("cpu"), b) for a, b in zip(loader, in_turn(whole), strict=True))


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 5), st.integers(1, 3), st.integers(1, 2), st.integers(0, 5))
def test_after_a_stop_the_very_next_batch(shards, done, workers, ranks, buffer):
    whole = stream(shards, workers=workers, ranks=ranks, buffer=buffer, epoch=1, batch_size=1, rank=ranks - 1)
    everything = in_turn(whole)
    done = min(done, len(everything))
    rest = in_turn(replace(whole, done=done))
    assert len(rest) == len(everything) - done
    assert all(same(a, b) for a, b in zip(rest, everything[done:]))


def test_what_was_delivered_is_not_read_again(shards, monkeypatch):
    whole = stream(shards, batch_size=1, buffer=0)
    opened = []
    monkeypatch.setattr(
        ShardSource, "open", lambda self, name, timeout: opened.append(name) or (shards / name).open("rb")
    )
    list(replace(whole, done=CLIPS[whole.plan.order(0)[0]]).consumer(0))
    assert opened == [f"shard-{number:05d}.tar" for number in whole.plan.order(0)[1:]]


def test_pixels_are_those_of_the_frames_that_were_drawn(shards):
    whole = stream(shards, sampling=WindowSampling(2, windows=2), batch_size=3)
    for batch in in_turn(whole):
        assert batch.frames.shape == (3, 3, 3, *SIZE)
        assert batch.sketches.shape == (3, 3, 1, *SIZE)
        assert batch.fps.tolist() == [24.0] * 3
        for key, frames, sketches in zip(batch.keys, batch.frames, batch.sketches):
            number = int(key[-6:])
            assert torch.all(((frames[:, 0] + 1) * 127.5).round() == number)
            times = ((frames[:, 1, 0, 0] + 1) * 127.5).round().int().tolist()
            assert times in [list(drawn) for drawn in whole.draw(key, 0, 5) + whole.draw(key, 1, 5)]
            for time, sketch in zip(times, sketches[:, 0]):
                expected = torch.zeros(SIZE)
                expected[time, : number + 1] = 1
                assert torch.equal(sketch, expected)


def test_latents_are_those_of_the_frames_that_were_drawn(shards):
    pixels, latents = in_turn(stream(shards, epoch=2)), in_turn(stream(shards, encoded=True, epoch=2))
    for a, b in zip(pixels, latents, strict=True):
        assert a.keys == b.keys
        assert b.frames is None
        assert torch.equal(a.sketches, b.sketches)
        times = ((a.frames[:, :, 1, 0, 0] + 1) * 127.5).round()
        numbers = torch.tensor([float(key[-6:]) for key in b.keys])
        assert torch.allclose(b.latents, (numbers[:, None] + times / 10)[..., None, None, None].expand(2, 3, 4, 2, 3), atol=4e-3)  # fmt: skip # noqa: E501
        assert torch.equal(b.tokens, (numbers + times[:, 0] / 4)[:, None, None].expand(2, 1, 6))


def test_frames_are_brought_to_the_size(shards):
    batch = next(replace(stream(shards), height=8, width=12).consumer(0)).to("cpu")
    assert batch.frames.shape[-2:] == batch.sketches.shape[-2:] == (8, 12)


def test_samples_do_not_depend_on_where_they_are_read(shards):
    """In another order, by other processes, of another batch: the same frames of a clip, augment_samples the same."""
    noise = lambda frames, sketches, rng: (frames, sketches * float(rng.random()))  # noqa: E731
    plans = [{}, {"workers": 3, "ranks": 1}, {"batch_size": 1, "buffer": 0}]
    found = []
    for plan in plans:
        clips = {}
        for batch in in_turn(stream(shards, augment=noise, **plan)):
            for key, frames, sketches in zip(batch.keys, batch.frames, batch.sketches):
                clips.setdefault(key, []).append((frames, sketches))
        found.append({key: clip[0] for key, clip in clips.items() if len(clip) == 1})  # padding comes on top
    for other in found[1:]:
        common = set(other) & set(found[0])
        assert len(common) >= 6
        assert all(torch.equal(a, b) for key in common for a, b in zip(found[0][key], other[key]))


def test_validation_shows_the_same_frames_every_time(shards):
    first, second = ({b.keys: b.frames for b in in_turn(stream(shards, train=False, seed=0))} for _ in range(2))
    assert all(torch.equal(first[keys], second[keys]) for keys in first)


def test_epochs_and_seeds_show_other_frames(shards):
    frames = [
        {key: f for b in in_turn(stream(shards, epoch=e, seed=s)) for key, f in zip(b.keys, b.frames)}
        for e, s in ((0, 0), (1, 0), (0, 1))
    ]
    for other in frames[1:]:
        assert any(not torch.equal(frames[0][key], other[key]) for key in frames[0])


# ----------------------------------------------------------------------------------------------- stages, on plain lists


def clip(number, error=""):
    slot = Slot(0, number)
    return (
        DecodedSample(slot, error=error)
        if error
        else DecodedSample(slot, f"k{number}", drawings=torch.full((2, 1, 1, 1), number, dtype=torch.uint8))
    )


def names(clips):
    return [c.key for c in clips]


def test_stages_are_applied_in_turn():
    assert list(run_stages([1, 2, 3], [lambda xs: (x + 1 for x in xs), lambda xs: skip_items(xs, 1)])) == [3, 4]


def test_lost_clips_are_filled_with_the_next():
    clips = [clip(0), clip(1, "a"), clip(2, "b"), clip(3), clip(4, "c")]
    filled = list(fill_gaps(iter(clips), lambda: iter(clips)))
    assert names(filled) == ["k0", "k3", "k3", "k3", "k0"]
    assert [c.error for c in filled] == ["", "a", "b", "", "c"]
    assert [c.slot.clip for c in filled] == [0, 1, 2, 3, 4]


def test_the_filling_is_the_same_after_a_stop():
    clips = [clip(0), clip(1, "a"), clip(2), clip(3, "b"), clip(4, "c")]
    for done in range(5):
        filled = fill_gaps(iter(clips[done:]), lambda: iter(clips))
        assert names(filled) == ["k0", "k2", "k2", "k0", "k0"][done:]


def test_where_all_is_lost_it_stays_so():
    clips = [clip(0, "a"), clip(1, "b")]
    assert list(fill_gaps(iter(clips), lambda: iter(clips))) == clips
    (batch,) = batch_samples(iter(clips), [2])
    assert batch.keys == ()
    assert batch.errors == ("a", "b")


def test_a_clip_that_stands_in_is_augmented_anew():
    seeds = []

    def rng(key, *numbers):
        seeds.append((key, *numbers))
        return np.random.default_rng(0)

    stand_in = replace(clip(0), slot=Slot(0, 1), error="a")
    list(augment_samples([clip(0), stand_in, clip(2, "b")], lambda frames, sketches, rng: (frames, sketches), rng))
    assert len(set(seeds)) == 2


def test_batches_are_as_large_as_planned_less_what_is_lost():
    batches = list(batch_samples(iter([clip(0), clip(1), clip(2, "a"), clip(3), clip(4)]), [2, 2, 1]))
    assert [batch.keys for batch in batches] == [("k0", "k1"), ("k3",), ("k4",)]
    assert [batch.errors for batch in batches] == [(), ("a",), ()]


def test_stock_webdataset_reads_encoded_shards(shards):
    import webdataset as wds

    samples = list(wds.WebDataset(str(shards / "16p" / "shard-00002.tar"), shardshuffle=False).decode())
    assert [sample["__key__"] for sample in samples] == [key_of(number) for number in range(5, 9)]
    assert samples[1]["latents.npy"].shape == (5, 4, 2, 3)
    assert json.dumps(samples[1]["json"]) == '{"frames": 5}'
