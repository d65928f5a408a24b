"""Every clip once, whoever reads; and the same order again after a stop."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.data.stream.epoch_plan import EpochPlan, shuffled

CLIPS = st.lists(st.integers(0, 7), min_size=1, max_size=8).filter(any).map(tuple)
PLANS = st.builds(
    EpochPlan,
    clips=CLIPS,
    batch_size=st.integers(1, 5),
    train=st.booleans(),
    windows=st.integers(1, 3),
    ranks=st.integers(1, 4),
    workers=st.integers(0, 3).map(lambda workers: max(1, workers)),
    seed=st.integers(0, 3),
    buffer=st.integers(0, 20),
)
EPOCHS = st.integers(0, 3)


def consumers(plan):
    return [(rank, worker) for rank in range(plan.ranks) for worker in range(plan.workers)]


def planned(plan, epoch):
    """(shard, clip, window) of all consumers => how often."""
    return Counter(slot[:3] for rank, worker in consumers(plan) for slot in plan.slots(epoch, rank, worker))


@settings(deadline=None, max_examples=150)
@given(PLANS, EPOCHS)
def test_the_union_is_everything_once(plan, epoch):
    everything = {(s, c, w) for s, n in enumerate(plan.clips) for c in range(n) for w in range(plan.windows)}
    found = planned(plan, epoch)
    assert set(found) == everything
    assert found.total() - len(everything) == plan.padded
    assert plan.train or plan.padded == 0


@settings(deadline=None, max_examples=100)
@given(PLANS, EPOCHS)
def test_batches_hold_what_is_planned(plan, epoch):
    for rank, worker in consumers(plan):
        assert sum(plan.sizes(rank, worker)) == len(list(plan.slots(epoch, rank, worker)))
        assert all(0 < size <= plan.batch_size for size in plan.sizes(rank, worker))
        assert not plan.train or set(plan.sizes(rank, worker)) <= {plan.batch_size}
    batches = {plan.batches(rank) for rank in range(plan.ranks)}
    assert max(batches) == -(-plan.samples // (plan.ranks * plan.batch_size))  # no more than one process would need
    if plan.train or (plan.batch_size > 1 and plan.samples >= plan.ranks):
        assert len(batches) == 1  # or processes that train together would wait for each other for ever
    assert sum(plan.num_samples(rank) for rank in range(plan.ranks)) == plan.samples + plan.padded


@settings(deadline=None, max_examples=100)
@given(PLANS, EPOCHS)
def test_padding_comes_from_the_consumers_own_clips_and_is_marked(plan, epoch):
    for rank, worker in consumers(plan):
        slots = list(plan.slots(epoch, rank, worker))
        assert len(set(slots)) == len(slots)
        first = {slot[:3] for slot in slots if not slot.repeat}
        assert {slot[:3] for slot in slots} == first


@settings(deadline=None, max_examples=100)
@given(PLANS, EPOCHS)
def test_only_shards_at_the_cuts_are_read_twice(plan, epoch):
    read = [[slot.shard for slot in plan.slots(epoch, *who)] for who in consumers(plan)]
    for shards in read:
        assert sum(a != b for a, b in zip(shards, shards[1:])) == len(set(shards)) - bool(shards)  # never back
    assert sum(len(set(shards)) for shards in read) <= sum(map(bool, plan.clips)) + len(consumers(plan)) - 1


@settings(deadline=None, max_examples=100)
@given(PLANS.filter(lambda plan: plan.train), EPOCHS, st.data())
def test_after_a_stop_the_rest_comes_in_the_same_order(plan, epoch, data):
    done = data.draw(st.integers(0, plan.full))
    for rank, worker in consumers(plan):
        delivered = plan.delivered(worker, done)
        assert delivered == len([batch for batch in range(done) if batch % plan.workers == worker])
        whole = list(plan.shuffled(plan.slots(epoch, rank, worker), epoch, rank, worker))
        rest = list(plan.shuffled(plan.slots(epoch, rank, worker, delivered), epoch, rank, worker))
        skip = delivered * plan.batch_size
        assert rest[skip:] == whole[skip:]
        assert all(slot.skip for slot in rest[:skip])


def test_epochs_differ_and_repeat():
    plan = EpochPlan((5,) * 20, 4, seed=3)
    orders = [plan.order(epoch) for epoch in range(4)]
    assert len({tuple(order) for order in orders}) == 4
    assert orders == [plan.order(epoch) for epoch in range(4)]
    assert EpochPlan((5,) * 20, 4, seed=4).order(0) != orders[0]
    assert EpochPlan((5,) * 20, 4, train=False).order(1) == list(range(20))


def test_the_buffer_shuffles_as_far_as_it_reaches():
    items = list(range(200))
    drawn = list(shuffled(iter(items), 10, random.Random(0)))
    assert sorted(drawn) == items
    assert drawn != items
    assert all(item <= place + 10 for place, item in enumerate(drawn))
    assert list(shuffled(iter(items), 0, random.Random(0))) == items
    everything = list(shuffled(iter(items), 1000, random.Random(0)))
    assert sum(abs(item - place) for place, item in enumerate(everything)) / 200 > 40  # 200 / 3 on average
