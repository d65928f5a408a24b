"""Slow, readable re-derivations of what src does cleverly. Nothing here is shared with src but the layer weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor


def heads(attn, x: Tensor) -> Tensor:
    """(n l c) => (n heads l c')"""
    return x.view(*x.shape[:2], attn.heads, -1).transpose(1, 2)


def attention(attn, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    out = F.scaled_dot_product_attention(heads(attn, q), heads(attn, k), heads(attn, v), attn_mask=mask)
    return attn.to_out[0](out.transpose(1, 2).flatten(2))


class DenseReference:
    """Reference attention as the original has it: 2N gathered keys for every frame, and a dense bias if any."""

    def __init__(self, context, layer: int):
        self.context, self.layer = context, layer

    def __call__(self, attn, x: Tensor, *args, **kwargs) -> Tensor:
        layout, n = self.context.layout, x.shape[1]
        t = layout.num_frames
        q, k, v = attn.to_q(x), attn.to_k(x), attn.to_v(x)
        k, v = (y.view(-1, t, n, y.shape[-1]) for y in (k, v))
        k, v = (torch.cat([y[:, list(row)] for row in layout.sources], dim=2).flatten(0, 1) for y in (k, v))
        mask = None
        if any(source < 0 for row in layout.sources for source in row):
            mask = torch.zeros(t, 1, n, n * len(layout.sources))
        if layout.gain is not None and (layout.gain_layers is None or self.layer < layout.gain_layers):
            mask = torch.zeros(t, 1, n, n * len(layout.sources))
            for s, row in enumerate(layout.gain):
                for frame, gain in enumerate(row):
                    mask[frame, :, :, s * n : (s + 1) * n] = math.log(gain)
        if mask is not None:
            for s, row in enumerate(layout.sources):
                for frame, source in enumerate(row):
                    if source < 0:
                        mask[frame, :, :, s * n : (s + 1) * n] = -math.inf
            mask = mask.repeat(x.shape[0] // t, 1, 1, 1)
        return attention(attn, q, k, v, mask)


class DenseTemporal:
    """Temporal self-attention of all frames under a (t, t) mask."""

    def __init__(self, context):
        self.context = context

    def __call__(self, attn, x: Tensor, *args, **kwargs) -> Tensor:
        t, refs = x.shape[1], self.context.layout.num_refs
        mask = torch.full((t, t), -math.inf)
        mask[refs:, refs:] = 0
        mask.fill_diagonal_(0)
        return attention(attn, attn.to_q(x), attn.to_k(x), attn.to_v(x), mask)


class PlainCross:
    def __call__(self, attn, x: Tensor, encoder_hidden_states: Tensor, *args, **kwargs) -> Tensor:
        context = encoder_hidden_states
        return attention(attn, attn.to_q(x), attn.to_k(context), attn.to_v(context))


def densify(net) -> None:
    """Give a LayoutUNet the attention above in place of its own."""
    from lvcd.nn.attention import IsolatedTemporalAttnProcessor, ReferenceAttnProcessor

    for module in net.modules():
        processor = getattr(module, "processor", None)
        if isinstance(processor, ReferenceAttnProcessor):
            module.set_processor(DenseReference(processor.context, processor.layer))
        elif isinstance(processor, IsolatedTemporalAttnProcessor):
            module.set_processor(DenseTemporal(processor.context))
        elif processor is not None:
            module.set_processor(PlainCross())


def isolated_conv(conv, x: Tensor, refs: int) -> Tensor:
    """A (3, 1, 1) convolution frame by frame: (b c t h w)."""
    frames = x.unbind(2)
    out = []
    for i in range(len(frames)):
        total = conv.bias[None, :, None, None].expand(x.shape[0], -1, *x.shape[-2:])
        for tap, j in enumerate((i - 1, i, i + 1)):
            alone = i < refs and j != i
            across = j < refs <= i
            if 0 <= j < len(frames) and not alone and not across:
                total = total + torch.einsum("oi,bihw->bohw", conv.weight[:, :, tap, 0, 0], frames[j])
        out.append(total)
    return torch.stack(out, dim=2)


def distance_walk(steps: int, low: float = 0.002, high: float = 700.0, rho: float = 7.0) -> list[float]:
    """The EDM schedule in plain Python doubles, its final 0 included."""
    a, b = high ** (1 / rho), low ** (1 / rho)
    return [(a + i / max(1, steps - 1) * (b - a)) ** rho for i in range(steps)] + [0.0]


def original_sampling(
    denoise_segment, sigmas: Tensor, noise: Tensor, segments, scale: float, reference, overlap: int, blend_steps: int
) -> list[Tensor]:
    """The original's segment loop with Euler steps (method, section 7): the final latents (slots ...) of each segment.

    denoise_segment(frame of each slot, -1 the reference; concat, x, sigma, step, first) -> estimates. One clip, no
    batch: noise (slots c h w), reference (c h w) unscaled. All estimates of all slots are kept, as in the original.
    """
    results: list[Tensor] = []
    before: list[Tensor] = []
    window = len(segments[0])
    for i, frames in enumerate(segments):
        if i == 0:
            slots = [-1] * (1 + overlap) + list(frames)
            concat = [reference] * len(slots)
        else:
            slots = [-1, *frames[:overlap], *frames]
            last = [results[-1][k] / scale for k in range(1 + window, 1 + window + overlap)]
            concat = [reference, *last, *[reference] * window]
            tail = list(range(1 + window, 1 + window + overlap))
            noise = torch.stack([noise[k] for k in [0, *tail, *tail, *range(1 + overlap, 1 + window)]])
        x = noise * math.sqrt(1 + float(sigmas[0]) ** 2)
        estimates = []
        for step in range(len(sigmas) - 1):
            denoised = denoise_segment(slots, torch.stack(concat), x, sigmas[step], step, i == 0).clone()
            if i and step < blend_steps:
                for k in range(overlap):
                    denoised[1 + overlap + k] = before[step][1 + window + k]
            estimates.append(denoised)
            x = x + (sigmas[step + 1] - sigmas[step]) * (x - denoised) / sigmas[step]
        before = estimates
        results.append(x)
    return results


def chunks(total: int, size: int, overlap: int) -> list[list[tuple[int, list[int]]]]:
    """Method, section 8: chunk by chunk, (frame kept, all frames of its chunk), for frames 0 .. total - 1."""
    stride, out = size - 1 - overlap, []
    for i in range(total):
        members = [0] + [f for f in range(stride * i + 1, stride * i + size) if f < total]
        kept = members if i == 0 else members[1 + overlap :]
        if kept:
            out.append([(f, members) for f in kept])
    return out
