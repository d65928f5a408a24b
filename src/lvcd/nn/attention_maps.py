"""What the spatial self-attentions read, recorded while the networks run: their inputs, or their attention maps.

letters: b clips, t frames, n tokens of a frame (places, row by row), S sources of a frame, c channels
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor, nn

from lvcd.errors import InputError
from lvcd.frames import NOBODY, FrameLayout

from .attention import ReferenceAttnProcessor
from .encoder import LayoutUNet


@dataclass(frozen=True)
class AttentionMap:
    """The attention weights of one layer in one network call."""

    layout: FrameLayout
    """Which frames each frame could read in this call."""
    weights: Tensor
    """(b t n S n) in [0, 1], a mean over the heads: how much each place of a frame reads each place of each of its
    sources, `layout.sources`; the weights of a place sum to 1."""

    def on_frame(self, source: int) -> Tensor:
        """Return (b t n n): how much each place of each frame reads each place of frame `source`; 0 for frames that
        may not read it."""
        table = torch.tensor(self.layout.sources, device=self.weights.device)  # (S t)
        reads = (table == source).T.to(self.weights)[None, :, None, :, None]
        return (self.weights * reads).sum(3)


def spatial_self_attentions(net: LayoutUNet) -> dict[str, Attention]:
    """Return the spatial self-attentions by name, in the order in which `FrameLayout.gain_layers` counts them: input,
    middle, output."""
    found = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, Attention) and isinstance(module.processor, ReferenceAttnProcessor)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].processor.layer))


@contextmanager
def record_attention(net: LayoutUNet, layer: int) -> Iterator[list[AttentionMap]]:
    """Record the attention map of one layer at every call of `net`, as long as the context is open.

    layer  index in `spatial_self_attentions(net)`, from 0
    What `net` computes stays the same. A map takes S n n numbers a frame, too many for long clips at full resolution.
    InputError: the network has no such layer.
    """
    found = list(spatial_self_attentions(net).values())
    if not 0 <= layer < len(found):
        raise InputError(f"layer {layer}: this network has spatial self-attentions 0 to {len(found) - 1}")
    maps: list[AttentionMap] = []

    @torch.no_grad()
    def record(attn: Attention, x: Tensor) -> None:
        maps.append(_attention_map(attn, x))

    with _on_call([found[layer]], record):
        yield maps


@contextmanager
def record_inputs(layers: Iterable[Attention]) -> Iterator[list[tuple[Attention, Tensor]]]:
    """Record each call of the layers, as the layer and its input tokens (b t) n c, as long as the context is open.

    The tokens keep their gradients, so a loss on the attention weights can train what comes before the layer.
    """
    calls: list[tuple[Attention, Tensor]] = []
    with _on_call(layers, lambda attn, x: calls.append((attn, x))):
        yield calls


@contextmanager
def _on_call(layers: Iterable[nn.Module], record: Callable[[Attention, Tensor], None]) -> Iterator[None]:
    hooks = [attn.register_forward_pre_hook(lambda attn, inputs: record(attn, inputs[0])) for attn in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def queries_and_keys(attn: Attention, asking: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Project tokens, (b t n c) each => queries and keys, float32, (b t heads n c)."""
    q, k = (
        rearrange(to(x).float(), "b t n (heads c) -> b t heads n c", heads=attn.heads)
        for to, x in ((attn.to_q, asking), (attn.to_k, asked))
    )
    return q, k


def _attention_map(attn: Attention, x: Tensor) -> AttentionMap:
    """x: (b t) n c. The layer itself never forms these weights: it calls a fused kernel."""
    processor = attn.processor
    layout = processor.context.layout
    x = x.unflatten(0, (-1, layout.num_frames))
    q, k = queries_and_keys(attn, x, x)
    logits = torch.stack([q @ k[:, list(row)].mT for row in layout.sources], dim=4) / math.sqrt(q.shape[-1])
    last = layout.gain_layers
    if layout.gain is not None and (last is None or processor.layer < last):
        logits = logits + torch.tensor(layout.gain, device=x.device).log().T[None, :, None, None, :, None]
    unread = torch.tensor(layout.sources, device=x.device).T == NOBODY
    logits = logits.masked_fill(unread[None, :, None, None, :, None], -math.inf)
    return AttentionMap(layout, logits.flatten(4).softmax(4).unflatten(4, logits.shape[4:]).mean(2))
