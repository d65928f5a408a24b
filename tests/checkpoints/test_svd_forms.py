"""Stable Video Diffusion in every form that people have it in works wherever a model is asked for."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionModelWithProjection

from lvcd.cli import main
from lvcd.errors import InputError
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet
from lvcd.pipeline import load_pipeline
from lvcd.shards.format import ENCODED
from lvcd.training import networks_from_folder
from tests.helpers.shards import write_shards
from tests.helpers.svd import FORMS, save_svd, tiny_svd


@pytest.fixture(scope="module", params=FORMS)
def svd(request, tmp_path_factory):
    """The form, and where it is."""
    name = "svd.safetensors" if request.param == "file" else "svd"
    return request.param, save_svd(request.param, tmp_path_factory.mktemp(request.param) / name)


def test_training_starts_from_it(svd):
    form, path = svd
    networks, truth = networks_from_folder(path), tiny_svd()
    for mine, theirs in (
        (networks.unet, truth.unet),
        (networks.vae, truth.vae),
        (networks.image_encoder, truth.image_encoder),
    ):
        weights = theirs.half().float().state_dict() if "fp16" in form else theirs.state_dict()
        assert mine.state_dict().keys() == weights.keys() and not mine.training
        assert all(torch.equal(value, weights[name]) for name, value in mine.state_dict().items())
    assert all(not conv.weight.any() for conv in networks.controlnet.zero_convs)
    pixels = torch.randn(1, 3, 28, 28)
    with torch.no_grad():  # buffers that are no weights are right too
        expected = truth.image_encoder(pixels).image_embeds
        torch.testing.assert_close(networks.image_encoder(pixels).image_embeds, expected, atol=2e-3, rtol=1e-3)
    assert (networks.condition_encoder is not None) == (form == "file")
    sizes = networks_from_folder(path, weights=False)
    assert {k: v.shape for k, v in sizes.unet.state_dict().items()} == {
        k: v.shape for k, v in networks.unet.state_dict().items()
    }


def test_encode_takes_it(svd, tmp_path):
    write_shards(tmp_path, clips=(2,), frames=3)
    assert main(["encode", str(tmp_path), "--model", str(svd[1]), "--stage", "64x64", "--device", "cpu"]) == 0
    manifest = json.loads((tmp_path / "64x64" / "manifest.json").read_text())
    assert manifest["format"] == ENCODED
    # what was encoded can be trained on from the same model
    assert manifest["encoders"]["vae"] == networks_from_folder(svd[1]).encoder_fingerprints["vae"]


def test_convert_makes_a_folder_to_train_from(svd, tmp_path):
    form, path = svd
    assert main(["convert", "--svd", str(path), "--out", str(tmp_path / "start")]) == 0
    pipeline = load_pipeline(tmp_path / "start", "cpu", "float32")
    direct, unet = networks_from_folder(path), pipeline.unet.state_dict()
    for name, value in pipeline.controlnet.state_dict().items():
        if name.startswith(("zero_convs.", "zero_mid.")):
            assert not value.any()
        elif not name.startswith("stem."):
            assert torch.equal(value, unet[name])
    assert pipeline.controlnet.stem[0].weight.any()
    assert networks_from_folder(tmp_path / "start").fingerprints["unet"] == direct.fingerprints["unet"]
    assert main(["convert", "--svd", str(path), "--out", str(tmp_path / "again")]) == 0
    for file in (tmp_path / "start").rglob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(tmp_path / "start")).read_bytes()


def test_svd_alone_does_not_color(tmp_path, capsys):
    save_svd("fp16", tmp_path / "svd")
    with pytest.raises(InputError, match="StableVideoDiffusionPipeline"):
        load_pipeline(tmp_path / "svd")
    assert main(["convert", "--svd", str(tmp_path / "none"), "--out", str(tmp_path / "out")]) == 2
    shutil.rmtree(tmp_path / "svd" / "vae")
    assert main(["convert", "--svd", str(tmp_path / "svd"), "--out", str(tmp_path / "out")]) == 2
    assert not (tmp_path / "out").exists()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(line.startswith("lvcd convert: ") for line in lines)


@pytest.mark.slow
def test_networks_are_those_that_diffusers_loads(model_folder):
    """Weights, buffers, the implementation of attention and the type: our loading is from_pretrained's."""
    mine = networks_from_folder(model_folder)
    for network, kind, name in (
        (mine.unet, ColorUNet, "unet"),
        (mine.controlnet, SketchControlNet, "controlnet"),
        (mine.vae, AutoencoderKLTemporalDecoder, "vae"),
        (mine.image_encoder, CLIPVisionModelWithProjection, "image_encoder"),
    ):
        theirs = kind.from_pretrained(model_folder / name, torch_dtype=torch.float32)
        assert dict(network.named_buffers()).keys() == dict(theirs.named_buffers()).keys()
        for (key, a), (_, b) in zip(network.named_buffers(), theirs.named_buffers()):
            assert torch.equal(a, b), key
        for key, value in theirs.state_dict().items():
            assert torch.equal(network.state_dict()[key], value)
        assert network.training == theirs.training and network.dtype == theirs.dtype
        assert [p.requires_grad for p in theirs.parameters()] == [True] * len(list(theirs.parameters()))
    theirs = CLIPVisionModelWithProjection.from_pretrained(model_folder / "image_encoder")
    assert mine.image_encoder.config._attn_implementation == theirs.config._attn_implementation
