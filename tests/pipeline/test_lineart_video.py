"""Line art in, painted frames out: any length, any size, any way of asking, the same answer."""

from __future__ import annotations

import weakref

import numpy as np
import PIL.Image
import pytest
import safetensors.torch
import torch
from accelerate import cpu_offload

from lvcd.diffusion.noise import karras
from lvcd.diffusion.solver import SOLVERS
from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder
from lvcd.nn.controlnet import SketchControlNet
from lvcd.pipeline import LineartVideoPipeline
from tests.helpers.toys import toy_pipeline

WINDOW = 5  # of the toy
SIZE = (32, 32)  # 2 x 2 at the bottom of the toy U-Net; at 1 x 1 its norms magnify rounding
LENGTHS = (1, 2, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 3)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def picture(size=SIZE, seed: int = 0) -> PIL.Image.Image:
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8))


def clip(count: int, size=SIZE, seed: int = 0) -> torch.Tensor:
    """(N 1 H W), line = 1"""
    return (torch.rand(count, 1, *size, generator=seeded(100 + seed)) > 0.8).float()


def paint(pipeline, reference=None, sketches=None, steps=1, overlap=2, seed=0, **more):
    """One clip, as a tensor (N 3 H W) unless asked otherwise."""
    reference = picture() if reference is None else reference
    sketches = clip(8) if sketches is None else sketches
    more = {"output_type": "pt", "generator": seeded(seed), **more}
    return pipeline(reference, sketches, steps, overlap, **more).frames[0]


def remade(pipeline, kind=LineartVideoPipeline, **changes) -> LineartVideoPipeline:
    """The toy with other parts, or of another class."""
    made = kind(**{**pipeline.components, **changes}, window=WINDOW, steps=2, sigma_max=80.0)
    made.set_progress_bar_config(disable=True)
    return made


def close(a, b, tolerance=2e-4):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


# ------------------------------------------------------------------------------------------ every sketch gets its frame


