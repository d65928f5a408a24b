"""Sequential sampling: segments are sampled one after the other, each bound to the one before (paper, section 5).

Slots of a network call: the references, then `overlap` results of the previous segment (in the first segment: copies
of a reference), then the window. Latents are (b t c h w), times the VAE's scale factor unless said otherwise.
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
"""The frame number of the first reference among those of the clip; the next ones are -2, -3, ..."""

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

    A frame that both segments paint keeps its noise, and so does its copy among the isolated frames.
    """
    refs = noise.shape[1] - overlap - window
    repeated = [refs + window + i for i in range(overlap)]
    recycled = [refs + overlap + i for i in range(window - overlap)]
    return noise[:, [*range(refs), *repeated, *repeated, *recycled]]


def nearest_references(places: Sequence[int | None], frames: Sequence[int], most: int | None) -> tuple[int, ...]:
    """Choose the references of a segment: all without a place, and of the others the `most` nearest to its frames.

    places: frame number of each reference; None = it has no place in time. most: None = all, at least 1.
    Returns their indices in order. However many there are, every segment gets equally many.
    """
    placed = [i for i, place in enumerate(places) if place is not None]
    order = sorted(placed, key=lambda i: (min(abs(f - places[i]) for f in frames), i))  # type: ignore[operator]
    chosen = {*order[:most], *(i for i, place in enumerate(places) if place is None)}
    return tuple(sorted(chosen))


def nearest_reference(places: Sequence[int | None], frame: int, among: Sequence[int]) -> int:
    """Return the index, out of `among`, of the placed reference nearest to a frame, the earlier of two; without a
    placed one the first."""
    placed = [i for i in among if places[i] is not None]
    return min(placed, key=lambda i: (abs(frame - places[i]), places[i]), default=among[0])  # type: ignore[operator]


def sample_segments(
    prepare: Prepare,
    segments: Sequence[Segment],
    noise: Tensor,  # (b slots c h w) unit normal, of the first of all segments
    references: Tensor,  # (b n c h w) latents of the references, unscaled
    scale: float,  # the VAE's scale factor
    config: SamplingConfig,  # complete
    state: SegmentState | None = None,  # of the segment before segments[0]; None = segments[0] is the first of all
    later_references: Tensor | None = None,  # (b n c h w) in later segments, as in the original; None = the same
    on_denoised: OnDenoised | None = None,  # sees, and may replace, every denoised estimate
    places: Sequence[int | None] = (None,),  # (n) frame number of each reference, maybe outside the clip; None = none
) -> Iterator[tuple[Segment, Tensor, SegmentState]]:
    """Sample one segment after the other (paper, section 5).

    A frame's conditioning latent is that of the nearest reference with a place, or else of the first reference.
    Yields each segment with the latents (b count c h w) that it finishes, and the state for the next one.
    """
    o, w = config.overlap, config.slots - 1 - config.overlap
    levels, solver = config.noise_levels, SOLVERS[config.solver or ""]
    for segment in segments:
        chosen = nearest_references(places, segment.frames, config.max_keys)
        refs = len(chosen)
        nearest = [nearest_reference(places, frame, chosen) for frame in segment.frames]
        if state is None:
            concat = references[:, [*chosen, *nearest[:1] * o, *nearest]]
            frames = (*(REFERENCE - i for i in chosen), *[REFERENCE - nearest[0]] * o, *segment.frames)
            x_T = noise
        else:
            latents = references if later_references is None else later_references
            before = state.latents.to(latents) / scale
            concat = torch.cat([latents[:, list(chosen)], before, latents[:, nearest]], dim=1)
            frames = (*(REFERENCE - i for i in chosen), *segment.frames[:o], *segment.frames)
            x_T = shift_noise(state.noise, o, w)

        blend = _OverlappedBlending(config, refs, state.denoised if state is not None else None, on_denoised)
        denoise = prepare(frames, concat)
        first = state is None

        def denoise_slots(x: Tensor, sigma: Tensor, denoise=denoise, first=first, refs=refs) -> Tensor:
            return denoise(x, sigma, config.layout(first, sigma, refs))

        start = x_T * (1 + levels[0].item() ** 2) ** 0.5
        latents = solver(denoise_slots, start, levels, blend)
        state = SegmentState(x_T, latents[:, refs + w :], blend.recorded())
        yield segment, latents[:, refs + o :][:, : segment.count], state


class _OverlappedBlending:
    """Replaces the overlapped frames' estimates by the previous segment's, call for call (paper, 5.1)."""

    def __init__(self, config: SamplingConfig, refs: int, previous: Tensor | None, on_denoised: OnDenoised | None):
        self.config, self.refs, self.previous, self.on_denoised = config, refs, previous, on_denoised
        self.calls: list[Tensor] = []

    def __call__(self, step: int, denoised: Tensor) -> Tensor:
        o = self.config.overlap
        if self.on_denoised is not None:
            denoised = self.on_denoised(step, denoised)
        if self.config.blend_steps is not None and step >= self.config.blend_steps:
            return denoised
        if self.previous is not None and o:
            denoised = denoised.clone()
            denoised[:, self.refs + o : self.refs + 2 * o] = self.previous[len(self.calls)]
        self.calls.append(denoised[:, denoised.shape[1] - o :].clone())
        return denoised

    def recorded(self) -> Tensor:
        """Return the estimates of the last `overlap` frames (n b overlap c h w), for the next segment."""
        return torch.stack(self.calls) if self.calls else torch.empty(0)
