"""Where does each place look? The weights of one spatial self-attention layer, read while the networks run.

letters: b clips, t frames, n tokens of a frame (places, row by row), S sources of a frame
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention_processor import Attention
from einops import rearrange
from torch import Tensor

from lvcd.errors import InputError
from lvcd.frames import FrameLayout

from .attention import ReferenceAttnProcessor
from .encoder import LayoutUNet


@dataclass(frozen=True)
class Look:
    """What the frames of one network call looked at in one layer."""

    layout: FrameLayout
    weights: Tensor
    """(b t n S n) mean over the heads: of every place, how much it reads each place of each of its sources
    (`layout.sources`); they sum to 1."""

    def at(self, source: int) -> Tensor:
        """(b t n n): how much each place of each frame reads each place of frame `source`; 0 where it has no right."""
        table = torch.tensor(self.layout.sources, device=self.weights.device)  # (S t)
        reads = (table == source).T.to(self.weights)[None, :, None, :, None]
        return (self.weights * reads).sum(3)


@contextmanager
def looking(net: LayoutUNet, layer: int) -> Iterator[list[Look]]:
    """While it is open, every call of `net` adds its Look to the list; what `net` computes stays the same.

    layer  number of the spatial self-attention, from 0, in the order input, middle, output (see `layers`)
    Explicit weights take S * n * n numbers a frame: for looking, not for painting long clips.
    InputError: no such layer.
    """
    found = layers(net)
    if not 0 <= layer < len(found):
        raise InputError(f"layer {layer}: this network has spatial self-attentions 0 to {len(found) - 1}")
    attn = list(found.values())[layer]
    looks: list[Look] = []
    before = attn.processor
    attn.set_processor(_Looking(before, looks))
    try:
        yield looks
    finally:
        attn.set_processor(before)


def layers(net: LayoutUNet) -> dict[str, Attention]:
    """The spatial self-attentions by name, in the order in which they are numbered."""
    found = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, Attention) and isinstance(module.processor, ReferenceAttnProcessor)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].processor.layer))


class _Looking(ReferenceAttnProcessor):
    """The processor it stands in for, and a copy of its softmax made explicitly."""

    def __init__(self, inner: ReferenceAttnProcessor, looks: list[Look]):
        super().__init__(inner.shared, inner.layer)
        self.inner, self.looks = inner, looks

    def __call__(self, attn: Attention, hidden_states: Tensor, *args, **kwargs) -> Tensor:
        layout = self.shared.layout
        with torch.no_grad():
            self.looks.append(Look(layout, self._weights(attn, hidden_states, layout)))
        return self.inner(attn, hidden_states, *args, **kwargs)

    def _weights(self, attn: Attention, x: Tensor, layout: FrameLayout) -> Tensor:
        """(b t) n c => (b t n S n)"""
        q, k = (
            rearrange(to(x).float(), "(b t) n (heads c) -> b t heads n c", t=layout.num_frames, heads=attn.heads)
            for to in (attn.to_q, attn.to_k)
        )
        logits = torch.stack([q @ k[:, list(row)].mT for row in layout.sources], dim=4) / math.sqrt(q.shape[-1])
        last = layout.gain_layers
        if layout.gain is not None and (last is None or self.layer < last):
            logits = logits + torch.tensor(layout.gain, device=x.device).log().T[None, :, None, None, :, None]
        return logits.flatten(4).softmax(4).unflatten(4, logits.shape[4:]).mean(2)
