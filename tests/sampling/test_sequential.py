"""The segment loop with a denoiser simple enough to follow: what it is told, what it is held to, what it leaves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.diffusion.solver import SOLVERS
from lvcd.frames import FrameLayout
from lvcd.sampling.config import SamplingConfig
from lvcd.sampling.segments import plan_segments
from lvcd.sampling.sequential import (
    REFERENCE,
    nearest_reference,
    nearest_references,
    sample_segments,
    shift_noise,
)
from tests.helpers import oracles

SCALE = 0.5
SHAPE = (4, 2, 3)  # c h w
SIGMAS = torch.tensor([30.0, 4.0, 0.7, 0.1, 0.0])


def sampling(**changes) -> SamplingConfig:
    """The paper's sampling with few steps and these changes."""
    return SamplingConfig(**{"sigmas": SIGMAS.tolist(), **changes}).complete()


def mix(x, sigma, frames, concat, layout):
    """A denoiser in which every slot feels its frame number, its condition, its sources and all slots' mean."""
    number = torch.tensor(frames, dtype=x.dtype).view(-1, 1, 1, 1)
    sources = sum(x[..., list(row), :, :, :] for row in layout.sources) / len(layout.sources)
    gain = 1.0 if layout.gain is None else sum(layout.gain[-1]) / len(layout.gain[-1])
    pull = 0.5 * x + 0.3 * sources + 0.1 * x.mean(-4, keepdim=True)
    return gain * pull / (1 + sigma**2) + 0.1 * number.sin() + 0.2 * concat


class Fake:
    """A `prepare` that remembers all it is told."""

    def __init__(self):
        self.frames, self.concat, self.calls = [], [], []

    def __call__(self, frames, concat):
        segment = len(self.frames)
        self.frames.append(tuple(frames))
        self.concat.append(concat.clone())

        def denoise(x, sigma, layout):
            self.calls.append((segment, x.clone(), float(sigma), layout))
            return mix(x, sigma, frames, concat, layout)

        return denoise

    def of(self, segment):
        return [call[1:] for call in self.calls if call[0] == segment]


def drawn(config: SamplingConfig, clips: int = 1):
    g = torch.Generator().manual_seed(0)
    return torch.randn(clips, config.slots, *SHAPE, generator=g), torch.randn(clips, 1, *SHAPE, generator=g)


def run(config: SamplingConfig, frames: int, fake: Fake | None = None, clips: int = 1, **more):
    noise, reference = drawn(config, clips)
    segments = plan_segments(frames, config.window, config.overlap)
    return list(sample_segments(fake or Fake(), segments, noise, reference, SCALE, config, **more))


def painted(results):
    return torch.cat([latents for _, latents, _ in results], dim=1)


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


# ------------------------------------------------------------------------------------------ against the original's loop


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 6), st.data())
def test_the_originals_loop(window, data):
    overlap = data.draw(st.integers(0, window - 1), "overlap")
    frames = data.draw(st.integers(1, 15), "frames")
    blend_steps = data.draw(st.sampled_from((None, 0, 1, 3, 4, 25)), "blend steps")
    prev_steps = data.draw(st.sampled_from((None, 0, 1, 2, 4, 25)), "prev-reference steps")
    keep = data.draw(st.booleans(), "keep gain")
    config = sampling(
        window=window, overlap=overlap, blend_steps=blend_steps, prev_reference_steps=prev_steps, keep_gain=keep
    )
    noise, reference = drawn(config)
    segments = plan_segments(frames, window, overlap)
    normal = FrameLayout.referenced(window, 1 + overlap)
    prev = FrameLayout.prev_referenced(window, overlap)

    def denoise_segment(slots, concat, x, sigma, step, first):
        layout = normal
        if not first and overlap and prev_steps != 0:
            layout = prev if prev_steps is None or step < prev_steps else prev.with_sources(normal) if keep else normal
        return mix(x, sigma, slots, concat, layout)

    whole = oracles.original_sampling(
        denoise_segment,
        SIGMAS,
        noise[0],
        [s.frames for s in segments],
        SCALE,
        reference[0, 0],
        overlap,
        99 if blend_steps is None else blend_steps,
    )
    results = run(config, frames)
    assert len(results) == len(whole)
    for (segment, latents, carry), want in zip(results, whole):
        close(latents[0], want[1 + overlap :][: segment.count])
        close(carry.latents[0], want[1 + window :])
    assert painted(results).shape == (1, frames, *SHAPE)


