"""Our model as a method, with the toy pipeline: it paints what the pipeline paints, in every way of sampling."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from lvcd.errors import InputError
from lvcd.evaluation.methods import ImageOnly, Ours
from lvcd.flats import PaintBucket, as_array
from lvcd.pipeline import SamplingConfig
from tests.helpers.configs import composed

SIZE = (32, 48)


def same(a: torch.Tensor, b: torch.Tensor) -> bool:
    """But for the last digits: kernels sum in another order where memory lies otherwise."""
    return torch.allclose(a, b, atol=1e-5)


@pytest.fixture(scope="module")
def given() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    lines = (torch.rand(8, 1, *SIZE, generator=rng) > 0.9).float()
    return torch.rand(3, *SIZE, generator=rng), lines[0], lines[1:]


def test_it_is_the_pipeline(model_folder, given):
    reference, own, sketches = given
    ours = Ours(model_folder, SamplingConfig(steps=1, overlap=1))
    direct = ours.pipeline(
        reference, torch.stack([own, *sketches]), num_inference_steps=1, overlap=1, reference_frame=0,
        generator=torch.Generator().manual_seed(5), output_type="pt",
    ).frames[0, 1:]  # fmt: skip
    assert same(ours.paint(*given, 5), direct)
    assert not same(ours.paint(*given, 6), direct)


@pytest.mark.slow
def test_every_ablation_paints_something_else(model_folder, given):
    ways = {
        "full": {},
        "blend": {"blend_steps": 0},
        "prev": {"prev_reference_steps": 0},
        "sample": {"prev_sample": True},
    }
    ways |= {"overlap": {"overlap": 0}, "guidance": {"guidance": 2.0}}
    made = {name: Ours(model_folder, SamplingConfig(**{"steps": 2, "overlap": 2, **way})) for name, way in ways.items()}
    frames = {name: ours.paint(*given, 0) for name, ours in made.items()}
    names = list(ways)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not same(frames[one], frames[other]), (one, other)
    assert len({str(ours.settings) for ours in made.values()}) == len({ours.name for ours in made.values()}) == 6


def test_an_ablated_model_has_a_name_of_its_own(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    for file, without in (("model_index.json", "reference_attention"), ("controlnet/config.json", "temporal")):
        told = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**told, without: False}))
    assert Ours(model_folder, SamplingConfig(overlap=1)).name == "ours [overlap=1]"
    assert (
        Ours(folder, SamplingConfig(overlap=1)).name
        == "ours [no reference_attention, no controlnet_temporal, overlap=1]"
    )


def test_prev_sample_goes_on_from_its_last_frame(model_folder, given):
    reference, own, sketches = given
    ours = Ours(model_folder, SamplingConfig(steps=1, prev_sample=True))  # a window of 5
    painted = ours.paint(*given, 0)
    plain = Ours(model_folder, SamplingConfig(steps=1, overlap=0)).paint(reference, own, sketches[:5], 0)
    assert same(painted[:5], plain)
    other = ours.paint(reference, own, torch.cat([sketches[:4], 1 - sketches[4:5], sketches[5:]]), 0)
    assert not same(other[5:], painted[5:])


def test_flat_is_the_paint_bucket_told_by_what_is_painted(model_folder, given):
    reference, own, sketches = given
    plain, flat = (Ours(model_folder, SamplingConfig(steps=1, overlap=1), flat=f) for f in (False, True))
    ink = as_array(own)[..., 0]
    black = np.full(3, 1 - np.round(np.median(ink[ink > 0.9]) * 255) / 255) if (ink > 0.9).any() else None
    bucket = PaintBucket(as_array(reference), ink, ink_color=black)
    written = (plain.paint(*given, 0) * 255).round() / 255
    told = [bucket(*frame) for frame in zip(as_array(sketches)[..., 0], as_array(written))]
    assert same(flat.paint(*given, 0), torch.from_numpy(np.stack(told)).movedim(-1, 1))
    assert flat.name == "ours [flat, steps=1, overlap=1]" and "flat" in flat.settings and "flat" not in plain.settings
    assert composed("eval", "method=ours_flat", "model=x").method.flat


def test_image_only_can_be_flat_too(model_folder, given):
    plain, flat = (ImageOnly(model_folder, SamplingConfig(steps=1), flat=f).paint(*given, 0) for f in (False, True))
    assert not same(plain, flat)


def test_image_only_paints_each_frame_alone(model_folder, given):
    reference, own, sketches = given
    alone = ImageOnly(model_folder, SamplingConfig(steps=1))
    whole = alone.paint(*given, 3)
    assert whole.shape == (7, 3, *SIZE)
    for n in (0, 4):
        assert same(alone.paint(reference, own, sketches[n : n + 1], 3)[0], whole[n])


def test_image_only_takes_the_middle_of_a_clip_that_stands_still(model_folder, given):
    reference, own, sketches = given
    alone = ImageOnly(model_folder, SamplingConfig(steps=1), still=5)
    video = Ours(model_folder, SamplingConfig(steps=1, overlap=0))
    assert video.pipeline.config.window == alone.settings["still"] == 5
    still = video.paint(reference, own, sketches[2:3].expand(5, -1, -1, -1), 3)
    assert same(alone.paint(reference, own, sketches[2:3], 3)[0], still[2])
    assert composed("eval", "method=image_only", "model=x").method.still == 3
    with pytest.raises(InputError, match="still=0"):
        ImageOnly(model_folder, still=0)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"overlap": 5}, {"solver": "eule"}, {"sigma_min": 90.0}])
def test_sampling_without_a_meaning_is_refused(model_folder, wrong):
    with pytest.raises(InputError):
        Ours(model_folder, SamplingConfig(**wrong))


@pytest.mark.parametrize(
    ("ablation", "keys"),
    [
        ("no_overlapped_blending", {"blend_steps"}),
        ("no_prev_reference", {"prev_reference_steps"}),
        ("no_schemes", {"blend_steps", "prev_reference_steps"}),
        ("prev_sample", {"prev_sample"}),
    ],
)
def test_an_ablation_changes_what_it_says(ablation, keys):
    full, changed = (composed("eval", f"sampling={name}") for name in ("full", ablation))
    a, b = (OmegaConf.to_container(config.sampling, resolve=True) for config in (full, changed))
    assert {name for name in a if a[name] != b[name]} == keys
    assert composed("eval", "overlap=7").sampling.overlap == 7
