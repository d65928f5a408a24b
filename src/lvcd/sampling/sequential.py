"""Sequential sampling: one segment after the other, each held to the one before (paper, section 5).

Slots of a network call: the reference, then `overlap` results of the previous segment (in the first segment: copies of
the reference), then the window. Latents are (b t c h w), times the VAE's scale factor unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lvcd.diffusion.noise import karras
from lvcd.diffusion.solver import OnDenoised, euler
from lvcd.frames import FrameLayout

from .segments import Segment

REFERENCE = -1
"""The frame number of the reference among those of the clip."""

SlotDenoise = Callable[[Tensor, Tensor, FrameLayout], Tensor]
"""(x (b t c h w), sigma, layout) -> denoised, for the conditions of one segment."""

Prepare = Callable[[Sequence[int], Tensor], SlotDenoise]
"""(frame number of each slot, conditioning latents (b t c h w) unscaled) -> that segment's denoise."""


@dataclass
class Scheme:
    """How to sample. The defaults are the paper's."""

    sigmas: Tensor = field(default_factory=lambda: karras(25))
    """(n + 1) falling noise levels, the last 0."""
    solver: Callable[..., Tensor] = euler
    window: int = 14
    """Frames of the video path."""
    overlap: int = 4
    """Frames a segment shares with the one before, 0 .. window - 1."""
    blend_steps: int | None = None
    """Overlapped blending in the first so many steps; None = all."""
    prev_reference_steps: int | None = None
    """Prev-reference attention in the first so many steps; None = all, 0 = never (nor its gain)."""
    gain: float = 10.0
    """alpha: how much more the overlapped frames heed the previous segment's results."""
    gain_layers: int | None = 13
    """See FrameLayout.gain_layers."""
    keep_gain: bool = True
    """Once prev-reference attention ends, the gain stays on, now on the reference's keys, as in the original."""
    reach: int = 3
    """Frames after the overlap read the one so many to their left."""
    reference_attention: bool = True
    """False for networks that were trained without."""
    isolation: bool = True
    """False for networks whose temporal layers were trained to see the reference."""

    @property
    def slots(self) -> int:
        return 1 + self.overlap + self.window

    def layout(self, first: bool, sigma: Tensor) -> FrameLayout:
        """Who sees whom in a call at noise level sigma."""
        return self._layout(first, sigma).ablated(self.reference_attention, self.isolation)

    def _layout(self, first: bool, sigma: Tensor) -> FrameLayout:
        referenced = FrameLayout.referenced(self.window, 1 + self.overlap)
        if first or self.overlap == 0 or self.prev_reference_steps == 0:
            return referenced
        prev = FrameLayout.prev_referenced(self.window, self.overlap, self.gain, self.reach, self.gain_layers)
        steps = self.prev_reference_steps
        if steps is None or steps >= len(self.sigmas) - 1 or sigma > self.sigmas[steps]:
            return prev
        return prev.with_sources(referenced) if self.keep_gain else referenced


@dataclass
class Carry:
    """All that a segment leaves to the next; it does not grow with the clip."""

    noise: Tensor
    """(b slots c h w) unit normal noise of the segment."""
    latents: Tensor
    """(b overlap c h w) the results of its last frames."""
    denoised: Tensor
    """(n b overlap c h w) the estimates of the same frames, one for each network call that will be blended."""


def shift_noise(noise: Tensor, overlap: int, window: int) -> Tensor:
    """A segment's noise for the next (b slots c h w): a frame keeps its own, and its copy among the references too."""
    last = [1 + window + i for i in range(overlap)]
    fresh = [1 + overlap + i for i in range(window - overlap)]
    return noise[:, [0, *last, *last, *fresh]]


def colorize(
    prepare: Prepare,
    segments: Sequence[Segment],
    noise: Tensor,  # (b slots c h w) unit normal, of the first of all segments
    reference: Tensor,  # (b c h w) the reference's latent, unscaled
    scale: float,  # the VAE's scale factor
    scheme: Scheme,
    carry: Carry | None = None,  # of the segment before segments[0]; None = segments[0] is the first of all
    later_reference: Tensor | None = None,  # (b c h w) in later segments, as in the original; None = the same one
    watch: OnDenoised | None = None,  # sees, and may replace, every denoised estimate
) -> Iterator[tuple[Segment, Tensor, Carry]]:
    """Paint segment after segment: yields it, the latents (b count c h w) it finishes, and what it hands on."""
    o, w = scheme.overlap, scheme.window
    for segment in segments:
        if carry is None:
            concat = reference[:, None].expand(-1, scheme.slots, -1, -1, -1)
            frames = (*[REFERENCE] * (1 + o), *segment.frames)
            x_T = noise
        else:
            ref = (reference if later_reference is None else later_reference)[:, None]
            concat = torch.cat([ref, carry.latents.to(ref) / scale, ref.expand(-1, w, -1, -1, -1)], dim=1)
            frames = (REFERENCE, *segment.frames[:o], *segment.frames)
            x_T = shift_noise(carry.noise, o, w)

        blend = _Blend(scheme, carry.denoised if carry is not None else None, watch)
        denoise = prepare(frames, concat)
        first = carry is None

        def denoise_slots(x: Tensor, sigma: Tensor, denoise=denoise, first=first) -> Tensor:
            return denoise(x, sigma, scheme.layout(first, sigma))

        start = x_T * (1 + scheme.sigmas[0].item() ** 2) ** 0.5
        latents = scheme.solver(denoise_slots, start, scheme.sigmas, blend)
        carry = Carry(x_T, latents[:, 1 + w :], blend.kept())
        yield segment, latents[:, 1 + o :][:, : segment.count], carry


class _Blend:
    """Overlapped blending (paper 5.1): the overlapped frames' estimates are the previous segment's, call for call."""

    def __init__(self, scheme: Scheme, before: Tensor | None, watch: OnDenoised | None):
        self.scheme, self.before, self.watch = scheme, before, watch
        self.calls: list[Tensor] = []

    def __call__(self, step: int, denoised: Tensor) -> Tensor:
        o = self.scheme.overlap
        if self.watch is not None:
            denoised = self.watch(step, denoised)
        if self.scheme.blend_steps is not None and step >= self.scheme.blend_steps:
            return denoised
        if self.before is not None and o:
            denoised = denoised.clone()
            denoised[:, 1 + o : 1 + 2 * o] = self.before[len(self.calls)]
        self.calls.append(denoised[:, denoised.shape[1] - o :].clone())
        return denoised

    def kept(self) -> Tensor:
        return torch.stack(self.calls) if self.calls else torch.empty(0)
