"""The correspondence loss: cross-entropy of reference attention against color matches.

It is not in the paper, whose U-Net comes from Stable Video Diffusion with trained attention. A small network that
starts from random weights learns late where to attend, because at first the values it would read mean nothing to it.
The original frames say where each place's color is in the reference, so the attention weights can be supervised.
(Compare Vondrick et al. 2018, Tracking Emerges by Colorizing Videos, where color supervises attention, too.)

letters: b clips, t frames (the reference at 0), n places of a frame, m queries, c channels, h w latent size
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.nn.attention_maps import queries_and_keys, record_inputs, spatial_self_attentions
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet

MATCH_DISTANCE = 0.5
"""Standard deviation of a color match, as a distance of scaled latents. Measured on drawn cartoons, areas of 8 x 8 px:
places of one color are 0.33 apart (median), any two places 3.0."""

QUERIES_PER_FRAME = 128
"""Places of a video frame that are supervised at each step, drawn anew: with all 2,304 places of a layer, as many
attention weights would be kept for each of them."""

AttentionInputs = list[tuple[Any, Tensor]]
"""Of each call of an attention layer: the layer, and its input (b t) n c."""


def record_attention_inputs(unet: ColorUNet, controlnet: SketchControlNet) -> AbstractContextManager[AttentionInputs]:
    """Record the inputs of spatial self-attention as long as the context is open.

    The U-Net's input half and middle are left out: their features do not contain the sketches.
    """
    output_half = [a for name, a in spatial_self_attentions(unet).items() if name.startswith("up_blocks")]
    return record_inputs([*spatial_self_attentions(controlnet).values(), *output_half])


def correspondence_loss(inputs: AttentionInputs, x0: Tensor, seeds: list[int]) -> Tensor:
    """Compute each clip's -ln of the attention to the reference that falls on color matches, as a mean => (b).

    inputs: see `record_attention_inputs`; x0: (b t c h w) scaled clean latents; seeds: one for each clip, which draws
    the queries. Attention is normalized over the reference's places. The mean is over queries, video frames and layers.
    A color that the reference does not have is matched by its nearest one. 0 = all attention is on the matches; ln n =
    attention is uniform over n places, of which one matches.
    """
    targets: dict[int, tuple[Tensor, Tensor]] = {}
    total = x0.new_zeros(len(x0))
    for attn, x in inputs:
        n = x.shape[1]
        if n not in targets:
            queries = torch.stack(
                [torch.randperm(n, generator=torch.Generator().manual_seed(s))[:QUERIES_PER_FRAME] for s in seeds]
            ).to(x.device)
            targets[n] = queries, color_matches(x0, queries, n)
        queries, matches = targets[n]
        x = x.unflatten(0, x0.shape[:2])
        q, k = queries_and_keys(attn, gather_places(x[:, 1:], queries), x[:, :1])
        with torch.autocast(x.device.type, enabled=False):  # the logarithm needs all digits
            weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).mean(2)  # (b t m n)
        total = total - (weights * matches).sum(-1).clamp(min=1e-6).log().mean((1, 2))
    return total / len(inputs)


def gather_places(x: Tensor, places: Tensor) -> Tensor:
    """Return the tokens of each clip's places: x (b t n c), place numbers (b m) => (b t m c)."""
    return x.gather(2, places[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def color_matches(x0: Tensor, queries: Tensor, n: int) -> Tensor:
    """Compute how well each place of the reference matches each query's color, in (0, 1], 1 for the nearest.

    x0: (b t c h w) latents; queries: (b m) place numbers, row by row, of the n places of a frame => (b t-1 m n).
    """
    h, w = x0.shape[-2:]
    step = math.sqrt(h * w / n)
    size = (math.ceil(h / step - 0.01), math.ceil(w / step - 0.01))
    assert size[0] * size[1] == n, f"{n} places are no grid of {h} x {w}"
    colors = F.adaptive_avg_pool2d(x0.flatten(0, 1).float(), size).flatten(2).mT.unflatten(0, x0.shape[:2])
    distance = torch.cdist(gather_places(colors[:, 1:], queries), colors[:, :1]) ** 2
    return torch.exp((distance.amin(-1, keepdim=True) - distance) / (2 * MATCH_DISTANCE**2))
