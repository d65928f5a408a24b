"""Chunked decoding against a list of chunks (method, section 8)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.sampling.decode import ChunkDecoder
from tests.helpers import oracles


def number(total: int) -> torch.Tensor:
    """Latents (1 total 1 1 1) that are frame numbers."""
    return torch.arange(float(total)).view(1, total, 1, 1, 1)


class Recorder:
    """A decode whose frames say who they are and who was decoded with them."""

    def __init__(self):
        self.chunks: list[list[int]] = []

    def __call__(self, latents):
        self.chunks.append([int(f) for f in latents.flatten()])
        return torch.cat([latents, torch.full_like(latents, len(self.chunks) - 1)], dim=2)

    def story(self, pieces) -> list[tuple[int, list[int]]]:
        """(frame, all frames of its chunk) of every decoded frame."""
        return [(int(f[0]), self.chunks[int(f[1])]) for f in torch.cat(pieces, dim=1)[0].flatten(1)]


def decode(total, size, overlap, cuts=()) -> tuple[Recorder, list[torch.Tensor], ChunkDecoder]:
    recorder, latents = Recorder(), number(total)
    chunks = ChunkDecoder(recorder, latents[:, 0], size, overlap)
    pieces = [p for part in latents[:, 1:].tensor_split(sorted(cuts), dim=1) for p in chunks.push(part)]
    return recorder, pieces + chunks.flush(), chunks


@st.composite
def sizes(draw):
    size = draw(st.integers(2, 12))
    return size, draw(st.integers(0, size - 2))


@settings(deadline=None)
@given(st.integers(1, 60), sizes(), st.data())
def test_any_clip_in_any_portions(total, shape, data):
    cuts = data.draw(st.lists(st.integers(0, total - 1), max_size=8))
    recorder, pieces, chunks = decode(total, *shape, cuts)
    want = [frame for chunk in oracles.chunks(total, *shape) for frame in chunk]
    assert recorder.story(pieces) == want
    assert [frame for frame, _ in want] == list(range(total)) and chunks.decoded == total


@settings(deadline=None)
@given(st.integers(1, 60), sizes())
def test_nothing_is_decoded_in_vain(total, shape):
    recorder, pieces, _ = decode(total, *shape)
    assert len(recorder.chunks) == len(pieces) == len(oracles.chunks(total, *shape))
    assert all(piece.shape[1] for piece in pieces)


def test_the_originals_chunks():
    recorder, _, _ = decode(20, 10, 3)
    assert recorder.chunks == [
        [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        [0, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        [0, 13, 14, 15, 16, 17, 18, 19],
    ]


@settings(deadline=None)
@given(sizes(), st.integers(1, 9))
def test_frames_come_as_soon_as_they_can_and_little_waits(shape, portion):
    size, overlap = shape
    latents, recorder = number(1 + 12 * portion), Recorder()
    chunks = ChunkDecoder(recorder, latents[:, 0], size, overlap)
    pushed = out = 0
    for part in latents[:, 1:].split(portion, dim=1):
        out += sum(piece.shape[1] for piece in chunks.push(part))
        pushed += portion
        assert chunks.pending.shape[1] < size - 1
        assert out == (0 if pushed < size - 1 else 1 + pushed - (pushed - overlap) % (size - 1 - overlap))


def test_a_batch_keeps_its_clips_apart():
    latents = torch.stack([torch.arange(9.0), 100 + torch.arange(9.0)]).view(2, 9, 1, 1, 1)
    chunks = ChunkDecoder(lambda z: z + z[:, :1], latents[:, 0], 5, 1)
    out = torch.cat(chunks.push(latents[:, 1:]) + chunks.flush(), dim=1)
    torch.testing.assert_close(out, latents + latents[:, :1])


@pytest.mark.parametrize(("size", "overlap"), [(10, 9), (10, 12), (10, -1), (1, 0), (2, 1)])
def test_chunks_that_would_not_move_on(size, overlap):
    with pytest.raises(ValueError, match=f"{size} .*{overlap}"):
        ChunkDecoder(lambda z: z, torch.zeros(1, 4, 2, 2), size, overlap)
