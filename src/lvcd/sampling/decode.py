"""Decoding: latents of a clip of any length become frames, a few at a time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Decode = Callable[[Tensor], Tensor]
"""latents (b t c h w), t consecutive frames -> frames (b t 3 H W)"""


class ChunkDecoder:
    """Decodes in chunks that begin with the reference and overlap the chunk before (method, section 8).

    Chunk i holds the reference and frames i s + 1 .. i s + size - 1, with s = size - 1 - overlap. All frames of the
    first chunk are used, and the new frames of later ones; there is no cross-fade. The last chunk ends with the clip.
    """

    def __init__(self, decode: Decode, reference: Tensor, size: int = 10, overlap: int = 3):
        """reference: (b c h w), the latent that every chunk begins with."""
        if not 0 <= overlap < size - 1:
            raise ValueError(f"chunks of {size} frames cannot overlap by {overlap}")
        self.decode, self.reference, self.size, self.overlap = decode, reference, size, overlap
        self.pending = reference[:, None][:, :0]
        """(b n c h w) latents that wait: the last `overlap` decoded frames, then those not yet decoded."""
        self.decoded = 0
        """The number of frames returned so far, the reference included."""

    def push(self, latents: Tensor) -> list[Tensor]:
        """Add the next frames' latents (b n c h w) => finished chunks (b m 3 H W), the reference's frame first."""
        self.pending = torch.cat([self.pending, latents.to(self.pending)], dim=1)
        done = []
        while self.pending.shape[1] >= self.size - 1:
            done.append(self._chunk(self.pending[:, : self.size - 1]))
            self.pending = self.pending[:, self.size - 1 - self.overlap :]
        return done

    def flush(self) -> list[Tensor]:
        """Return what is left at the end of the clip, as at most one chunk."""
        carried = self.overlap if self.decoded else 0
        if self.decoded and self.pending.shape[1] <= carried:
            return []
        return [self._chunk(self.pending)]

    def _chunk(self, latents: Tensor) -> Tensor:
        frames = self.decode(torch.cat([self.reference[:, None], latents], dim=1))
        if self.decoded:
            frames = frames[:, 1 + self.overlap :]
        self.decoded += frames.shape[1]
        return frames