@pytest.mark.parametrize("count", LENGTHS)
@pytest.mark.parametrize("where", ["extracted", "given", "first", "middle", "last"])
def test_as_many_frames_as_sketches(pipeline, count, where):
    own = {"first": 0, "middle": count // 2, "last": count - 1}.get(where)
    given = clip(1, seed=7)[0] if where == "given" else None
    for overlap in (0, 2, WINDOW - 1):
        frames = paint(
            pipeline,
            sketches=clip(count),
            overlap=overlap,
            reference_frame=own,
            reference_sketch=given,
            output_type="pil",
        )
        assert len(frames) == count
        is_reference = [np.array_equal(frame, picture()) for frame in frames]
        assert is_reference == [f == own for f in range(count)]


@pytest.mark.parametrize("own", [None, 0, 12])
def test_every_frame_has_its_own_sketch(pipeline, own):
    """Sketch f is painted all over with f / 100: which slots of the network got which?"""
    seen = []

    class Spy(SketchControlNet):
        def embed_sketches(self, sketches):
            seen.append((100 * sketches.mean(dim=(0, 2, 3, 4))).round().int().tolist())
            return super().embed_sketches(sketches)

    spy = Spy.from_config(pipeline.controlnet.config)
    spy.load_state_dict(pipeline.controlnet.state_dict())
    spied = remade(pipeline, controlnet=spy)
    sketches = torch.arange(13.0).view(13, 1, 1, 1).expand(13, 1, *SIZE) / 100
    reference = {"reference_sketch": torch.full((1, *SIZE), 0.5)} if own is None else {"reference_frame": own}
    paint(spied, sketches=sketches, **reference)
    first, end = (1, 13) if own == 0 else (0, 12) if own == 12 else (0, 13)
    ref = 50 if own is None else own
    want = []
    for start in range(first, end - 2, 3):
        window = [min(start + i, end - 1) for i in range(WINDOW)]
        want.append([ref, *([ref] * 2 if start == first else window[:2]), *window])
    assert seen == want


def test_frames_come_from_the_first_segment_that_has_them(pipeline):
    """Every estimate says in which segment and slot it was made."""
    calls = 0

    def callback(pipe, step, sigma, tensors):
        nonlocal calls
        calls += 1
        slots = 10.0 * calls + torch.arange(float(tensors["latents"].shape[1]))
        return {"latents": slots.view(1, -1, 1, 1, 1).expand_as(tensors["latents"])}

    latents = paint(pipeline, sketches=clip(13), callback_on_step_end=callback, output_type="latent")
    made_in = [13, 14, 15, 16, 17, 25, 26, 27, 35, 36, 37, 45, 46]
    close(latents.mean(dim=(1, 2, 3)), torch.tensor(made_in).float())


def test_the_three_ways_to_a_reference_sketch_differ(pipeline):
    sketches = clip(3)
    extracted = paint(pipeline, sketches=sketches)
    given = paint(pipeline, sketches=sketches, reference_sketch=clip(1, seed=7)[0])
    assert (extracted - given).abs().max() > 1e-4


def test_a_reference_frame_is_a_reference_with_its_sketch(pipeline):
    """Where the reference is no frame of the run that is painted, or one that is painted anyway."""
    sketches = clip(7)
    for own, others in ((0, slice(1, 7)), (6, slice(0, 6))):
        frames = paint(pipeline, sketches=sketches, reference_frame=own)
        apart = paint(pipeline, sketches=sketches[others], reference_sketch=sketches[own])
        close(frames[others], apart)
    frames = paint(pipeline, sketches=sketches, reference_frame=3)
    apart = paint(pipeline, sketches=sketches, reference_sketch=sketches[3])
    for frame in (0, 1, 2, 4, 5, 6):
        close(frames[frame], apart[frame])


# ------------------------------------------------------------------------------------------------------------ many keys


def painted_from(pipeline, keys, sketches, **more):
    keys = {number: picture(seed=seed) for number, seed in keys.items()}
    more = {"num_inference_steps": 1, "overlap": 2, "output_type": "pt", "generator": seeded(), **more}
    return pipeline(sketches=sketches, keys=keys, **more).frames[0]


def test_one_key_is_a_reference_frame(pipeline):
    sketches = clip(8)
    for own in (0, 3, 7):
        key = painted_from(pipeline, {own: 0}, sketches)
        assert torch.equal(key, paint(pipeline, sketches=sketches, reference_frame=own))


def test_one_sheet_of_the_clips_size_is_a_reference(pipeline):
    sketches = clip(8)
    sheet = pipeline(sketches=sketches, sheets=[picture()], num_inference_steps=1, overlap=2, output_type="pt",
                     generator=seeded()).frames[0]  # fmt: skip
    assert torch.equal(sheet, paint(pipeline, sketches=sketches))


@pytest.mark.parametrize("count", LENGTHS)
def test_keys_come_out_as_they_went_in(pipeline, count):
    for numbers in ({0, count - 1}, {0, count // 2, count - 1}, set(range(count))):
        frames = painted_from(pipeline, {n: n for n in numbers}, clip(count), output_type="pil")
        assert len(frames) == count
        assert {n for n in range(count) if np.array_equal(frames[n], picture(seed=n))} == numbers


def test_every_reference_is_heeded_by_every_frame(pipeline):
    sketches = clip(9)
    both = painted_from(pipeline, {0: 0, 8: 1}, sketches)
    for changed in ({0: 5, 8: 1}, {0: 0, 8: 5}):
        frames = painted_from(pipeline, changed, sketches)
        assert ((frames - both).abs().amax(dim=(1, 2, 3))[1:-1] > 1e-4).all()
    with_sheet = painted_from(pipeline, {0: 0, 8: 1}, sketches, sheets=[picture((20, 50), 3)])
    assert ((with_sheet - both).abs().amax(dim=(1, 2, 3))[1:-1] > 1e-4).all()


def test_the_order_of_keys_does_not_matter(pipeline):
    sketches = clip(9)
    assert torch.equal(
        painted_from(pipeline, {0: 0, 4: 2, 8: 1}, sketches), painted_from(pipeline, {8: 1, 0: 0, 4: 2}, sketches)
    )


def test_a_batch_of_clips_with_keys_is_each_alone(pipeline):
    clips = [clip(6, seed=s) for s in (0, 1)]
    keys = [{0: picture(seed=s), 5: picture(seed=s + 2)} for s in (0, 1)]
    sheets = [[picture((20, 50), 4)], [picture((40, 20), 5)]]
    generators = [seeded(s) for s in (0, 1)]
    settings = {"num_inference_steps": 1, "overlap": 2, "output_type": "pt"}
    together = pipeline(sketches=clips, keys=keys, sheets=sheets, generator=generators, **settings).frames
    for s in (0, 1):
        alone = pipeline(sketches=clips[s], keys=keys[s], sheets=sheets[s], generator=seeded(s), **settings).frames[0]
        close(together[s], alone)


def test_far_keys_do_not_reach_a_segment(pipeline):
    """With one key a segment, the first segment reads the first key alone."""
    sampling = pipeline.sampling_config(1, 2, max_keys=1)
    sketches = clip(13)
    one, other = (
        painted_from(pipeline, {0: 0, 12: s}, sketches, sampling=sampling, output_type="latent") for s in (1, 2)
    )
    assert torch.equal(one[:4], other[:4]) and not torch.equal(one[11], other[11])


# ------------------------------------------------------------------------------------------------------ sizes and forms


@pytest.mark.parametrize("size", [(16, 16), (18, 22), (16, 33), (5, 7), (31, 16)])
@pytest.mark.parametrize("own", [None, 0])
def test_any_size(pipeline, size, own):
    frames = paint(pipeline, picture(size), clip(3, size), reference_frame=own)
    assert frames.shape == (3, 3, *size) and frames.isfinite().all()
    assert frames.min() >= 0 and frames.max() <= 1


def test_the_latents_cover_the_padded_size(pipeline):
    latents = paint(pipeline, picture((18, 22)), clip(3, (18, 22)), output_type="latent")
    assert latents.shape == (3, 4, 8, 8)


def test_painting_at_another_size(pipeline):
    frames = paint(pipeline, picture((32, 64)), clip(3, (64, 128)), height=16, width=32)
    assert frames.shape == (3, 3, 16, 32)


def test_output_types(pipeline):
    pt = paint(pipeline)
    array = paint(pipeline, output_type="np")
    pils = paint(pipeline, output_type="pil")
    latent = paint(pipeline, output_type="latent")
    assert pt.shape == (8, 3, *SIZE) and pt.dtype == torch.float32 and pt.min() >= 0 and pt.max() <= 1
    assert isinstance(array, np.ndarray) and np.array_equal(array, pt.permute(0, 2, 3, 1).numpy())
    assert all(isinstance(p, PIL.Image.Image) and p.size == SIZE and p.mode == "RGB" for p in pils)
    assert np.array_equal(np.stack(pils), (array * 255).round().astype(np.uint8))
    assert latent.shape == (8, 4, 8, 8)


def test_unknown_output_type(pipeline):
    with pytest.raises(ValueError, match="jpeg"):
        paint(pipeline, output_type="jpeg")


def test_a_tuple_instead_of_a_dict(pipeline):
    arguments = {"num_inference_steps": 1, "overlap": 2, "output_type": "pt"}
    as_tuple = pipeline(picture(), clip(3), generator=seeded(), return_dict=False, **arguments)
    as_output = pipeline(picture(), clip(3), generator=seeded(), **arguments)
    assert isinstance(as_tuple, tuple) and torch.equal(as_tuple[0], as_output.frames)
    assert as_output.frames.shape == (1, 3, 3, *SIZE)


def test_sketches_in_many_forms(pipeline):
    lines = clip(3)
    bytes_ = (255 - lines[:, 0] * 255).byte().numpy()
    want = paint(pipeline, sketches=lines)
    forms = {
        "list of tensors": list(lines),
        "dark PIL": [PIL.Image.fromarray(b) for b in bytes_],
        "light arrays": [255 - b for b in bytes_],
        "transparent": [PIL.Image.fromarray(np.dstack([*[b * 0] * 3, 255 - b])) for b in bytes_],
    }
    for form in forms.values():
        close(paint(pipeline, sketches=form), want, 1e-5)


# -------------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("own", [None, 0, 4])
def test_two_clips_are_two_singles(pipeline, own):
    references, clips = [picture(seed=s) for s in (1, 2)], [clip(8, seed=s) for s in (1, 2)]
    sketches = None if own is not None else [clip(1, seed=s)[0] for s in (3, 4)]

    def run(references, clips, seeds, sketches):
        return pipeline(
            references,
            clips,
            2,
            2,
            generator=[seeded(s) for s in seeds],
            output_type="pt",
            reference_frame=own,
            reference_sketch=sketches,
        ).frames

    together = run(references, clips, (5, 6), sketches)
    assert together.shape == (2, 8, 3, *SIZE)
    for i, seed in enumerate((5, 6)):
        one = slice(i, i + 1)
        close(together[one], run(references[one], clips[one], (seed,), sketches and sketches[one]))
    close(together[0], paint(pipeline, references[0], clips[0], 2, seed=5, reference_frame=own,
                             reference_sketch=sketches and sketches[0]))  # fmt: skip


def test_batches_of_pil_are_lists_of_lists(pipeline):
    frames = pipeline([picture()] * 2, [clip(3)] * 2, 1, 2, generator=[seeded(), seeded(1)]).frames
    assert [len(one) for one in frames] == [3, 3] and frames[0][0].size == SIZE


# ---------------------------------------------------------------------------------------------------------------- seeds


def test_a_seed_is_a_result(pipeline):
    assert torch.equal(paint(pipeline, seed=3), paint(pipeline, seed=3))
    assert (paint(pipeline, seed=3) - paint(pipeline, seed=4)).abs().max() > 1e-3


def test_the_worlds_random_numbers_are_left_alone(pipeline):
    torch.manual_seed(0)
    before, numpys = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = paint(pipeline)
    assert torch.equal(torch.get_rng_state(), before) and np.array_equal(np.random.get_state()[1], numpys)
    torch.manual_seed(1)
    assert torch.equal(paint(pipeline), first)


def test_without_a_generator_the_world_decides(pipeline):
    torch.manual_seed(0)
    first = paint(pipeline, generator=None)
    second = paint(pipeline, generator=None)
    torch.manual_seed(0)
    assert torch.equal(paint(pipeline, generator=None), first) and not torch.equal(second, first)


# ------------------------------------------------------------------------------------------------- streams and restarts


def stream(pipeline, count=13, own=None, sketch_of=None, overlap=2, generator=None, state=None, changes=None, **more):
    sketches = clip(count, (18, 22))
    return pipeline.stream(
        torch.rand(1, 3, 18, 22, generator=seeded()) * 2 - 1,
        sketch_of or (lambda f: sketches[f][None]),
        count,
        pipeline.sampling_config(2, overlap, **(changes or {})),
        generator=seeded() if generator is None else generator,
        reference_frame=own,
        state=state,
        **more,
    )


STREAMS = {
    "own sketch": {},
    "first": {"own": 0},
    "middle": {"own": 6},
    "last": {"own": 12},
    "no overlap": {"overlap": 0},
    "largest overlap": {"overlap": 4},
    "one segment": {"count": 3},
    "never blended": {"changes": {"blend_steps": 0}},
    "heun": {"changes": {"solver": "heun"}},
    "guided": {"changes": {"guidance": 2.0}},
    "latents": {"decode": False},
    "keys": {
        "own": 0,
        "keys": {6: torch.rand(1, 3, 18, 22, generator=seeded(1)), 12: torch.zeros(1, 3, 18, 22)},
        "sheets": [torch.ones(1, 3, 18, 22)],
    },
}


@pytest.mark.parametrize("how", STREAMS.values(), ids=STREAMS)
def test_an_interrupted_stream_goes_on_where_it_was(pipeline, how):
    whole = list(stream(pipeline, **how))
    frames = torch.cat([p.frames for p in whole], dim=1)
    assert frames.shape[1] == how.get("count", 13)
    assert [p.state is None for p in whole] == [False] * (len(whole) - 1) + [True]
    for k in {0, len(whole) // 2 - 1, len(whole) - 2}:
        piece = whole[k]
        saved = safetensors.torch.load(safetensors.torch.save(piece.state))  # as a file keeps it
        rest = list(stream(pipeline, **how, state=saved, generator=seeded(99)))
        again = torch.cat([p.frames for p in [*whole[: k + 1], *rest]], dim=1)
        assert torch.equal(again, frames)


def test_frames_come_as_they_are_finished(pipeline):
    """After each segment all but a chunk of the decoder is out; the state does not grow."""
    painted, out, sizes = 0, 0, set()
    for piece in stream(pipeline, 30):
        out += piece.frames.shape[1]
        if piece.state is not None:
            painted += WINDOW - 2
            assert out >= painted - 10
            sizes.add(sum(v.numel() for k, v in piece.state.items() if k != "pending"))
            assert piece.state["pending"].shape[1] < 10
    assert out == 30 and len(sizes) == 1


@pytest.mark.parametrize("own", [None, 0, 20])
def test_sketches_are_read_when_they_are_needed_and_forgotten(pipeline, own):
    asked, alive, most = [], [], 0

    def sketch_of(frame):
        nonlocal most
        sketch = torch.zeros(1, 1, 18, 22)
        asked.append(frame)
        alive.append(weakref.ref(sketch))
        most = max(most, sum(ref() is not None for ref in alive))
        return sketch

    pieces = stream(pipeline, 40, own, sketch_of)
    before = 0
    for segment in range(3):
        next(pieces)
        start, run = 3 * segment, asked[before:]
        reference = {own} if own is not None and segment == 0 else set()
        first = 1 if own == 0 else 0
        assert set(run) == {start + first + i for i in range(WINDOW)} | reference
        before = len(asked)
    list(pieces)
    assert set(asked) == set(range(40))
    assert most <= WINDOW + 2
    assert len(asked) <= 2 * 40 + WINDOW  # overlapped frames twice


# ------------------------------------------------------------------------------------------------------------ callbacks


def test_the_callback_sees_every_step(pipeline):
    seen = []

    def callback(pipe, step, sigma, tensors):
        assert pipe is pipeline and set(tensors) == {"latents"}
        seen.append((step, float(sigma), tuple(tensors["latents"].shape)))
        return None if len(seen) % 2 else {}

    frames = paint(pipeline, steps=3, callback_on_step_end=callback)
    sigmas = karras(3, 0.002, 80.0)[:-1].tolist()
    shape = (1, 1 + 2 + WINDOW, 4, 8, 8)
    assert seen == [(i, pytest.approx(sigmas[i]), shape) for _ in range(2) for i in range(3)]
    assert torch.equal(frames, paint(pipeline, steps=3))


def test_the_callback_may_replace_the_estimate(pipeline):
    def callback(pipe, step, sigma, tensors):
        return {"latents": torch.full_like(tensors["latents"], 0.25)}

    latents = paint(pipeline, steps=3, callback_on_step_end=callback, output_type="latent")
    close(latents, torch.full_like(latents, 0.25), 1e-5)


class Bar:
    """A progress bar to ask afterwards."""

    def __init__(self, total):
        self.total, self.done = total, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def update(self, n):
        self.done += n


class Counting(LineartVideoPipeline):
    def progress_bar(self, iterable=None, total=None):
        self.bar = Bar(total)
        return self.bar


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_progress_counts_the_steps_of_all_segments(pipeline, solver, steps):
    counting = remade(pipeline, Counting)
    paint(counting, sketches=clip(8), sampling=counting.sampling_config(steps, 2, solver=solver))
    assert counting.bar.total == counting.bar.done == 2 * steps


def test_progress_goes_on_where_it_was(pipeline):
    counting = remade(pipeline, Counting)
    pieces = list(stream(counting, 13))
    rest = stream(counting, 13, state=pieces[1].state)
    next(rest)
    assert (counting.bar.done, counting.bar.total) == (6, 8)
    list(rest)
    assert (counting.bar.done, counting.bar.total) == (8, 8)


# ------------------------------------------------------------------------------------------------------------- guidance


def test_guidance_of_one_is_none(pipeline):
    plain = paint(pipeline, steps=2)
    assert torch.equal(paint(pipeline, steps=2, guidance_scale=1.0), plain)
    assert torch.equal(paint(pipeline, steps=2, guidance_scale=(1.0, 1.0)), plain)
    assert (paint(pipeline, steps=2, guidance_scale=3.0) - plain).abs().max() > 1e-3


def test_guidance_goes_from_the_unconditional_estimate_through_the_conditional(pipeline):
    """One step to zero: latents are the estimates, and D_u + s (D_c - D_u) is a straight line in s."""

    def first_segment(scale):
        return paint(pipeline, sketches=clip(WINDOW), guidance_scale=scale, output_type="latent")

    without, with_ = first_segment(0.0), first_segment(1.0)
    close(first_segment(2.5), without + 2.5 * (with_ - without), 1e-3)
    # From the first slot to the last of 1 + 2 + 5; the window's are the last five.
    scale = torch.linspace(1.0, 3.0, 8)[3:].view(-1, 1, 1, 1)
    close(first_segment((1.0, 3.0)), without + scale * (with_ - without), 1e-3)


def test_guidance_in_later_segments(pipeline):
    """Prev-reference attention and guidance together: where the original crashes."""
    plain, guided = (paint(pipeline, sketches=clip(11), steps=2, guidance_scale=s) for s in (1.0, 3.0))
    assert guided.shape == (11, 3, *SIZE) and guided.isfinite().all()
    assert ((guided - plain).abs().amax(dim=(1, 2, 3)) > 1e-3).all()


# -------------------------------------------------------------------------------------------------------- saved, loaded


def test_saved_and_loaded(model_folder):
    loaded = LineartVideoPipeline.from_pretrained(model_folder)
    loaded.set_progress_bar_config(disable=True)
    assert loaded.config.window == WINDOW and loaded.config.steps == 2 and loaded.config.sigma_max == 80.0
    close(
        paint(loaded, steps=None), paint(toy_pipeline(), steps=None), 1e-5
    )  # kernels differ where memory lies otherwise


def test_a_condition_encoder_is_used_and_saved(pipeline, tmp_path):
    torch.manual_seed(5)
    encoder = LatentEncoder(block_out_channels=(32, 32, 32), layers_per_block=1)
    other = remade(pipeline, condition_encoder=encoder)
    frames = paint(other)
    assert (frames - paint(pipeline)).abs().max() > 1e-4
    other.save_pretrained(tmp_path)
    loaded = LineartVideoPipeline.from_pretrained(tmp_path)
    loaded.set_progress_bar_config(disable=True)
    close(paint(loaded), frames, 1e-5)


def test_the_models_own_settings(pipeline):
    scheme = pipeline.sampling_config()
    assert torch.equal(scheme.noise_levels, karras(2, 0.002, 80.0)) and scheme.window == WINDOW and scheme.overlap == 4
    scheme = pipeline.sampling_config(7, 1, gain=2.0)
    assert len(scheme.noise_levels) == 8 and scheme.overlap == 1 and scheme.gain == 2.0
    given = paint(pipeline, sampling=pipeline.sampling_config(2, 1))
    assert torch.equal(given, paint(pipeline, steps=2, overlap=1))


# --------------------------------------------------------------------------------------- what diffusers' users expect


def test_sketches_and_references_in_other_forms(pipeline):
    """Pictures of line art as a list, an array (N H W 3), a tensor (N 3 H W) and ComfyUI's (N H W 3): one result."""
    pictures = [PIL.Image.fromarray(np.asarray(picture(seed=n))) for n in range(3)]
    arrays = np.stack([np.asarray(p) for p in pictures])
    last = torch.from_numpy(arrays).float() / 255
    want = paint(pipeline, sketches=pictures, lines="dark")
    for sketches in (arrays, arrays.astype(np.float32) / 255, last, last.movedim(-1, 1)):
        assert torch.equal(paint(pipeline, sketches=sketches, lines="dark"), want)
    unit = np.asarray(picture()).astype(np.float32) / 255
    for reference in (unit, torch.from_numpy(unit), torch.from_numpy(unit).movedim(-1, 0)[None]):
        close(paint(pipeline, reference, pictures, lines="dark"), want, 1e-5)


def test_paths(pipeline, tmp_path):
    (tmp_path / "shot").mkdir()
    for n in range(2):
        picture(seed=n).save(tmp_path / "shot" / f"{n}.png")
    picture().save(tmp_path / "key.png")
    want = paint(pipeline, sketches=[picture(seed=n) for n in range(2)], lines="dark")
    files = [tmp_path / "shot" / f"{n}.png" for n in range(2)]
    for sketches in (tmp_path / "shot", str(tmp_path / "shot"), files):
        assert torch.equal(paint(pipeline, str(tmp_path / "key.png"), sketches, lines="dark"), want)


def test_one_sketch_is_a_clip(pipeline):
    want = paint(pipeline, sketches=clip(1))
    for one in (clip(1)[0], clip(1)[0, 0]):
        assert torch.equal(paint(pipeline, sketches=one), want) and len(want) == 1


def test_noise_levels_by_name(pipeline):
    levels = pipeline.sampling_config(2).noise_levels
    want = paint(pipeline, steps=2)
    assert levels[-1] == 0
    for sigmas in (levels.tolist(), levels[:-1].tolist(), tuple(levels.numpy())):
        close(paint(pipeline, steps=None, sigmas=sigmas), want, 1e-5)
    close(paint(pipeline, steps=None, timesteps=(levels[:-1].log() / 4).tolist()), want, 1e-3)


def test_several_of_each(pipeline):
    generators = [seeded(n) for n in range(4)]
    both = pipeline([picture(seed=n) for n in range(2)], [clip(3, seed=n) for n in range(2)], 1, 2, output_type="pt",
                    num_videos_per_prompt=2, generator=generators).frames  # fmt: skip
    for n in range(4):
        apart = paint(pipeline, picture(seed=n // 2), clip(3, seed=n // 2), generator=seeded(n))
        close(both[n], apart)


def test_noise_of_ones_own(pipeline):
    shape = (1, pipeline.sampling_config(overlap=2).slots, 4, 8, 8)
    noise = torch.randn(shape[1:], generator=seeded(3))[None]
    assert torch.equal(paint(pipeline, latents=noise), paint(pipeline, seed=3))


@pytest.mark.parametrize("size", [2, 3, 6, 100])
def test_decoding_in_other_chunks(pipeline, size):
    seen = []
    hook = pipeline.vae.decoder.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    frames = paint(pipeline, sketches=clip(13), decode_chunk_size=size)
    hook.remove()
    assert frames.shape[0] == 13 and max(seen) == min(size, 14)


def test_an_interrupted_call_returns_the_finished_segments(pipeline):
    def callback(pipe, step, sigma, tensors):
        calls.append(step)
        pipe._interrupt = len(calls) == stop_after
        return tensors

    whole = paint(pipeline, sketches=clip(13), steps=2, output_type="latent")
    for stop_after, frames in ((1, 0), (3, WINDOW - 2)):  # a segment keeps its overlap for the next
        calls: list[int] = []
        painted = paint(pipeline, sketches=clip(13), steps=2, output_type="latent", callback_on_step_end=callback)
        assert len(calls) == stop_after and len(painted) == frames
        assert frames == 0 or torch.equal(painted[:1], whole[:1])
    assert len(paint(pipeline, sketches=clip(13), steps=1)) == 13  # the next call begins anew


@pytest.mark.parametrize("kind", ["model", "sequential", "group"])
def test_offloaded_it_paints_the_same(kind):
    """On a CPU, too: weights wait on the meta device or are hooked, so whatever is used without a hook fails."""
    pipe = toy_pipeline()
    want = paint(pipe, steps=2)
    if kind == "model":
        pipe.enable_model_cpu_offload(device="cpu")
        assert all(hasattr(network, "_hf_hook") for network in (pipe.unet, pipe.vae, pipe.image_encoder))
    elif kind == "sequential":  # diffusers names the device cpu:0, which accelerate then does not know again
        for network in (pipe.unet, pipe.controlnet, pipe.vae, pipe.image_encoder):
            cpu_offload(network, torch.device("cpu"), offload_buffers=len(network._parameters) > 0)
        assert next(pipe.unet.parameters()).is_meta
    else:
        pipe.enable_group_offload(onload_device=torch.device("cpu"), offload_type="leaf_level")
    assert torch.equal(paint(pipe, steps=2), want) and torch.equal(paint(pipe, steps=2), want)


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sketches": []}, "no sketches"),
        ({"sketches": torch.zeros(0, 1, *SIZE)}, "no sketches"),
        ({"reference": picture((32, 40))}, "aspect"),
        ({"reference_frame": 8}, "0 to 7"),
        ({"reference_frame": -1}, "reference frame -1"),
        ({"reference_frame": 0, "reference_sketch": clip(1)[0]}, "not both"),
        ({"generator": [seeded()] * 2}, "2 generators"),
        ({"keys": {8: picture()}}, "key 8"),
        ({"keys": {-1: picture()}}, "key -1"),
        ({"keys": {3: picture()}, "reference_frame": 3}, "two"),
        ({"keys": {3: picture((32, 40))}}, "key 3.*aspect"),
        ({"keys": [{0: picture()}, {1: picture()}], "reference": [picture()] * 2, "sketches": [clip(3)] * 2}, "same"),
        ({"lines": "purple", "sketches": [picture()] * 2}, "purple"),
        ({"sketches": [picture(), picture((40, 32))]}, "sketch 1 is 32x40 but sketch 0 is 32x32"),
        ({"sketches": [picture(), clip(1)[0]]}, "one form"),
        ({"sketches": 7}, "int"),
        ({"generator": 7}, "manual_seed"),
        ({"latents": torch.zeros(1, 2, 3)}, "noise of the shape"),
        ({"steps": None, "sigmas": [20.0, 80.0]}, "falling"),
        ({"steps": None, "sigmas": []}, "sigmas"),
        ({"steps": None, "sigmas": "ab"}, "numbers"),
        ({"steps": None, "sigmas": [2.0], "timesteps": [0.3]}, "give one"),
        ({"steps": 5, "sigmas": [2.0]}, "num_inference_steps"),
        ({"num_videos_per_prompt": 0}, "num_videos_per_prompt"),
        ({"decode_chunk_size": 1}, "from 2"),
        ({"callback_on_step_end_tensor_inputs": ["latents", "sketches"]}, "sketches"),
    ],
)
def test_input_that_cannot_be_used(pipeline, arguments, message):
    with pytest.raises(InputError, match=message):
        paint(pipeline, **arguments)


@pytest.mark.parametrize("overlap", [-1, WINDOW, 100])
def test_overlaps_that_are_none(pipeline, overlap):
    with pytest.raises(ValueError, match="overlap"):
        paint(pipeline, overlap=overlap)


@pytest.mark.parametrize("steps", [0, -2])
def test_no_steps(pipeline, steps):
    with pytest.raises(ValueError, match="steps"):
        paint(pipeline, steps=steps)


@pytest.mark.parametrize(
    ("references", "clips"),
    [(2, (3,)), (1, (3, 3)), (2, (3, 4)), (0, ()), (2, (0, 0))],
    ids=["too few clips", "too few references", "unequal clips", "nothing", "empty clips"],
)
def test_batches_that_do_not_fit(pipeline, references, clips):
    with pytest.raises(InputError, match="sketches"):
        pipeline([picture()] * references, [clip(n) for n in clips], 1, 2, generator=seeded())


def test_reference_sketches_for_another_number_of_clips(pipeline):
    with pytest.raises(InputError):
        pipeline([picture()] * 2, [clip(3)] * 2, 1, 2, reference_sketch=[clip(1)[0]], generator=[seeded()] * 2)


@pytest.mark.parametrize("apart", [False, True], ids=["vae", "condition encoder"])
def test_in_half_the_reference_is_encoded_in_float32_and_the_rest_stays_half(apart):
    pipe = toy_pipeline().to(torch.float16)  # its VAE asks for it, as SVD's does
    if apart:
        encoder = LatentEncoder(block_out_channels=(32, 32, 32), layers_per_block=1).half()
        pipe = remade(pipe, condition_encoder=encoder)
    seen: dict[str, torch.dtype] = {}

    def tell(name):
        return lambda module, given: seen.update({name: given[0].dtype})

    hooks = [
        (pipe.condition_encoder if apart else pipe.vae).encoder.register_forward_pre_hook(tell("encoder")),
        pipe.vae.decoder.register_forward_pre_hook(tell("decoder")),
    ]
    pipe([picture()], [clip(2)], 1, 1, generator=[seeded()])
    for hook in hooks:
        hook.remove()
    assert pipe.vae.config.force_upcast and seen == {"encoder": torch.float32, "decoder": torch.float16}


def test_steady_keeps_the_reference_where_nothing_moves(pipeline):
    """Lines and reference are those of each frame, and paint that is near the reference becomes it."""
    frames = torch.rand(3, 24, 32, generator=torch.Generator().manual_seed(0)) * 0.1 + 0.45
    lines = torch.zeros(3, 1, 24, 32)
    lines[..., 4:20, 6] = 1
    plain, steady = (
        pipeline(
            frames, lines, num_inference_steps=1, reference_sketch=lines[0], steady=steady, output_type="pt",
            generator=torch.Generator().manual_seed(0),
        ).frames[0]
        for steady in (False, True)
    )  # fmt: skip
    assert steady.shape == plain.shape == (3, 3, 24, 32)
    assert (steady - frames).abs().mean() <= (plain - frames).abs().mean()
    with pytest.raises(InputError, match="only sheets"):
        pipeline(None, lines, sheets=[frames], num_inference_steps=1, steady=True)
