"""paint_clip: what evaluation and training paint is what the pipeline paints, with or without flats."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from lvcd.flats import PaintBucket
from lvcd.pipeline import FlatFiller, SamplingConfig, fill_flat, paint_clip

SIZE = (32, 48)
SAMPLING = SamplingConfig(steps=1, overlap=1)


@pytest.fixture(scope="module")
def clip() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    lines = (torch.rand(8, 1, *SIZE, generator=rng) > 0.9).float()
    return torch.rand(3, *SIZE, generator=rng), lines[0], lines[1:]


def test_it_is_what_the_pipeline_paints(pipeline, clip):
    reference, own, sketches = clip
    expected = pipeline(
        reference, sketches, 1, 1, torch.Generator().manual_seed(5), "pt", reference_sketch=own
    ).frames[0]  # fmt: skip
    assert torch.equal(paint_clip(pipeline, *clip, SAMPLING, seed=5), expected)
    assert not torch.equal(paint_clip(pipeline, *clip, SAMPLING, seed=6), expected)


def test_without_a_sampling_the_models_own_is_used(pipeline, clip):
    own = SamplingConfig(steps=pipeline.config.steps, sigma_max=pipeline.config.sigma_max)
    assert torch.equal(paint_clip(pipeline, *clip), paint_clip(pipeline, *clip, own))


def test_flat_is_the_paint_bucket_on_what_is_painted(pipeline, clip):
    painted, flat = (paint_clip(pipeline, *clip, SAMPLING, flat=flat) for flat in (False, True))
    assert torch.equal(flat, fill_flat(*clip, painted))
    reference, own, sketches = clip
    bucket = PaintBucket(reference.movedim(0, -1).numpy(), own[0].numpy())
    for sketch, frame, filled in zip(sketches, painted, flat, strict=True):
        rounded = (frame * 255).round() / 255
        expected = bucket(sketch[0].numpy(), rounded.movedim(0, -1).numpy())
        torch.testing.assert_close(filled, torch.from_numpy(expected).float().movedim(-1, 0))


def test_flats_are_filled_at_the_sketches_size_and_go_on(clip):
    reference, own, sketches = clip
    painted = torch.rand(7, 3, 16, 24, generator=torch.Generator().manual_seed(1))
    filler = FlatFiller(reference, own)
    filled = [filler(*frame) for frame in zip(sketches[:4], painted)]
    assert all(frame.shape == (3, *SIZE) for frame in filled)
    other = FlatFiller(reference, own)
    other.resume(sketches[3], filler.state())
    assert torch.equal(other(sketches[4], painted[4]), filler(sketches[4], painted[4]))


def test_every_call_of_the_networks_is_inside_the_context(pipeline, clip, monkeypatch):
    depth, seen = 0, []

    @contextmanager
    def context():
        nonlocal depth
        depth += 1
        yield
        depth -= 1

    hooks = [net.register_forward_hook(lambda *_: seen.append(depth)) for net in (pipeline.unet, pipeline.controlnet)]
    monkeypatch.setattr(pipeline, "network_context", context)
    paint_clip(pipeline, *clip, SAMPLING)
    for hook in hooks:
        hook.remove()
    assert seen and set(seen) == {1}
