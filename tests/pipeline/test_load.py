"""A model folder becomes a pipeline, as small in memory as asked for."""

from __future__ import annotations

import pytest
import torch
from diffusers import DiffusionPipeline

from lvcd.errors import InputError
from lvcd.pipeline import LineartVideoPipeline, load_pipeline
from tests.helpers.toys import toy_pipeline


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    toy_pipeline().save_pretrained(folder)
    return folder


def paint(pipeline):
    pipeline.set_progress_bar_config(disable=True)
    sketches = (torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(1)) > 0.8).float()
    noise = torch.Generator().manual_seed(0)
    return pipeline(torch.full((3, 32, 32), 0.3), sketches, 2, 2, generator=noise, output_type="pt").frames[0]


def test_weights_in_8_bits(folder):
    small, usual = load_pipeline(folder, "cpu", storage="fp8"), load_pipeline(folder, "cpu")
    stored = [p.dtype for p in small.unet.parameters()]
    assert stored.count(torch.float8_e4m3fn) > len(stored) / 2
    assert {p.dtype for p in small.vae.parameters()} == {torch.float32}
    difference = (paint(small) - paint(usual)).abs()
    assert 0 < difference.mean() < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offload": "model"}, "GPU"),
        ({"offload": "disk"}, "choose model"),
        ({"storage": "int1"}, "choose fp8"),
        ({"storage": "fp8", "offload": "sequential"}, "does not go with"),
        ({"dtype": "half"}, "dtype"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, message):
    with pytest.raises(InputError, match=message):
        load_pipeline(folder, "cpu", **arguments)


@pytest.mark.slow
def test_diffusers_own_loader_opens_a_folder(folder, tmp_path):
    (tmp_path / "pipeline.py").write_text("from lvcd.pipeline import LineartVideoPipeline  # noqa: F401\n")
    pipeline = DiffusionPipeline.from_pretrained(folder, custom_pipeline=str(tmp_path), trust_remote_code=True)
    assert type(pipeline) is LineartVideoPipeline
    assert torch.equal(paint(pipeline), paint(load_pipeline(folder, "cpu")))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("offload", ["model", "sequential", "group"])
def test_offloaded_from_a_gpu(folder, offload):
    usual = paint(load_pipeline(folder, "cuda", "float32"))
    assert torch.allclose(paint(load_pipeline(folder, "cuda", "float32", offload=offload)), usual, atol=1e-4)
