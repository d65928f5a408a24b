"""Sequential sampling: segments are sampled one after the other, each bound to the one before (paper, section 5).

Slots of a network call: the reference, then `overlap` results of the previous segment (in the first segment: copies of
the reference), then the window. Latents are (b t c h w), times the VAE's scale factor unless said otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvcd.diffusion.solver import SOLVERS, OnDenoised
from lvcd.frames import FrameLayout

from .config import SamplingConfig
from .segments import Segment

REFERENCE = -1
"""The frame number of the reference among those of the clip."""

SlotDenoise = Callable[[Tensor, Tensor, FrameLayout], Tensor]
"""(x (b t c h w), sigma, layout) -> denoised estimate, under the conditions of one segment."""

Prepare = Callable[[Sequence[int], Tensor], SlotDenoise]
"""(frame number of each slot, conditioning latents (b t c h w) unscaled) -> the segment's denoiser."""


@dataclass
class SegmentState:
    """All that a segment leaves to the next one. It does not grow with the clip."""

    noise: Tensor
    """(b slots c h w) unit normal noise of the segment."""
    latents: Tensor
    """(b overlap c h w) results of its last frames."""
    denoised: Tensor
    """(n b overlap c h w) estimates of the same frames, one for each network call that will be blended."""


def shift_noise(noise: Tensor, overlap: int, window: int) -> Tensor:
    """Return the next segment's noise (b slots c h w).

    A frame that both segments paint keeps its noise, and so does its copy among the references.
    """
    repeated = [1 + window + i for i in range(overlap)]
    recycled = [1 + overlap + i for i in range(window - overlap)]
    return noise[:, [0, *repeated, *repeated, *recycled]]


def sample_segments(
    prepare: Prepare,
    segments: Sequence[Segment],
    noise: Tensor,  # (b slots c h w) unit normal, of the first of all segments
    reference: Tensor,  # (b c h w) the reference's latent, unscaled
    scale: float,  # the VAE's scale factor
    config: SamplingConfig,  # complete
    state: SegmentState | None = None,  # of the segment before segments[0]; None = segments[0] is the first of all
    later_reference: Tensor | None = None,  # (b c h w) in later segments, as in the original; None = the same one
    on_denoised: OnDenoised | None = None,  # sees, and may replace, every denoised estimate
) -> Iterator[tuple[Segment, Tensor, SegmentState]]:
    """Sample one segment after the other (paper, section 5).

    Yields each segment with the latents (b count c h w) that it finishes, and the state for the next one.
    """
    o, w = config.overlap, config.slots - 1 - config.overlap
    levels, solver = config.noise_levels, SOLVERS[config.solver or ""]
    for segment in segments:
        if state is None:
            concat = reference[:, None].expand(-1, config.slots, -1, -1, -1)
            frames = (*[REFERENCE] * (1 + o), *segment.frames)
            x_T = noise
        else:
            ref = (reference if later_reference is None else later_reference)[:, None]
            concat = torch.cat([ref, state.latents.to(ref) / scale, ref.expand(-1, w, -1, -1, -1)], dim=1)
            frames = (REFERENCE, *segment.frames[:o], *segment.frames)
            x_T = shift_noise(state.noise, o, w)

        blend = _OverlappedBlending(config, state.denoised if state is not None else None, on_denoised)
        denoise = prepare(frames, concat)
        first = state is None

        def denoise_slots(x: Tensor, sigma: Tensor, denoise=denoise, first=first) -> Tensor:
            return denoise(x, sigma, config.layout(first, sigma))

        start = x_T * (1 + levels[0].item() ** 2) ** 0.5
        latents = solver(denoise_slots, start, levels, blend)
        state = SegmentState(x_T, latents[:, 1 + w :], blend.recorded())
        yield segment, latents[:, 1 + o :][:, : segment.count], state


class _OverlappedBlending:
    """Replaces the overlapped frames' estimates by the previous segment's, call for call (paper, 5.1)."""

    def __init__(self, config: SamplingConfig, previous: Tensor | None, on_denoised: OnDenoised | None):
        self.config, self.previous, self.on_denoised = config, previous, on_denoised
        self.calls: list[Tensor] = []

    def __call__(self, step: int, denoised: Tensor) -> Tensor:
        o = self.config.overlap
        if self.on_denoised is not None:
            denoised = self.on_denoised(step, denoised)
        if self.config.blend_steps is not None and step >= self.config.blend_steps:
            return denoised
        if self.previous is not None and o:
            denoised = denoised.clone()
            denoised[:, 1 + o : 1 + 2 * o] = self.previous[len(self.calls)]
        self.calls.append(denoised[:, denoised.shape[1] - o :].clone())
        return denoised

    def recorded(self) -> Tensor:
        """Return the estimates of the last `overlap` frames (n b overlap c h w), for the next segment."""
        return torch.stack(self.calls) if self.calls else torch.empty(0)
