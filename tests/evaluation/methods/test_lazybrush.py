"""LazyBrush: its cuts against all labelings and against SciPy, its scribbles, and gaps that it does not leak through"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import maximum_flow

from lvcd.errors import InputError
from lvcd.evaluation.methods import LazyBrush, lazybrush
from lvcd.evaluation.methods.lazybrush import SOFT, cores, grow_scribbles, scribbles_of


def energy(labels: np.ndarray, ink: np.ndarray, scribbles: np.ndarray) -> float:
    """What the paper minimizes, pixel by pixel."""
    H, W = ink.shape
    K, total = 2 * (H + W), 0.0
    for y, x in itertools.product(range(H), range(W)):
        if scribbles[y, x] >= 0 and scribbles[y, x] != labels[y, x]:
            total += max(1, round(SOFT * K))
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < H and u < W and labels[v, u] != labels[y, x]:
                total += round(1 + K * min(1 - ink[y, x], 1 - ink[v, u]))
    return total


@pytest.mark.parametrize("seed", range(4))
def test_two_labels_have_the_least_energy_of_all_labelings(seed):
    rng = np.random.default_rng(seed)
    ink = rng.choice([0.0, 0.5, 1.0], (3, 4))
    scribbles = rng.choice([-1, 0, 1], (3, 4))
    scribbles[0, 0], scribbles[2, 3] = 0, 1
    found = energy(grow_scribbles(ink, scribbles), ink, scribbles)
    every = (np.array(labels).reshape(3, 4) for labels in itertools.product((0, 1), repeat=12))
    assert found == min(energy(labels, ink, scribbles) for labels in every)


def test_two_labels_have_the_least_cut_that_another_library_finds():
    rng = np.random.default_rng(0)
    ink, scribbles = rng.choice([0.0, 1.0], (12, 15)), rng.choice([-1] * 8 + [0, 1], (12, 15))
    H, W = ink.shape
    K, soft = 2 * (H + W), round(SOFT * 2 * (H + W))
    edges = []
    for y, x in itertools.product(range(H), range(W)):
        here = y * W + x
        if scribbles[y, x] >= 0:
            edges.append((H * W, here, soft) if scribbles[y, x] == 0 else (here, H * W + 1, soft))
        for v, u in ((y, x + 1), (y + 1, x)):
            if v < H and u < W:
                cost = round(1 + K * min(1 - ink[y, x], 1 - ink[v, u]))
                edges += [(here, v * W + u, cost), (v * W + u, here, cost)]
    start, end, cost = np.array(edges, np.int32).T
    graph = coo_matrix((cost, (start, end)), (H * W + 2, H * W + 2)).tocsr()
    flow = maximum_flow(graph, H * W, H * W + 1).flow_value
    assert energy(grow_scribbles(ink, scribbles), ink, scribbles) == flow


def house() -> tuple[np.ndarray, np.ndarray]:
    """Three rooms side by side, whose walls have gaps of 4 px => ink (40 90), which room a pixel is in."""
    ink = np.zeros((40, 90), np.float32)
    ink[:, 29:31] = ink[:, 59:61] = 1
    ink[18:22, 29:31] = ink[8:12, 59:61] = 0
    return ink, np.repeat([[0, 1, 2]], 30, 1).repeat(40, 0)


def test_three_labels_part_at_the_gaps_of_lines():
    ink, rooms = house()
    scribbles = np.full(ink.shape, -1)
    for room, x in enumerate((10, 45, 75)):
        scribbles[5:35, x : x + 4] = room
    found = grow_scribbles(ink, scribbles)
    assert (found == rooms)[ink < 0.5].mean() > 0.99


def test_a_scribble_that_runs_over_a_line_is_decided_by_its_larger_part():
    ink, rooms = house()
    scribbles = np.full(ink.shape, -1)
    scribbles[26:36, 10:34] = 0  # 4 px of 24 behind the wall
    scribbles[26:36, 40:56] = 1
    scribbles[26:36, 70:85] = 2
    assert (grow_scribbles(ink, scribbles) == rooms)[ink < 0.5].mean() > 0.99


def test_scribbles_are_the_middles_of_what_has_one_color():
    ink, rooms = house()
    frame = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)[rooms]
    scribbles, colors = scribbles_of(np.where(ink[..., None] > 0, 0, frame).astype(np.float32), ink)
    assert {tuple(color) for color in colors.tolist()} == {(1, 0, 0), (0, 1, 0)}
    on = scribbles >= 0
    assert np.array_equal(colors[scribbles[on]], frame[on]) and 0.1 < on.mean() < 0.6 and not on[ink > 0].any()
    assert {*rooms[on]} == {0, 1, 2}


def test_nothing_to_see_is_one_color():
    rng = np.random.default_rng(0)
    noise = rng.random((16, 24, 3), np.float32)
    scribbles, colors = scribbles_of(noise, np.zeros((16, 24), np.float32))
    assert len(colors) == 1 and set(np.unique(scribbles)) == {0}
    assert (grow_scribbles(np.zeros((4, 5)), np.full((4, 5), -1)) == 0).all()
    assert (cores(np.full((6, 6), 3), np.ones((6, 6))) == -1).all()


def test_open_lines_hold_colors_apart():
    """Where a paint bucket without gaps closed would fill everything at once."""
    ink, rooms = house()
    colors = torch.tensor([[0.9, 0.2, 0.1], [0.2, 0.8, 0.3], [0.1, 0.3, 0.9]])
    sketch = torch.from_numpy(ink)[None]
    frame = colors[torch.from_numpy(rooms)].movedim(-1, 0) * (1 - sketch)
    painted = LazyBrush().paint(frame, sketch, sketch.expand(3, 1, -1, -1), 0)
    assert ((painted - frame).abs().amax(1) < 0.01).float().mean() > 0.97


def test_without_pymaxflow_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lazybrush.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install"):
        LazyBrush()
