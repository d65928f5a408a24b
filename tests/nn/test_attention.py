"""The processors against dense masks and gathered keys (tests/oracles.py), for any table of sources."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.attention_processor import Attention
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lvcd.frames import FrameLayout
from lvcd.nn.attention import (
    FramePositions,
    IsolatedTemporalAttnProcessor,
    LayoutContext,
    ReferenceAttnProcessor,
    SingleTokenCrossAttnProcessor,
)
from lvcd.nn.conv import IsolatedConv3d
from tests.helpers import oracles
from tests.helpers.layouts import layouts

WIDTH = 16


def layer(context: int | None = None) -> Attention:
    torch.manual_seed(0)
    return Attention(WIDTH, cross_attention_dim=context, heads=2, dim_head=WIDTH // 2)


def with_gradients(module: nn.Module, call, *inputs: torch.Tensor) -> list[torch.Tensor]:
    """The output, and the gradients of a number made of it with respect to the inputs and the weights."""
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    out = call(*inputs)
    number = (out * torch.linspace(-1, 1, out.numel()).view_as(out).cos()).sum()
    wanted = [*inputs, *module.parameters()]
    grads = torch.autograd.grad(number, wanted, allow_unused=True)
    return [out, *(torch.zeros_like(w) if g is None else g for w, g in zip(wanted, grads))]


def assert_same(got: list[torch.Tensor], want: list[torch.Tensor]) -> None:
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-4)


PUBLISHED = (
    FrameLayout.plain(3),
    FrameLayout.referenced(4),
    FrameLayout.referenced(4, 3),
    FrameLayout.prev_referenced(6, 2),
    FrameLayout.referenced(4, 3, 2),
    FrameLayout.prev_referenced(6, 2, references=3),
    FrameLayout.prev_referenced(6, 4).with_sources(FrameLayout.referenced(6, 5)),
)


# ---------------------------------------------------------------------------------------------------- spatial attention


@settings(deadline=None, max_examples=60)
@given(st.one_of(layouts(), st.sampled_from(PUBLISHED)), st.integers(1, 2), st.integers(0, 20), st.integers(1, 5))
def test_reference_attention(layout, clips, number, tokens):
    attn, context = layer(), LayoutContext(layout)
    x = torch.randn(clips * layout.num_frames, tokens, WIDTH)
    ours, dense = ReferenceAttnProcessor(context, number), oracles.DenseReference(context, number)
    assert_same(with_gradients(attn, lambda x: ours(attn, x), x), with_gradients(attn, lambda x: dense(attn, x), x))


def test_the_oracle_tells_layers_and_layouts_apart():
    """Or else the test above could not fail."""
    attn, x = layer(), 3 * torch.randn(13, 5, WIDTH)
    prev, normal = FrameLayout.prev_referenced(8, 4), FrameLayout.referenced(8, 5)
    calls = [(prev, 0), (prev, 13), (normal, 0), (prev.with_sources(normal), 0), (FrameLayout.plain(13), 0)]
    outs = [oracles.DenseReference(LayoutContext(layout), number)(attn, x) for layout, number in calls]
    for i, a in enumerate(outs):
        for b in outs[:i]:
            assert (a - b).abs().max() > 1e-3
    assert torch.equal(outs[0], oracles.DenseReference(LayoutContext(prev), 12)(attn, x))


def test_a_frame_reads_only_its_sources():
    layout = FrameLayout(0, ((0, 1, 2, 3), (0, 0, 1, 2)))
    attn, x = layer(), torch.randn(4, 5, WIDTH)
    process = ReferenceAttnProcessor(LayoutContext(layout), 0)
    before = process(attn, x)
    x[2] += 1
    changed = (process(attn, x) - before).abs().amax(dim=(1, 2))
    assert (changed[:2] == 0).all() and (changed[2:] > 1e-3).all()


class Largest(TorchDispatchMode):
    """The most numbers that any operation's output holds in memory. The inside of a fused operation is not seen."""

    numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(x, torch.Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.element_size())
        return out


def most_numbers(process, attn, x) -> int:
    with torch.no_grad(), Largest() as largest:
        process(attn, x)
    return largest.numbers


