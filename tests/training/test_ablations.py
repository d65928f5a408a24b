"""Each ablation changes what it says and nothing else, in training and in what is exported."""

from __future__ import annotations

import pytest
import torch
from conftest import toy_pipeline
from test_color import clips, toy

from lvcd.data.batch import Batch
from lvcd.frames import FrameLayout
from lvcd.nn.controlnet import SketchControlNet
from lvcd.training import FineTuneModule


def test_what_reaches_a_frame():
    whole = FrameLayout.referenced(3)
    alone = whole.ablated(reference_attention=False)
    assert alone.sources == (tuple(range(4)),) and alone.num_refs == 1
    assert whole.ablated(isolation=False).num_refs == 0
    assert whole.ablated() == whole
    assert alone.groups(0) == FrameLayout.plain(4).groups(0)  # in space SVD's own attention


def test_a_branch_without_temporal_layers_paints_each_frame_alone():
    p = toy_pipeline(window=3)
    branch = SketchControlNet.from_unet(p.unet, stem_widths=(8, 16, 16), temporal=False)
    for conv in (*branch.zero_convs, branch.zero_mid):
        torch.nn.init.normal_(conv.weight, std=0.1)
    torch.manual_seed(0)
    x, token = torch.randn(1, 3, 8, 8, 12), torch.randn(1, 1, p.unet.config.cross_attention_dim)
    told = (torch.tensor([0.1]), token, torch.tensor([[6.0, 160.0, 0.0]]))
    sketches = torch.rand(1, 3, 1, 32, 48)
    plain = FrameLayout.plain(3)
    with torch.no_grad():
        together = branch(x, *told, branch.embed_sketches(sketches), plain)
        alone = branch(x[:, 1:2], *told, branch.embed_sketches(sketches[:, 1:2]), FrameLayout.plain(1))
    for a, b in zip(together, alone):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"reference_attention": False}, {"isolation": False}])
def test_the_loss_and_the_exported_model_know(change, tmp_path):
    batch: Batch = clips(1)
    module = FineTuneModule(toy(), **change)
    assert module.losses(batch, [1])[0].item() != FineTuneModule(toy()).losses(batch, [1])[0].item()
    module.export(tmp_path)
    from lvcd.pipeline import LineartVideoPipeline

    pipeline = LineartVideoPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    scheme = pipeline.scheme(1, 1)
    layout = scheme.layout(True, scheme.sigmas[0])
    assert layout.num_refs == (2 if "reference_attention" in change else 0)
    assert len(layout.sources) == (1 if "reference_attention" in change else 2)


def test_passed_by_layers_do_not_learn():
    p = toy()
    p.controlnet = SketchControlNet.from_unet(p.unet, stem_widths=(8, 16, 16), temporal=False)
    module = FineTuneModule(p)
    assert module.learns["controlnet"] and not any("temporal" in name for name in module.learns["controlnet"])
