"""The table of who sees whom: what it refuses, what it says, and how it is cut into calls."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.frames import NOBODY, FrameLayout
from tests.helpers.layouts import layouts, windows


def weights(layout: FrameLayout, frame: int, biased: bool) -> dict[int, float]:
    """How much each source of a frame counts, straight from the table."""
    total: Counter[int] = Counter()
    for s, row in enumerate(layout.sources):
        if row[frame] == NOBODY:
            continue
        total[row[frame]] += layout.gain[s][frame] if biased else 1.0
    return dict(total)


# ------------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    "table",
    [
        {"num_refs": 0, "sources": ((0, 1), (0,))},
        {"num_refs": 0, "sources": ((0, 2),)},
        {"num_refs": 0, "sources": ((0, -1),)},
        {"num_refs": 2, "sources": ((0, 1),)},
        {"num_refs": -1, "sources": ((0, 1),)},
        {"num_refs": 0, "sources": ((),)},
        {"num_refs": 0, "sources": ()},
        {"num_refs": 0, "sources": ((0, 1),), "gain": ((1.0,),)},
        {"num_refs": 0, "sources": ((0, 1),), "gain": ((1.0, 1.0), (1.0, 1.0))},
        {"num_refs": 0, "sources": ((0, 1), (0, 0)), "gain": ((1.0, 1.0),)},
        {"num_refs": 0, "sources": ((0, 1), (0, 0)), "gain": ((1.0, 1.0), (0.0, 1.0))},
        {"num_refs": 0, "sources": ((0, 1), (0, 0)), "gain": ((1.0, -2.0), (1.0, 1.0))},
    ],
    ids=[
        "uneven rows",
        "source after the end",
        "negative source",
        "no video",
        "negative references",
        "no frames",
        "no rows",
        "short gain",
        "more gains than sources",
        "fewer gains than sources",
        "gain 0",
        "negative gain",
    ],
)
def test_a_table_that_contradicts_itself_is_refused(table):
    with pytest.raises(ValueError, match=r"num_refs|sources|gain"):
        FrameLayout(**table)


def test_a_layout_cannot_be_changed():
    with pytest.raises(AttributeError):
        FrameLayout.plain(3).num_refs = 1


# ------------------------------------------------------------------------------------ the published tables, written out


def test_training():
    layout = FrameLayout.referenced(14)
    assert layout.num_refs == 1 and layout.num_frames == 15 and layout.gain is None
    assert layout.sources == ((0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14), (0,) * 15)


NORMAL = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18),
    (0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
)
PREV_REFERENCE = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (0, 1, 2, 3, 4, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
)
GAIN = ((1,) * 19, (1, 1, 1, 1, 1, 10, 10, 10, 10, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1))


def test_three_references():
    """Video frames read them all; overlapped frames read their earlier result in place of them."""
    layout = FrameLayout.referenced(3, 4, 3)  # three references, and one copy
    assert layout.num_refs == 4 and layout.gain is None
    read = [set(column) for column in zip(*layout.sources)]
    assert read == [{0}, {1}, {2}, {3}, {4, 0, 1, 2}, {5, 0, 1, 2}, {6, 0, 1, 2}]
    later = FrameLayout.prev_referenced(4, 2, references=3)
    assert later.num_refs == 5
    read = [weights(later, frame, True) for frame in range(5, 9)]
    assert read == [{5: 1, 3: 10}, {6: 1, 4: 10}, {5: 1, 0: 1, 1: 1, 2: 1}, {6: 1, 0: 1, 1: 1, 2: 1}]
    # once prev-reference attention ends, the gain is on all references' keys, as it is on the only one's
    late = later.with_sources(FrameLayout.referenced(4, 5, 3))
    assert weights(late, 5, True) == {5: 1, 0: 10, 1: 10, 2: 10} and weights(late, 7, True) == {7: 1, 0: 1, 1: 1, 2: 1}


@given(windows())
def test_one_of_several_references_is_the_published_table(sizes):
    window, overlap = sizes
    assert FrameLayout.referenced(window, 1 + overlap, 1) == FrameLayout.referenced(window, 1 + overlap)
    assert FrameLayout.prev_referenced(window, overlap, references=1) == FrameLayout.prev_referenced(window, overlap)


def test_the_first_segment():
    layout = FrameLayout.referenced(14, 5)
    assert layout.num_refs == 5 and layout.sources == NORMAL and layout.gain is None


def test_later_segments():
    layout = FrameLayout.prev_referenced(14, 4)
    assert layout.num_refs == 5 and layout.sources == PREV_REFERENCE and layout.gain == GAIN


def test_the_gain_counts_in_the_first_13_layers():
    layout = FrameLayout.prev_referenced(14, 4)
    for layer in range(16):
        found = {f: g.log_gain for g in layout.groups(layer) for f in g.frames}
        for frame in range(19):
            if layer <= 12 and 5 <= frame <= 8:
                assert found[frame] == pytest.approx((0.0, 2.302585), abs=1e-6)
            else:
                assert found[frame] is None


def test_the_gain_outlives_prev_reference_attention():
    layout = FrameLayout.prev_referenced(14, 4).with_sources(FrameLayout.referenced(14, 5))
    assert layout.num_refs == 5 and layout.sources == NORMAL and layout.gain == GAIN and layout.gain_layers == 13


def test_plain_is_svd():
    layout = FrameLayout.plain(6)
    (group,) = layout.groups(0)
    assert layout.num_refs == 0
    assert group.frames == (0, 1, 2, 3, 4, 5) and group.sources == ((0, 1, 2, 3, 4, 5),) and group.log_gain is None


# ------------------------------------------------------------------------------------------------ any window, any table


@settings(deadline=None)
@given(windows(), st.integers(1, 5))
def test_every_window_and_overlap_has_its_layouts(size, reach):
    window, overlap = size
    first = FrameLayout.referenced(window, 1 + overlap)
    later = FrameLayout.prev_referenced(window, overlap, reach=reach)
    slots = 1 + overlap + window
    for layout in (first, later, later.with_sources(first)):
        assert layout.num_frames == slots and layout.num_refs == 1 + overlap
        for frame in range(1 + overlap):
            assert set(weights(layout, frame, False)) == {frame}  # references depend on nothing but themselves
    for frame in range(1 + overlap, slots):
        assert weights(first, frame, False) == {0: 1.0, frame: 1.0}
        got = weights(later, frame, later.gain is not None)
        if frame < 1 + 2 * overlap:
            assert got == {frame: 1.0, frame - overlap: 10.0}
        elif overlap:
            assert got == {0: 1.0, frame - min(reach, overlap): 1.0}
        else:
            assert got == {0: 1.0, frame: 1.0}


@settings(deadline=None)
@given(layouts(), st.integers(0, 3))
def test_groups_cover_every_frame_once_and_keep_the_weights(layout, layer):
    biased = layout.gain is not None and (layout.gain_layers is None or layer < layout.gain_layers)
    groups = layout.groups(layer)
    assert sorted(f for g in groups for f in g.frames) == list(range(layout.num_frames))
    for group in groups:
        assert all(len(row) == len(group.frames) for row in group.sources)
        logs = group.log_gain or (0.0,) * len(group.sources)
        assert len(logs) == len(group.sources)
        for i, frame in enumerate(group.frames):
            read = [row[i] for row in group.sources]
            assert len(set(read)) == len(read)
            want = weights(layout, frame, biased)
            total, sums = sum(want.values()), sum(math.exp(x) for x in logs)
            got = {s: math.exp(x) / sums for s, x in zip(read, logs)}  # a softmax knows only shares
            assert got == pytest.approx({s: w / total for s, w in want.items()})


def test_a_source_read_twice_weighs_the_sum():
    layout = FrameLayout(0, ((0, 0), (1, 0), (1, 1)), ((1.0, 1.0), (2.0, 3.0), (4.0, 5.0)), None)
    found = {
        f: (tuple(row[i] for row in g.sources), g.log_gain) for g in layout.groups(0) for i, f in enumerate(g.frames)
    }
    assert found[0] == ((0, 1), pytest.approx((0.0, math.log(6))))
    assert found[1] == ((0, 1), pytest.approx((0.0, math.log(5 / 4))))


def test_one_call_for_all_frames_where_no_gain_is_needed():
    assert len(FrameLayout.plain(9).groups(0)) == 1
    assert len(FrameLayout.prev_referenced(14, 4).groups(0)) == 3  # references, overlapped, new
