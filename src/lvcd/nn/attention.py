"""How the rights in a FrameLayout are carried out inside diffusers' attention layers: as attention processors.

Inside the networks frames are folded, (b t) with t fastest. None of the processors here has a parameter.
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
class Shared:
    """What all layers of one network read during a forward pass.

    `forward` writes it and nobody clears it: gradient checkpointing runs blocks again during backward.
    """

    layout: FrameLayout = field(default_factory=lambda: FrameLayout.plain(1))
    constants: dict[Attention, Tensor] | None = None
    """Cross-attention outputs (b 1 c) computed once for many calls; None = compute them in the call."""


def attend(attn: Attention, q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Softmax attention of projected tokens: q (n N c), k v (n M c) => (n N c); bias broadcasts to (n heads N M)."""
    q, k, v = (rearrange(x, "n l (heads c) -> n heads l c", heads=attn.heads) for x in (q, k, v))
    return rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=bias), "n heads l c -> n l (heads c)")


def project_out(attn: Attention, x: Tensor) -> Tensor:
    return attn.to_out[1](attn.to_out[0](x))


class ReferenceAttnProcessor:
    """Spatial self-attention over the joined tokens of a frame's sources (LVCD 4.3 and 5.2; method, section 6).

    No mask: frames that read equally many sources share one call. Where sources have unequal gains, ln(gain) is one
    number per key, broadcast over frames, heads and queries.
    """

    def __init__(self, shared: Shared, layer: int):
        self.shared, self.layer = shared, layer

    def __call__(self, attn: Attention, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        layout = self.shared.layout
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
    """Temporal self-attention among the video frames only; a reference frame sees itself (method, section 5)."""

    def __init__(self, shared: Shared):
        self.shared = shared

    def __call__(self, attn: Attention, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        refs = self.shared.layout.num_refs
        v = attn.to_v(hidden_states)
        video = hidden_states[:, refs:]
        out = attend(attn, attn.to_q(video), attn.to_k(video), v[:, refs:])
        # The softmax over a single key is 1: a reference frame's output is its own value.
        return project_out(attn, torch.cat([v[:, :refs], out], dim=1) if refs else out)


class ConstantCrossAttnProcessor:
    """Cross-attention to one context token a clip: its softmax is 1, so queries do not matter (method, section 11).

    Any other context takes the ordinary way.
    """

    def __init__(self, shared: Shared):
        self.shared = shared

    @staticmethod
    def constant(attn: Attention, token: Tensor) -> Tensor:
        """token: (n 1 d) => (n 1 c), the same for every query."""
        return project_out(attn, attn.to_v(token))

    def __call__(self, attn: Attention, hidden_states: Tensor, encoder_hidden_states: Tensor, *args, **kw) -> Tensor:
        if self.shared.constants is not None:
            constant = self.shared.constants[attn]  # (b 1 c); the rows are (b t) in space and (b h w) in time
            return constant.repeat_interleave(hidden_states.shape[0] // constant.shape[0], dim=0)
        if encoder_hidden_states.shape[1] == 1:
            return self.constant(attn, encoder_hidden_states)
        q, k, v = attn.to_q(hidden_states), attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
        return project_out(attn, attend(attn, q, k, v))


class FramePositions(nn.Module):
    """Numbers the frames for the temporal layers: 0 for every reference, 0, 1, 2, ... for the video (method, 4).

    Stands where diffusers' spatio-temporal transformer has its sinusoid of 0..t-1.
    """

    def __init__(self, sinusoid: nn.Module, shared: Shared):
        super().__init__()
        self.sinusoid, self.shared = sinusoid, shared

    def forward(self, frame: Tensor) -> Tensor:
        """frame: (b t) counted from 0 in every clip => (b t) c"""
        return self.sinusoid((frame - self.shared.layout.num_refs).clamp(min=0))
