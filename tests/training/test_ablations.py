"""Each ablation changes what it says and nothing else, in training and in what is exported."""

from __future__ import annotations

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch._subclasses.fake_tensor import FakeTensorMode

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.frames import FrameLayout
from lvcd.nn.controlnet import SketchControlNet
from lvcd.training import FineTuneModule, networks_from_folder
from lvcd.training.plan.build import build_networks
from tests.helpers.configs import composed
from tests.helpers.fitting import clips
from tests.helpers.paths import ROOT
from tests.helpers.toys import toy_networks, toy_pipeline


def test_what_reaches_a_frame():
    full = FrameLayout.referenced(3)
    alone = full.ablated(reference_attention=False)
    assert alone.sources == (tuple(range(4)),) and alone.num_refs == 1
    assert full.ablated(isolation=False).num_refs == 0
    assert full.ablated() == full
    assert alone.groups(0) == FrameLayout.plain(4).groups(0)  # in space SVD's own attention


def test_a_branch_without_temporal_layers_paints_each_frame_alone():
    p = toy_pipeline(window=3)
    branch = SketchControlNet.from_unet(p.unet, stem_widths=(8, 16, 16), temporal=False)
    for conv in (*branch.zero_convs, branch.zero_mid):
        torch.nn.init.normal_(conv.weight, std=0.1)
    torch.manual_seed(0)
    x, token = torch.randn(1, 3, 8, 8, 12), torch.randn(1, 1, p.unet.config.cross_attention_dim)
    condition = (torch.tensor([0.1]), token, torch.tensor([[6.0, 160.0, 0.0]]))
    sketches = torch.rand(1, 3, 1, 32, 48)
    plain = FrameLayout.plain(3)
    with torch.no_grad():
        together = branch(x, *condition, branch.embed_sketches(sketches), plain)
        alone = branch(x[:, 1:2], *condition, branch.embed_sketches(sketches[:, 1:2]), FrameLayout.plain(1))
    for a, b in zip(together, alone):
        torch.testing.assert_close(a[1:2], b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("change", [{"reference_attention": False}, {"isolation": False}])
def test_the_loss_and_the_exported_model_know(change, tmp_path):
    batch: Batch = clips(1)
    module = FineTuneModule(toy_networks(), **change)
    assert module.losses(batch, [1])[0].item() != FineTuneModule(toy_networks()).losses(batch, [1])[0].item()
    module.export(tmp_path)
    from lvcd.pipeline import LineartVideoPipeline

    pipeline = LineartVideoPipeline.from_pretrained(tmp_path, torch_dtype=torch.float32)
    scheme = pipeline.sampling_config(1, 1)
    layout = scheme.layout(True, scheme.noise_levels[0])
    assert layout.num_refs == (2 if "reference_attention" in change else 0)
    assert len(layout.sources) == (1 if "reference_attention" in change else 2)


def test_an_ablation_of_a_trained_model_begins_with_its_own_branch(model_folder, tmp_path):
    """Not with a clone of the U-Net, nor with SVD's stem."""
    full = networks_from_folder(model_folder).controlnet
    ablated = networks_from_folder(model_folder, {"temporal": False}).controlnet
    assert not ablated.config.temporal and ablated.config.stem_widths == full.config.stem_widths == [8, 16, 16]
    mine, theirs = ablated.state_dict(), full.state_dict()
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)
    module = FineTuneModule(networks_from_folder(model_folder, {"temporal": False}))
    unchanged = FineTuneModule(networks_from_folder(model_folder))
    assert module.losses(clips(1), [1])[0].item() != unchanged.losses(clips(1), [1])[0].item()
    module.export(tmp_path)
    assert networks_from_folder(tmp_path).controlnet.config.temporal is False


def test_layers_whose_shapes_change_are_new_and_no_others(model_folder):
    full = networks_from_folder(model_folder).controlnet.state_dict()
    wider = networks_from_folder(model_folder, {"stem_widths": [8, 16, 24]}).controlnet
    assert wider.config.stem_widths == [8, 16, 24]
    kept = {name: torch.equal(x, full[name]) for name, x in wider.state_dict().items() if x.shape == full[name].shape}
    assert all(kept.values()) and {name.split(".")[0] for name in full.keys() - kept} == {"stem"}


def test_the_model_in_the_box_is_ablated_and_planned_alike(monkeypatch):
    """As typed: its stem is another than SVD's, for latents at a quarter of the size."""
    monkeypatch.chdir(ROOT)
    networks = composed("train", "experiment=mini_finetune", "ablation=no_controlnet_temporal").module.networks
    unchanged, ablated = (
        networks_from_folder(networks.folder).controlnet,
        instantiate(networks, _convert_="all").controlnet,
    )
    with FakeTensorMode():
        planned = build_networks(OmegaConf.to_container(networks, resolve=True)).controlnet
    names = {n for n in unchanged.config if not n.startswith("_")} - {"temporal"}
    assert {n: ablated.config[n] for n in names} == {n: unchanged.config[n] for n in names}
    assert ablated.config.temporal is planned.config.temporal is False
    assert all(torch.equal(x, unchanged.state_dict()[name]) for name, x in ablated.state_dict().items())
    assert {n: p.shape for n, p in planned.named_parameters()} == {n: p.shape for n, p in unchanged.named_parameters()}


def test_a_setting_that_no_branch_has_is_told(model_folder):
    with pytest.raises(InputError, match="controlnet: .*temporary"):
        networks_from_folder(model_folder, {"temporary": False})


def test_passed_by_layers_do_not_learn():
    p = toy_networks()
    p.controlnet = SketchControlNet.from_unet(p.unet, stem_widths=(8, 16, 16), temporal=False)
    module = FineTuneModule(p)
    assert module.trainable["controlnet"] and not any("temporal" in name for name in module.trainable["controlnet"])
