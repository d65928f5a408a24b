"""What a rival would pick: on drawings whose right answer is known, and on real cartoons against copying."""

from __future__ import annotations

import pytest
import torch

from lvcd.errors import InputError
from lvcd.evaluation import Protocol, TestSet
from lvcd.evaluation.methods import CopyReference, FlowWarp, LazyBrush, SegmentMatch
from lvcd.metrics import SegmentAccuracy
from tests.helpers.paths import CARTOONS

GROUND, BALL, INK = (0.2, 0.8, 0.4), (0.9, 0.3, 0.1), (0.1, 0.0, 0.2)


def ball(x: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A ball at x with a line around it => frame (3 64 96), sketch (1 64 96)."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(96), indexing="ij")
    radius = ((rows - 30) ** 2 + (columns - x) ** 2).float().sqrt()
    line = ((radius - 14).abs() < 1.5).float()
    frame = torch.tensor(GROUND)[:, None, None].expand(3, 64, 96).clone()
    frame[:, radius < 14] = torch.tensor(BALL)[:, None]
    frame[:, line > 0] = torch.tensor(INK)[:, None]
    return frame, line[None]


def clip(positions) -> tuple[torch.Tensor, torch.Tensor]:
    frames, sketches = zip(*map(ball, positions))
    return torch.stack(frames), torch.stack(sketches)


@pytest.mark.parametrize("method", [FlowWarp(), SegmentMatch(), LazyBrush()])
def test_a_still_drawing_is_the_reference(method):
    frames, sketches = clip([40, 40, 40])
    painted = method.paint(frames[0], sketches[0], sketches[1:], 0)
    assert painted.shape == (2, 3, 64, 96) and torch.allclose(painted, frames[1:], atol=1e-6)


@pytest.mark.parametrize("method", [FlowWarp(), SegmentMatch(), LazyBrush()])
def test_colors_go_where_the_lines_go(method):
    frames, sketches = clip(range(30, 62, 4))
    painted = method.paint(frames[0], sketches[0], sketches[1:], 0)
    off = (painted - frames[1:]).abs().amax(1) > 0.02
    assert not bool(off.any())
    copied = (frames[:1] - frames[1:]).abs().amax(1) > 0.02
    assert copied.float().mean() > 0.05


@pytest.mark.parametrize("method", [FlowWarp(), SegmentMatch(), LazyBrush()])
def test_it_is_better_than_copying_on_cartoons_and_paints_a_blank_reference_blank(method):
    accuracy, copied = SegmentAccuracy(), SegmentAccuracy()
    for clip in TestSet(Protocol("test", CARTOONS / "val", frames=8)):
        for metric, painter in ((accuracy, method), (copied, CopyReference())):
            painted = painter.paint(clip.reference, clip.reference_sketch, clip.sketches, 0)
            metric.update(painted[None], clip.original[None], clip.sketches[None])
    assert accuracy.compute() > copied.compute() + 0.1
    blank = method.paint(torch.ones_like(clip.reference), clip.reference_sketch, clip.sketches, 0)
    assert bool((blank == 1).all())


def test_frames_too_small_for_a_flow_are_refused():
    sketches = torch.zeros(2, 1, 8, 24)
    with pytest.raises(InputError, match="12 x 12 px"):
        FlowWarp().paint(torch.rand(3, 8, 24), sketches[0], sketches, 0)


@pytest.mark.parametrize("method", [FlowWarp(), SegmentMatch(), LazyBrush()])
@pytest.mark.parametrize("line", [0.0, 1.0])
def test_sketches_of_one_value_are_survived(method, line):
    sketches = torch.full((2, 1, 16, 24), line)
    painted = method.paint(torch.rand(3, 16, 24), sketches[0], sketches, 0)
    assert painted.shape == (2, 3, 16, 24) and bool(painted.isfinite().all())