# ------------------------------------------------------------------------------------------------------ noise and slots


def test_noise_moves_on_with_its_frame():
    """Method, section 7, literally."""
    slots = torch.arange(19).view(1, 19, 1, 1, 1)
    shifted = shift_noise(slots, 4, 14).flatten().tolist()
    assert shifted == [0, 15, 16, 17, 18, 15, 16, 17, 18, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]


def test_noise_moves_on_again_and_again():
    fake, config = Fake(), sampling()
    slots = torch.arange(19.0).view(1, 19, 1, 1, 1).expand(1, 19, *SHAPE)
    results = list(sample_segments(fake, plan_segments(34, 14, 4), slots, torch.zeros(1, 1, *SHAPE), SCALE, config))
    want = list(range(19))
    assert len(results) == 3
    for i, (_, _, carry) in enumerate(results):
        start = fake.of(i)[0][0] / (1 + 30.0**2) ** 0.5
        assert start[0, :, 0, 0, 0].tolist() == pytest.approx(want)
        assert carry.noise[0, :, 0, 0, 0].tolist() == want
        want = [want[k] for k in [0, 15, 16, 17, 18, 15, 16, 17, 18, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]]


def test_slots_of_every_segment():
    fake = Fake()
    run(sampling(), 24, fake)
    assert REFERENCE == -1
    assert fake.frames == [
        (-1, -1, -1, -1, -1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13),
        (-1, 10, 11, 12, 13, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23),
    ]


# ----------------------------------------------------------------------------------------------------------- conditions


def test_conditions():
    fake, config = Fake(), sampling(window=5, overlap=2)
    results = run(config, 11, fake)
    reference = drawn(config)[1]
    assert torch.equal(fake.concat[0], reference.expand(-1, 8, -1, -1, -1))
    for i in (1, 2):
        concat = fake.concat[i]
        assert torch.equal(concat[:, :1], reference)
        close(concat[:, 1:3], results[i - 1][2].latents / SCALE)
        assert torch.equal(concat[:, 3:], reference.expand(-1, 5, -1, -1, -1))


def test_conditions_of_several_references():
    """Two keys, at frames 0 and 8, and a sheet: latents and frame numbers of every slot, segment by segment."""
    fake, config = Fake(), sampling(window=5, overlap=2)
    references = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, *SHAPE)
    noise = torch.randn(1, config.slots + 2, *SHAPE, generator=torch.Generator().manual_seed(0))
    segments = plan_segments(11, 5, 2)
    results = list(sample_segments(fake, segments, noise, references, SCALE, config, places=(0, 8, None)))
    assert fake.frames[:2] == [(-1, -2, -3, -1, -1, 0, 1, 2, 3, 4), (-1, -2, -3, 3, 4, 3, 4, 5, 6, 7)]
    assert fake.concat[0][0, :, 0, 0, 0].tolist() == [0, 1, 2, 0, 0, *[0] * 5]  # frame 4 is as near to both
    assert fake.concat[1][0, [0, 1, 2, 5, 6, 7, 8, 9], 0, 0, 0].tolist() == [0, 1, 2, 0, 0, 1, 1, 1]
    close(fake.concat[1][:, 3:5], results[0][2].latents / SCALE)
    assert painted(results).shape[1] == 11
    assert fake.of(0)[0][2] == FrameLayout.referenced(5, 5, 3)
    assert fake.of(1)[0][2] == FrameLayout.prev_referenced(5, 2, references=3)


