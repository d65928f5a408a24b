"""paint_clip: what evaluation and training paint is what the pipeline paints, with or without flats."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch

from lvcd.errors import InputError
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
    bucket = PaintBucket(reference.movedim(0, -1).numpy(), own[0].numpy(), ink_color=torch.zeros(3).numpy())
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


def test_keys_come_out_and_change_what_is_between(pipeline, clip):
    reference, own, sketches = clip
    keys = {6: torch.rand(reference.shape, generator=torch.Generator().manual_seed(2))}
    painted, plain = (paint_clip(pipeline, *clip, SAMPLING, keys=given) for given in (keys, None))
    assert painted.shape == plain.shape and torch.allclose(painted[6], keys[6], atol=1e-6)
    assert not torch.equal(painted[:6], plain[:6])
    whole = pipeline(
        sketches=torch.cat([own[None], sketches]), keys={0: reference, 7: keys[6]}, sampling=SAMPLING,
        generator=torch.Generator().manual_seed(0), output_type="pt",
    ).frames[0]  # fmt: skip
    assert torch.equal(painted, whole[1:])
    flat = paint_clip(pipeline, *clip, SAMPLING, flat=True, keys=keys)
    assert torch.equal(flat, fill_flat(*clip, painted, keys))
    with pytest.raises(InputError, match="prev_sample"):
        paint_clip(pipeline, *clip, SamplingConfig(steps=1, prev_sample=True), keys=keys)
