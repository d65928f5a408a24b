"""A second lesson for reference attention: look at the places of the reference that have your color.

Not in the paper, whose U-Net comes from SVD and knows already how to look. A small one that begins with nothing learns
it late, because at first what it would read there means nothing to it. The original frames tell where the right color
is, so the weights of attention themselves can be taught (compare Vondrick et al. 2018, Tracking Emerges by Colorizing
Videos: there, too, color tells what to look at).

letters: b clips, t frames (the reference at 0), n places of a frame, m of them, c channels, h w latent size
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

NEAR = 0.5
"""Distance of scaled latents up to which colors are called the same. Measured on drawn cartoons, areas of 8 x 8 px: the
same color 0.33 apart (median), any two places 3.0."""

PLACES = 128
"""Asked of a video frame at each step, drawn anew: of a layer of 2,304, all would keep as many weights each."""


def attending(unet: ColorUNet, controlnet: SketchControlNet) -> AbstractContextManager[list[tuple[Any, Tensor]]]:
    """While it is open, the spatial self-attentions add themselves and what they were given, (b t) n c, at each call:
    all but those of the U-Net's input half and middle, which have not seen the sketches."""
    output_half = [a for name, a in spatial_self_attentions(unet).items() if name.startswith("up_blocks")]
    return record_inputs([*spatial_self_attentions(controlnet).values(), *output_half])


def gaze_loss(seen: list[tuple[Any, Tensor]], x0: Tensor, seeds: list[int]) -> Tensor:
    """-ln of the share of attention, of all that goes to the reference, that falls on the place's own color; a mean
    over places, video frames and layers => (b). Where a frame has more than PLACES, some of them speak for all.

    seen: see `attending`; x0: (b t c h w) clean latents, scaled; seeds: one a clip, for which places. What the
    reference does not have counts by its nearest color. 0 = always right; ln n when one place of n is right and all are
    looked at alike.
    """
    right: dict[int, tuple[Tensor, Tensor]] = {}
    total = x0.new_zeros(len(x0))
    for attn, x in seen:
        n = x.shape[1]
        if n not in right:
            asked = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(s))[:PLACES] for s in seeds])
            right[n] = asked.to(x.device), same_color(x0, asked.to(x.device), n)
        asked, same = right[n]
        x = x.unflatten(0, x0.shape[:2])
        q, k = queries_and_keys(attn, at(x[:, 1:], asked), x[:, :1])
        with torch.autocast(x.device.type, enabled=False):  # the logarithm of a share wants all digits
            weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1).mean(2)  # (b t m n)
        total = total - (weights * same).sum(-1).clamp(min=1e-6).log().mean((1, 2))
    return total / len(seen)


def at(x: Tensor, asked: Tensor) -> Tensor:
    """(b t n c), and numbers of places of each clip (b m) => (b t m c)"""
    return x.gather(2, asked[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def same_color(x0: Tensor, asked: Tensor, n: int) -> Tensor:
    """(b t c h w) => (b t-1 m n): of each place asked, (b m) of the n of a frame, row by row, how much each place of
    the reference has its color, 1 for the nearest."""
    h, w = x0.shape[-2:]
    step = math.sqrt(h * w / n)
    size = (math.ceil(h / step - 0.01), math.ceil(w / step - 0.01))
    assert size[0] * size[1] == n, f"{n} places are no grid of {h} x {w}"
    places = F.adaptive_avg_pool2d(x0.flatten(0, 1).float(), size).flatten(2).mT.unflatten(0, x0.shape[:2])
    apart = torch.cdist(at(places[:, 1:], asked), places[:, :1]) ** 2
    return torch.exp((apart.amin(-1, keepdim=True) - apart) / (2 * NEAR**2))