def test_a_segment_holds_its_nearest_keys_and_all_sheets():
    places = (0, 30, None, 60, 90)
    assert nearest_references(places, range(0, 14), 2) == (0, 1, 2)
    assert nearest_references(places, range(25, 39), 1) == (1, 2)
    assert nearest_references(places, range(70, 84), 2) == (2, 3, 4)
    assert nearest_references(places, range(70, 84), None) == (0, 1, 2, 3, 4)
    assert nearest_reference(places, 74, (2, 3, 4)) == 3 and nearest_reference(places, 76, (2, 3, 4)) == 4
    assert nearest_reference((None, None), 5, (0, 1)) == 0


@given(
    st.lists(st.none() | st.integers(0, 99), min_size=1, max_size=8), st.integers(0, 99), st.none() | st.integers(1, 9)
)
def test_every_segment_holds_equally_many_references(places, start, most):
    count = len(nearest_references(places, (0,), most))
    assert len(nearest_references(places, range(start, start + 14), most)) == count


def test_another_reference_latent_in_later_segments():
    fake, config = Fake(), sampling(window=5, overlap=2)
    later = torch.full((1, 1, *SHAPE), 7.0)
    run(config, 11, fake, later_references=later)
    assert (fake.concat[0] != 7).all()
    for concat in fake.concat[1:]:
        assert (concat[:, [0, 3, 4, 5, 6, 7]] == 7).all() and (concat[:, 1:3] != 7).all()


def test_the_clip_of_a_batch_knows_nothing_of_the_others():
    config = sampling(window=5, overlap=2)
    noise, reference = drawn(config, 2)
    segments = plan_segments(9, 5, 2)
    together = painted(list(sample_segments(Fake(), segments, noise, reference, SCALE, config)))
    for clip in range(2):
        one = slice(clip, clip + 1)
        alone = painted(list(sample_segments(Fake(), segments, noise[one], reference[one], SCALE, config)))
        close(together[one], alone)


# -------------------------------------------------------------------------------------------------------------- layouts


def test_layouts_step_by_step():
    fake = Fake()
    run(sampling(prev_reference_steps=2), 24, fake)
    normal, prev = FrameLayout.referenced(14, 5), FrameLayout.prev_referenced(14, 4)
    assert [layout for _, _, layout in fake.of(0)] == [normal] * 4
    assert [layout for _, _, layout in fake.of(1)] == [prev] * 2 + [prev.with_sources(normal)] * 2


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({}, FrameLayout.prev_referenced(14, 4)),
        ({"prev_reference_steps": 4}, FrameLayout.prev_referenced(14, 4)),
        ({"prev_reference_steps": 99}, FrameLayout.prev_referenced(14, 4)),
        ({"prev_reference_steps": 0}, FrameLayout.referenced(14, 5)),
        ({"overlap": 0}, FrameLayout.referenced(14, 1)),
        ({"gain": 2.0, "reach": 1, "gain_layers": None}, FrameLayout.prev_referenced(14, 4, 2.0, 1, None)),
    ],
)
def test_layout_of_later_segments(changes, want):
    fake = Fake()
    run(sampling(**changes), 24, fake)
    assert {layout for _, _, layout in fake.of(1)} == {want}


def test_the_gain_may_end_with_prev_reference_attention():
    fake = Fake()
    run(sampling(prev_reference_steps=3, keep_gain=False), 24, fake)
    assert fake.of(1)[3][2] == FrameLayout.referenced(14, 5)


# ------------------------------------------------------------------------------------------------------------- blending


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("window", "overlap"), [(5, 2), (5, 4), (5, 1)])
def test_full_blending_repeats_the_overlapped_frames(solver, window, overlap):
    results = run(sampling(solver=solver, window=window, overlap=overlap), 13)
    assert len(results) > 1
    for (segment, _, before), (_, latents, _) in zip(results, results[1:]):
        close(latents[:, :overlap], before.latents[:, : latents.shape[1]])
        assert segment.count == window - overlap


