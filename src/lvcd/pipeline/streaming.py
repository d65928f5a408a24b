"""What a stream of painted frames needs beside networks: places of frames, reports of steps, a state to go on from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.sampling.decode import ChunkDecoder
from lvcd.sampling.sequential import SegmentState

if TYPE_CHECKING:
    from .lineart_video import LineartVideoPipeline


class FramePlacement:
    """Knows which frame of the clip a decoded slot is. A frame that is given in color is that very picture.

    finish   gets each other frame (b 3 H W) and its number in the clip, and returns what comes out
    first    the first frame that is painted
    begin    the first frame that is wanted: the same, or the one before, which is given
    """

    def __init__(
        self,
        crop: Callable[[Tensor], Tensor],
        given: Mapping[int, Tensor],
        first: int,
        empty: Tensor,
        finish: Callable[[Tensor, int], Tensor] | None = None,
        begin: int = 0,
    ):
        self.crop, self.given, self.first, self.empty, self.begin = crop, given, first, empty, begin
        self.finish = finish or (lambda frame, number: frame)

    def __call__(self, chunks: list[Tensor], end: int) -> Tensor:
        """Turn decoded slots, chunks of (b n 3 H W) up to slot `end`, into frames of the clip (b n' 3 H W).

        Slot 0 is the reference: the frame `begin` if painting began after it, and else no frame that is wanted.
        """
        if not chunks:
            return self.empty
        slots = torch.cat(chunks, dim=1)
        frames = []
        for number, frame in enumerate(slots.unbind(1), end - slots.shape[1] - 1 + self.first):
            if number >= self.begin:
                given = self.given.get(number)
                frames.append(self.finish(self.crop(frame), number) if given is None else given.to(frame))
        return torch.stack(frames, dim=1) if frames else self.empty


class StepReporter:
    """Reports every denoising step, and calls the user's callback, whatever the solver."""

    def __init__(
        self,
        pipeline: LineartVideoPipeline,
        levels: Tensor,  # (n + 1) noise levels
        total: int,
        update_bar: Callable[[int], object],
        on_step: Callable[[int, int], object] | None,
        callback: Callable | None,
    ):
        self.pipeline, self.levels, self.total, self.callback = pipeline, levels, total, callback
        self.update_bar, self.on_step = update_bar, on_step
        self.step, self.done = -1, 0

    def start_segment(self) -> None:
        """Count the steps of the next segment from 0."""
        self.step = -1

    def advance(self, steps: int) -> None:
        """Report so many more steps."""
        self.done += steps
        self.update_bar(steps)
        if self.on_step is not None:
            self.on_step(self.done, self.total)

    def __call__(self, step: int, denoised: Tensor) -> Tensor:
        if self.pipeline.interrupt:
            raise PaintingInterruptedError
        if step > self.step:  # a second-order solver asks twice in one step
            self.advance(step - self.step)
        self.step = step
        if self.callback is None:
            return denoised
        answer = self.callback(self.pipeline, step, self.levels[step], {"latents": denoised})
        return (answer or {}).get("latents", denoised)


class PaintingInterruptedError(Exception):
    """Painting ends here, because the user's callback set `_interrupt`."""


def chunk_of(decode_chunk_size: int | None) -> dict[str, int]:
    """Return the decoder's chunk of so many frames, the reference included; chunks overlap by up to 3 frames."""
    if decode_chunk_size is None:
        return {}
    if type(decode_chunk_size) is not int or decode_chunk_size < 2:
        raise InputError(f"decode_chunk_size={decode_chunk_size}: give a whole number from 2")
    return {"size": decode_chunk_size, "overlap": min(3, decode_chunk_size - 2)}


_STATE = ("noise", "latents", "denoised", "pending")


def pack_state(carry: SegmentState, chunks: ChunkDecoder, segments_done: int) -> dict[str, Tensor]:
    """Return what a stream that goes on after so many segments needs."""
    counts = torch.tensor([segments_done, chunks.decoded])
    tensors = (carry.noise, carry.latents, carry.denoised, chunks.pending)
    return {**{k: v.contiguous() for k, v in zip(_STATE, tensors)}, "counts": counts}


def unpack_state(state: dict[str, Tensor], chunks: ChunkDecoder) -> tuple[SegmentState, int]:
    """Put the state of an earlier stream into a new decoder => the last segment's state, and how many were done."""
    noise, latents, denoised, pending = (state[k].to(chunks.pending) for k in _STATE)
    segments_done, chunks.decoded = (int(n) for n in state["counts"])
    chunks.pending = pending
    return SegmentState(noise, latents, denoised), segments_done