@pytest.mark.parametrize("overlap", [1, 4, 13])
def test_no_mask_is_made(overlap):
    tokens, layout = 192, FrameLayout.prev_referenced(14, overlap)
    t = layout.num_frames
    attn, x, context = layer(), torch.randn(t, tokens, WIDTH), LayoutContext(layout)
    mask = t * tokens * 2 * tokens  # (T, 1, N, 2N)
    assert most_numbers(oracles.DenseReference(context, 0), attn, x) >= mask
    assert most_numbers(ReferenceAttnProcessor(context, 0), attn, x) <= t * 2 * tokens * WIDTH < mask / 8


# --------------------------------------------------------------------------------------------------- temporal attention


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.data())
def test_isolated_temporal_attention(t, data):
    refs, places = data.draw(st.integers(0, t - 1)), data.draw(st.integers(1, 4))
    attn, context = layer(), LayoutContext(FrameLayout.referenced(t - refs, refs) if refs else FrameLayout.plain(t))
    x = torch.randn(places, t, WIDTH)
    ours, dense = IsolatedTemporalAttnProcessor(context), oracles.DenseTemporal(context)
    assert_same(with_gradients(attn, lambda x: ours(attn, x), x), with_gradients(attn, lambda x: dense(attn, x), x))


def test_temporal_attention_isolates():
    attn, process = layer(), IsolatedTemporalAttnProcessor(LayoutContext(FrameLayout.referenced(3, 2)))
    x = torch.randn(4, 5, WIDTH)
    before = process(attn, x)
    for frame, reached in ((0, [0]), (1, [1]), (3, [2, 3, 4])):
        other = x.clone()
        other[:, frame] += 1
        changed = (process(attn, other) - before).abs().amax(dim=(0, 2))
        assert [f for f in range(5) if changed[f] > 0] == reached


# ------------------------------------------------------------------------------------------------- temporal convolution


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.data())
def test_isolated_convolution(t, data):
    refs = data.draw(st.integers(0, t - 1))
    torch.manual_seed(0)
    plain = nn.Conv3d(3, 5, (3, 1, 1), padding=(1, 0, 0))
    conv = IsolatedConv3d(
        plain, LayoutContext(FrameLayout.referenced(t - refs, refs) if refs else FrameLayout.plain(t))
    )
    conv.load_state_dict(plain.state_dict())
    x = torch.randn(data.draw(st.integers(1, 2)), 3, t, 2, 3)
    got = with_gradients(conv, conv, x)
    assert_same(got, with_gradients(conv, lambda x: oracles.isolated_conv(conv, x, refs), x))
    if not refs:
        torch.testing.assert_close(got[0], plain(x))


# ------------------------------------------------------------------------------------------------------ cross-attention


@pytest.mark.parametrize("tokens", [1, 2, 5])
def test_cross_attention_is_the_ordinary_one(tokens):
    attn = layer(context=7)
    x, tokens_of_clip = torch.randn(6, 4, WIDTH), torch.randn(6, tokens, 7)
    ours, plain = SingleTokenCrossAttnProcessor(LayoutContext()), oracles.PlainCross()
    want = with_gradients(attn, lambda x, c: plain(attn, x, c), x, tokens_of_clip)
    got = with_gradients(attn, lambda x, c: ours(attn, x, c).expand(-1, 4, -1), x, tokens_of_clip)
    assert_same(got, want)


def test_computed_outputs_serve_the_rows_of_their_clip():
    """In space rows are (clip, frame), in time (clip, place): a clip's rows are a run either way."""
    attn, token = layer(context=7), torch.randn(2, 1, 7)
    outputs = {attn: SingleTokenCrossAttnProcessor.single_token_output(attn, token)}
    x = torch.randn(6, 4, WIDTH)
    got = SingleTokenCrossAttnProcessor(LayoutContext(cross_outputs=outputs))(attn, x, None).expand(-1, 4, -1)
    want = oracles.PlainCross()(attn, x, token.repeat_interleave(3, dim=0))
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------------------------------------ frame positions


@pytest.mark.parametrize(
    ("layout", "positions"),
    [
        (FrameLayout.plain(4), [0, 1, 2, 3]),
        (FrameLayout.referenced(14), [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
        (FrameLayout.prev_referenced(14, 4), [0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ],
)
def test_frame_positions(layout, positions):
    frame = torch.arange(layout.num_frames).repeat(2)
    assert FramePositions(nn.Identity(), LayoutContext(layout))(frame).tolist() == positions * 2