def test_blending_stops():
    """Held to the previous segment at the first noise levels only, a frame is not the same but nearer to it."""
    off = {}
    for steps in (0, 2, 3, 4):
        results = run(sampling(window=6, overlap=3, blend_steps=steps), 9)
        off[steps] = (results[1][1][:, :3] - results[0][2].latents).abs().max().item()
    assert off[0] > off[2] > off[3] > 0.01 and off[4] < 1e-5


def test_only_overlapped_slots_are_held():
    config = sampling(sigmas=[5.0, 0.0], window=6, overlap=2)
    seen = []

    def watch(step, denoised):
        seen.append(denoised.clone())
        return denoised

    results = run(config, 10, on_denoised=watch)
    final = results[1][1]  # one step to 0: the estimates themselves
    close(final[:, 2:], seen[1][:, 5:])
    close(final[:, :2], seen[0][:, 7:])
    assert (final[:, :2] - seen[1][:, 3:5]).abs().max() > 0.01


def test_watch_sees_and_replaces_every_estimate():
    steps = []

    def watch(step, denoised):
        steps.append(step)
        return torch.full_like(denoised, 3.0)

    results = run(sampling(window=5, overlap=2), 8, on_denoised=watch)
    assert steps == [0, 1, 2, 3] * 2
    close(painted(results), torch.full((1, 8, *SHAPE), 3.0))


def test_heun_blends_both_calls_of_a_step():
    steps = []
    config = sampling(solver="heun", window=5, overlap=2, blend_steps=2)
    results = run(config, 8, on_denoised=lambda step, denoised: (steps.append(step), denoised)[1])
    assert steps == [0, 0, 1, 1, 2, 2, 3] * 2
    assert results[0][2].denoised.shape == (4, 1, 2, *SHAPE)  # two calls in each of two steps


# -------------------------------------------------------------------------------------------- restart, extremes, memory


CONFIGS = {
    "paper": {},
    "no overlap": {"overlap": 0},
    "largest overlap": {"overlap": 4},
    "window of one": {"window": 1, "overlap": 0},
    "never blended": {"blend_steps": 0},
    "blended at first": {"blend_steps": 2},
    "prev-reference at first": {"prev_reference_steps": 1},
    "heun": {"solver": "heun"},
    "multistep": {"solver": "dpmpp_2m"},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_going_on_from_any_segment(changes):
    config = sampling(**{"window": 5, "overlap": 2, **changes})
    noise, reference = drawn(config)
    segments = plan_segments(12, config.window, config.overlap)
    whole = run(config, 12)
    assert len(whole) == len(segments) > 1
    for _, _, carry in whole:
        assert carry.latents.shape[1] == config.overlap
        assert carry.denoised.numel() == 0 or carry.denoised.shape[1:] == carry.latents.shape
    for k in range(1, len(segments)):
        rest = list(sample_segments(Fake(), segments[k:], noise, reference, SCALE, config, state=whole[k - 1][2]))
        for (_, a, carry_a), (_, b, carry_b) in zip(whole[k:], rest, strict=True):
            assert torch.equal(a, b)
            for name in ("noise", "latents", "denoised"):
                assert torch.equal(getattr(carry_a, name), getattr(carry_b, name))


def test_what_is_handed_on_does_not_grow():
    sizes = [
        sum(x.untyped_storage().nbytes() for x in (carry.denoised, carry.noise))
        for _, _, carry in run(sampling(window=5, overlap=2), 40)
    ]
    assert len(sizes) > 10 and len(set(sizes)) == 1


def test_segments_are_painted_one_by_one():
    fake, config = Fake(), sampling(window=5, overlap=2)
    noise, reference = drawn(config)
    stream = sample_segments(fake, plan_segments(30, 5, 2), noise, reference, SCALE, config)
    for count in (1, 2, 3):
        next(stream)
        assert len(fake.frames) == count


def test_the_default_is_the_papers():
    config = SamplingConfig().complete()
    assert (len(config.noise_levels) - 1, config.solver, config.window, config.overlap) == (25, "euler", 14, 4)
    assert (config.gain, config.reach, config.blend_steps, config.slots) == (10.0, 3, None, 19)
