"""Recorded attention maps against the layer's own output and a softmax written as loops."""

from __future__ import annotations

import math

import pytest
import torch

from lvcd.errors import InputError
from lvcd.frames import NOBODY, FrameLayout
from lvcd.nn.attention_maps import record_attention, spatial_self_attentions

LAYOUTS = {
    "referenced": FrameLayout.referenced(3),
    "prev_referenced": FrameLayout.prev_referenced(4, 2),
    "gain in the first layer alone": FrameLayout.prev_referenced(4, 2, gain_layers=1),
    "three references": FrameLayout.prev_referenced(4, 2, references=3),
    "plain": FrameLayout.plain(3),
}


def call(net, layout):
    torch.manual_seed(1)
    x = torch.randn(2, layout.num_frames, net.config.in_channels, 4, 8)
    token = torch.randn(2, 1, net.config.cross_attention_dim)
    return net(x, torch.tensor([0.3, 0.1]), token, torch.tensor([[6.0, 160.0, 0.0]] * 2), layout)


def inputs_of(net, layer, layout):
    """What the layer gets and gives in a call."""
    got = {}
    attn = list(spatial_self_attentions(net).values())[layer]
    hook = attn.register_forward_hook(lambda m, args, kwargs, out: got.update(x=args[0], out=out), with_kwargs=True)
    call(net, layout)
    hook.remove()
    return attn, got["x"], got["out"]


def by_loops(attn, x, layout, layer):
    """{(b, t, place): {(source, place): weight}}, number by number in Python."""
    t, n, heads = layout.num_frames, x.shape[1], attn.heads
    q, k = (to(x).double().view(-1, t, n, heads, x.shape[2] // heads) for to in (attn.to_q, attn.to_k))
    biased = layout.gain is not None and (layout.gain_layers is None or layer < layout.gain_layers)
    weights = {}
    for b in range(len(q)):
        for frame in range(t):
            for place in range(n):
                read: dict = {}
                for head in range(heads):
                    terms = []
                    for s, row in enumerate(layout.sources):
                        if row[frame] == NOBODY:
                            continue
                        factor = layout.gain[s][frame] if biased else 1.0
                        for other in range(n):
                            dot = float(q[b, frame, place, head] @ k[b, row[frame], other, head])
                            terms.append((row[frame], other, factor * math.exp(dot / math.sqrt(q.shape[-1]))))
                    total = sum(term for *_, term in terms)
                    for source, other, term in terms:
                        read[source, other] = read.get((source, other), 0.0) + term / total / heads
                weights[b, frame, place] = read
    return weights


@pytest.mark.parametrize("name", LAYOUTS)
@torch.no_grad()
def test_weights_are_those_of_the_softmax(pipeline, name):
    layout, layer = LAYOUTS[name], 2  # the middle: few places
    attn, x, _ = inputs_of(pipeline.unet, layer, layout)
    with record_attention(pipeline.unet, layer) as maps:
        call(pipeline.unet, layout)
    want = by_loops(attn, x, layout, layer)
    n = x.shape[1]
    for source in range(layout.num_frames):
        got = maps[0].on_frame(source)
        for (b, frame, place), read in want.items():
            row = torch.tensor([read.get((source, other), 0.0) for other in range(n)])
            torch.testing.assert_close(got[b, frame, place], row, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", [0, 4])
@torch.no_grad()
def test_the_layer_gives_what_its_weights_say(pipeline, layer):
    """Values mixed by the weights are the layer's output: with both heads made alike, their mean is each of them."""
    layout = LAYOUTS["prev_referenced"]
    attn = list(spatial_self_attentions(pipeline.unet).values())[layer]
    kept = {k: v.clone() for k, v in attn.state_dict().items()}
    for to in (attn.to_q, attn.to_k):
        half = to.weight.shape[0] // 2
        to.weight[half:] = to.weight[:half]
    try:
        _, x, out = inputs_of(pipeline.unet, layer, layout)
        with record_attention(pipeline.unet, layer) as maps:
            call(pipeline.unet, layout)
        v = attn.to_v(x).unflatten(0, (-1, layout.num_frames))
        mixed = sum(maps[0].on_frame(source) @ v[:, source : source + 1] for source in range(layout.num_frames))
        torch.testing.assert_close(attn.to_out[0](mixed.flatten(0, 1)), out, atol=1e-5, rtol=1e-4)
    finally:
        attn.load_state_dict(kept)


@torch.no_grad()
def test_recording_changes_nothing_and_ends(pipeline):
    net, layout = pipeline.unet, LAYOUTS["referenced"]
    before, processors = call(net, layout), dict(net.attn_processors)
    with pytest.raises(ZeroDivisionError), record_attention(net, 1) as maps:
        assert torch.equal(call(net, layout), before)
        assert torch.equal(call(net, layout), before)
        raise ZeroDivisionError
    assert len(maps) == 2
    assert net.attn_processors == processors
    call(net, layout)
    assert len(maps) == 2


@torch.no_grad()
def test_several_recordings_at_once(pipeline):
    layout = LAYOUTS["referenced"]
    with record_attention(pipeline.unet, 1) as alone:
        call(pipeline.unet, layout)
    with (
        record_attention(pipeline.unet, 0) as first,
        record_attention(pipeline.unet, 1) as second,
        record_attention(pipeline.unet, 1) as repeated,
    ):
        call(pipeline.unet, layout)
    assert [len(maps) for maps in (first, second, repeated)] == [1, 1, 1]
    assert first[0].weights.shape[2] == 4 * second[0].weights.shape[2]
    assert torch.equal(second[0].weights, alone[0].weights) and torch.equal(repeated[0].weights, alone[0].weights)


def test_layers_are_numbered_as_the_gain_counts_them(pipeline):
    found = spatial_self_attentions(pipeline.unet)
    assert [attn.processor.layer for attn in found.values()] == list(range(len(found)))
    assert [name.split("_")[0] for name in found] == ["down", "down", "mid", "up", "up", "up", "up"]


@pytest.mark.parametrize("layer", [-1, 99])
def test_a_layer_that_is_not_there(pipeline, layer):
    with pytest.raises(InputError, match=f"layer {layer}: .* 0 to 6"), record_attention(pipeline.unet, layer):
        pass
