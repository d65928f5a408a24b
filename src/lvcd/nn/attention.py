"""Attention processors that carry out a FrameLayout inside diffusers' attention layers.

Inside the networks frames are folded, (b t) with t fastest. None of the processors has a parameter.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from lvcd.frames import FrameLayout


@dataclass
class LayoutContext:
    """The frame layout of the current call, which all layers of one network read.

    A network's `forward` writes it and nobody clears it: gradient checkpointing runs blocks again during backward.
    """

    layout: FrameLayout = field(default_factory=lambda: FrameLayout.plain(1))
    cross_outputs: dict[Attention, Tensor] | None = None
    """Outputs (b 1 c) of the cross-attentions, computed once for many calls; None = compute them in the call."""


def attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute softmax attention of projected tokens: q (n N c), k v (n M c) => (n N c).

    bias: added to the logits, broadcast to (n heads N M); None = none.
    """
    q, k, v = (rearrange(x, "n l (heads c) -> n heads l c", heads=attn.heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=bias), "n heads l c -> n l (heads c)")


def project_out(attn: Attention, x: Tensor) -> Tensor:
    """Apply an attention layer's output projection: (n N c) => (n N c)."""
    return attn.to_out[1](attn.to_out[0](x))


class ReferenceAttnProcessor:
    """Spatial self-attention in which a frame reads the joined tokens of its sources (paper, 4.3 and 5.2; method, 6).

    There is no mask: frames that read equally many sources share one call. Where sources have unequal gains, ln(gain)
    is one number per key, broadcast over frames, heads and queries.
    """

    def __init__(self, context: LayoutContext, layer: int):
        self.context, self.layer = context, layer

    def __call__(self, attn: Attention, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        layout = self.context.layout
        q, k, v = (
            rearrange(to(hidden_states), "(b t) n c -> b t n c", t=layout.num_frames)
            for to in (attn.to_q, attn.to_k, attn.to_v)
        )
        groups = layout.groups(self.layer)
        parts = [self._attend(attn, q, k, v, g) for g in groups]
        order = [t for g in groups for t in g.frames]
        out = torch.cat(parts, dim=1) if len(parts) > 1 else parts[0]
        if order != sorted(order):
            out = out[:, torch.tensor(order, device=out.device).argsort()]
        return project_out(attn, rearrange(out, "b t n c -> (b t) n c"))

    @staticmethod
    def _attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor, group) -> Tensor:
        """(b t n c) => (b len(group.frames) n c)"""
        b, n = q.shape[0], q.shape[2]
        keys, values = (torch.cat([_take(x, source) for source in group.sources], dim=2) for x in (k, v))
        bias = None
        if group.log_gain is not None:
            bias = torch.tensor(group.log_gain, dtype=q.dtype, device=q.device).repeat_interleave(n)[None, None, None]
        out = attend(attn, _take(q, group.frames).flatten(0, 1), keys.flatten(0, 1), values.flatten(0, 1), bias)
        return rearrange(out, "(b t) n c -> b t n c", b=b)


def _take(x: Tensor, frames: tuple[int, ...]) -> Tensor:
    """x[:, frames], without a copy where the frames are a run or all the same."""
    first, count = frames[0], len(frames)
    if frames == tuple(range(first, first + count)):
        return x[:, first : first + count]
    if frames == (first,) * count:
        return x[:, first : first + 1].expand(-1, count, -1, -1)
    return x[:, list(frames)]


class IsolatedTemporalAttnProcessor:
    """Temporal self-attention among the video frames; a reference frame attends to itself alone (method, section 5)."""

    def __init__(self, context: LayoutContext):
        self.context = context

    def __call__(self, attn: Attention, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        refs = self.context.layout.num_refs
        v = attn.to_v(hidden_states)
        video = hidden_states[:, refs:]
        out = attend(attn, attn.to_q(video), attn.to_k(video), v[:, refs:])
        # The softmax over a single key is 1: a reference frame's output is its own value.
        return project_out(attn, torch.cat([v[:, :refs], out], dim=1) if refs else out)


class SingleTokenCrossAttnProcessor:
    """Cross-attention to one context token a clip: its softmax is 1, so queries do not matter (method, section 11).

    A context of several tokens is attended to as usual.
    """

    def __init__(self, context: LayoutContext):
        self.context = context

    @staticmethod
    def single_token_output(attn: Attention, token: Tensor) -> Tensor:
        """Compute the output for a context of one token, which is the same for every query: (n 1 d) => (n 1 c)."""
        return project_out(attn, attn.to_v(token))

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args, **kw) -> Tensor:
        if self.context.cross_outputs is not None:
            output = self.context.cross_outputs[attn]  # (b 1 c); the rows are (b t) in space and (b h w) in time
            return output.repeat_interleave(hidden_states.shape[0] // output.shape[0], dim=0)
        if encoder_hidden_states.shape[1] == 1:
            return self.single_token_output(attn, encoder_hidden_states)
        q, k, v = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        return project_out(attn, attend(attn, q, k, v))


class FramePositions(nn.Module):
    """Frame positions of the temporal layers: 0 for every reference, 0, 1, 2, ... for the video (method, section 4).

    It replaces the module of diffusers' spatio-temporal transformer that embeds 0..t-1.
    """

    def __init__(self, sinusoid: nn.Module, context: LayoutContext):
        super().__init__()
        self.sinusoid, self.context = sinusoid, context

    def forward(self, frame: Tensor) -> Tensor:
        """Embed frame numbers, (b t), counted from 0 in every clip => (b t) c."""
        return self.sinusoid((frame - self.context.layout.num_refs).clamp(min=0))
