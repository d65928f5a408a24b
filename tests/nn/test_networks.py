"""The U-Net and the ControlNet as wholes: what they equal, what they ignore, what they keep apart."""

from __future__ import annotations

import copy
import inspect
import json

import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.resnet import ResnetBlock2D, TemporalResnetBlock
from torch import nn

from lvcd.frames import FrameLayout
from lvcd.nn.condition import Condition
from lvcd.nn.controlnet import SketchControlNet, sketch_stem
from lvcd.nn.network import conditioned_network
from lvcd.nn.unet import ColorUNet
from tests.helpers import oracles

CONTEXT, SIDE = 16, 8


@pytest.fixture(scope="module")
def unet(pipeline) -> ColorUNet:
    """Shared by the tests of this file: change a copy only."""
    return copy.deepcopy(pipeline.unet)


@pytest.fixture(scope="module")
def controlnet(pipeline) -> SketchControlNet:
    return copy.deepcopy(pipeline.controlnet)


def drawn(clips: int, frames: int, seed: int = 0, tokens: int = 1) -> dict[str, torch.Tensor]:
    """Arguments of a network call."""
    g = torch.Generator().manual_seed(seed)
    return {
        "sample": torch.randn(clips, frames, 8, SIDE, SIDE, generator=g),
        "timestep": torch.randn(clips, generator=g),
        "encoder_hidden_states": torch.randn(clips, tokens, CONTEXT, generator=g),
        "added_time_ids": torch.tensor([[6.0, 160.0, 0.0], [12.0, 30.0, 0.1]])[:clips],
    }


def drawn_features(clips: int, frames: int) -> torch.Tensor:
    return torch.randn(clips, frames, 32, SIDE, SIDE, generator=torch.Generator().manual_seed(9))


def close(a, b, tolerance=1e-4):
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance)


LAYOUTS = {
    "plain": FrameLayout.plain(6),
    "referenced": FrameLayout.referenced(5),
    "prev-referenced": FrameLayout.prev_referenced(4, 1),
}
each_layout = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


# ------------------------------------------------------------------------------------------------------ what they equal


@torch.no_grad()
@pytest.mark.parametrize(("clips", "tokens"), [(1, 1), (2, 1), (1, 3)])
def test_without_a_layout_the_unet_is_svd(unet, clips, tokens):
    svd = UNetSpatioTemporalConditionModel.from_config(unet.config)
    svd.load_state_dict(unet.state_dict())
    for module in svd.modules():  # the one number in which SVD's own code and diffusers differ
        if isinstance(module, (ResnetBlock2D, TemporalResnetBlock)):
            module.norm1.eps = module.norm2.eps = 1e-5
    for frames in (1, 2, 5):
        arguments = drawn(clips, frames, tokens=tokens)
        close(unet(**arguments), svd(**arguments).sample, 1e-5)


@torch.no_grad()
@each_layout
def test_networks_of_dense_attention_give_the_same(unet, controlnet, layout):
    arguments, features = drawn(2, 6), drawn_features(2, 6)
    dense_unet, dense_controlnet = copy.deepcopy(unet), copy.deepcopy(controlnet)
    oracles.densify(dense_unet)
    oracles.densify(dense_controlnet)
    got, want = [], []
    for u, c, outs in ((unet, controlnet, got), (dense_unet, dense_controlnet, want)):
        outs += c(**arguments, sketch_features=features, layout=layout)
        outs.append(u(**arguments, layout=layout, residuals=outs[:]))
    for a, b in zip(got, want, strict=True):
        close(a, b, 5e-5)


@torch.no_grad()
def test_the_numbers_are_embedded_one_by_one_cosine_first(unet):
    """Method, section 2."""
    width = unet.config.addition_time_embed_dim
    values = torch.tensor([6.0, 160.0, 0.02])
    rates = torch.exp(-torch.log(torch.tensor(10000.0)) * torch.arange(width // 2) / (width // 2))
    want = torch.cat([torch.cat([torch.cos(v * rates), torch.sin(v * rates)]) for v in values])
    first, second = unet.add_embedding.linear_1, unet.add_embedding.linear_2
    want = second(nn.functional.silu(first(want)))
    close(unet.embed_condition(torch.zeros(1, 1, CONTEXT), values[None]).added[0], want, 1e-5)


# ------------------------------------------------------------------------------------------------------- the ControlNet


@torch.no_grad()
@each_layout
def test_a_fresh_controlnet_changes_nothing(unet, layout):
    fresh = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    arguments = drawn(1, 6)
    residuals = fresh(**arguments, sketch_features=fresh.embed_sketches(torch.rand(1, 6, 1, 32, 32)), layout=layout)
    assert torch.equal(unet(**arguments, layout=layout, residuals=residuals), unet(**arguments, layout=layout))


def test_a_fresh_controlnet_can_learn(unet):
    fresh = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    arguments, layout = drawn(1, 3), FrameLayout.referenced(2)
    residuals = fresh(**arguments, sketch_features=drawn_features(1, 3), layout=layout)
    unet(**arguments, layout=layout, residuals=residuals).square().mean().backward()
    unet.zero_grad(set_to_none=True)
    for conv in (*fresh.zero_convs, fresh.zero_mid):
        assert conv.weight.grad.abs().max() > 0


def test_from_unet_copies_the_encoder(unet):
    fresh = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    theirs, mine = unet.state_dict(), fresh.state_dict()
    copied = {k for k in theirs if not k.startswith(("up_blocks.", "conv_norm_out.", "conv_out."))}
    assert {k for k in mine if not k.startswith(("stem.", "zero_"))} == copied
    for key in copied:
        assert torch.equal(mine[key], theirs[key]) and mine[key].data_ptr() != theirs[key].data_ptr()
    assert all((v == 0).all() for k, v in mine.items() if k.startswith("zero_"))


@torch.no_grad()
@each_layout
def test_the_controlnet_is_the_unets_encoder(unet, layout):
    """With ones for zero convolutions and no sketch it gives the U-Net's own skips: what they cancel, is gone."""
    fresh = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    for conv in (*fresh.zero_convs, fresh.zero_mid):
        conv.weight[:, :, 0, 0] = torch.eye(conv.in_channels)
    outs = []
    for seed in range(2):
        arguments = {**drawn(1, 6), "sample": drawn(1, 6, seed)["sample"]}
        residuals = fresh(**arguments, sketch_features=torch.zeros(1, 6, 32, SIDE, SIDE), layout=layout)
        outs.append(unet(**arguments, layout=layout, residuals=[-r for r in residuals]))
    close(*outs, 1e-5)


@torch.no_grad()
def test_the_sketch_stem(controlnet):
    sketches = torch.rand(2, 3, 1, 32, 48)
    features = controlnet.embed_sketches(sketches)
    assert features.shape == (2, 3, 32, 8, 12)
    for clip in range(2):
        for frame in range(3):
            close(features[clip, frame], controlnet.stem(sketches[clip, frame].repeat(3, 1, 1)[None])[0], 1e-5)


def test_the_full_stem_has_the_originals_widths():
    convs = [m for m in sketch_stem((16, 32, 96, 256), 320) if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convs] == [16, 16, 32, 32, 96, 96, 256, 320]
    assert [c.stride[0] for c in convs] == [1, 1, 2, 1, 2, 1, 2, 1]
    assert isinstance(sketch_stem((16, 32), 8)[-1], nn.Conv2d)  # no SiLU after the last


# ------------------------------------------------------------------------------------------------ condition embeddings


@torch.no_grad()
@pytest.mark.parametrize("tokens", [1, 2])
def test_embedding_once_changes_nothing_but_the_time_it_takes(unet, controlnet, tokens):
    arguments = drawn(2, 6, tokens=tokens)
    condition = Condition(
        arguments["encoder_hidden_states"], torch.randn(2, 6, 4, SIDE, SIDE), arguments["added_time_ids"]
    )
    sketches = torch.rand(2, 6, 1, 32, 32)
    once, each = (conditioned_network(unet, controlnet, condition, sketches, embed_once=o) for o in (True, False))
    for seed, layout in enumerate((LAYOUTS["referenced"], LAYOUTS["prev-referenced"])):
        x, c_noise = drawn(2, 6, seed=seed)["sample"][:, :, :4], torch.tensor([0.3, 1.0 + seed])
        close(once(x, c_noise, layout), each(x, c_noise, layout), 1e-5)


@torch.no_grad()
def test_condition_embeddings_do_not_outlive_their_call(unet):
    arguments, other = drawn(1, 3), drawn(1, 3, seed=1)
    embeddings = unet.embed_condition(other["encoder_hidden_states"], other["added_time_ids"])
    fresh = unet(**arguments)
    with_others = unet(**arguments, condition_embeddings=embeddings)
    assert (with_others - fresh).abs().max() > 1e-4  # they count ...
    assert torch.equal(unet(**arguments), fresh)  # ... as long as they are given


# ------------------------------------------------------------------------------------------------------------ isolation


def without_temporal_norms(net):
    net = copy.deepcopy(net)
    for module in net.modules():
        if isinstance(module, TemporalResnetBlock):
            module.norm1, module.norm2 = nn.Identity(), nn.Identity()
    return net


@torch.no_grad()
@pytest.mark.parametrize(
    ("layout", "video"),
    [(FrameLayout.referenced(5), range(1, 6)), (FrameLayout.prev_referenced(4, 1), range(2, 6))],
    ids=["referenced", "prev-referenced"],
)
def test_the_video_reaches_the_references_only_through_temporal_norms(unet, layout, video):
    arguments = drawn(1, 6)
    for net, reached in ((unet, True), (without_temporal_norms(unet), False)):
        before = net(**arguments, layout=layout)
        for frame in video:
            other = {**arguments, "sample": arguments["sample"].clone()}
            other["sample"][:, frame] += 1
            change = (net(**other, layout=layout) - before)[:, : layout.num_refs].abs().max().item()
            assert (change > 0) is reached


@torch.no_grad()
def test_the_references_reach_the_video_only_where_it_reads_them(unet):
    net, arguments = without_temporal_norms(unet), drawn(1, 6)
    other = {**arguments, "sample": arguments["sample"].clone()}
    other["sample"][:, 0] += 1
    blind = FrameLayout(1, (tuple(range(6)),))
    for layout, reached in ((FrameLayout.referenced(5), True), (blind, False)):
        change = (net(**other, layout=layout) - net(**arguments, layout=layout))[:, 1:].abs().amax(dim=(0, 2, 3, 4))
        assert ((change > 0) == reached).all()


@torch.no_grad()
@each_layout
def test_two_clips_are_each_alone(unet, controlnet, layout):
    arguments, features = drawn(2, 6), drawn_features(2, 6)

    def run(clip):
        mine = {k: v[clip] for k, v in arguments.items()}
        return unet(**mine, layout=layout, residuals=controlnet(**mine, sketch_features=features[clip], layout=layout))

    together = run(slice(None))
    for clip in range(2):
        close(together[clip : clip + 1], run(slice(clip, clip + 1)), 3e-5)


# ------------------------------------------------------------------------------------------------- any number of frames


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3, 7, 11])
def test_any_number_of_frames(unet, controlnet, frames):
    arguments = drawn(1, frames)
    for layout in [None] + ([FrameLayout.referenced(frames - 1)] if frames > 1 else []):
        residuals = controlnet(**arguments, sketch_features=drawn_features(1, frames), layout=layout)
        out = unet(**arguments, layout=layout, residuals=residuals)
        assert out.shape == (1, frames, 4, SIDE, SIDE) and out.isfinite().all()


@pytest.mark.parametrize("layout", [FrameLayout.plain(5), FrameLayout.referenced(6)])
def test_a_layout_for_another_number_of_frames(unet, layout):
    with pytest.raises(ValueError, match=f"{layout.num_frames} frames.* 6"):
        unet(**drawn(1, 6), layout=layout)


def test_residuals_for_another_network(unet, controlnet):
    arguments = drawn(1, 3)
    residuals = controlnet(**arguments, sketch_features=drawn_features(1, 3))
    with pytest.raises(ValueError, match="longer"):
        unet(**arguments, residuals=[*residuals, residuals[-1]])


# ------------------------------------------------------------------------------------------------ copies, files, memory


@torch.no_grad()
def test_a_copy_lives_for_itself(unet):
    twin = copy.deepcopy(unet)
    assert twin._context is not unet._context
    slots = [m.processor.context for m in twin.modules() if hasattr(m, "processor")]
    slots += [m.context for m in twin.modules() if hasattr(m, "context")]
    assert slots and all(slot is twin._context for slot in slots)
    arguments = drawn(1, 6)
    wanted = {name: unet(**arguments, layout=layout) for name, layout in LAYOUTS.items()}
    for name, layout in LAYOUTS.items():
        assert torch.equal(twin(**arguments, layout=layout), wanted[name])


@torch.no_grad()
def test_saved_and_loaded(unet, controlnet, tmp_path):
    unet.save_pretrained(tmp_path / "unet")
    controlnet.save_pretrained(tmp_path / "controlnet")
    unet2 = ColorUNet.from_pretrained(tmp_path / "unet")
    controlnet2 = SketchControlNet.from_pretrained(tmp_path / "controlnet")
    arguments, features, layout = drawn(1, 6), drawn_features(1, 6), LAYOUTS["prev-referenced"]
    outs = []
    for u, c in ((unet, controlnet), (unet2, controlnet2)):
        residuals = c(**arguments, sketch_features=features, layout=layout)
        outs.append([*residuals, u(**arguments, layout=layout, residuals=residuals)])
    for one, other in ((unet, unet2), (controlnet, controlnet2)):
        assert all(torch.equal(x, other.state_dict()[name]) for name, x in one.state_dict().items())
    for a, b in zip(*outs, strict=True):
        close(a, b, 1e-5)  # some kernels sum in another order where memory lies otherwise


def test_narrow_networks_normalize_in_fewer_groups(unet, tmp_path):
    narrow = ColorUNet(**{**unet.config, "norm_groups": 4})
    SketchControlNet.from_unet(narrow, stem_widths=(8, 16, 16)).save_pretrained(tmp_path)
    for net in (narrow, SketchControlNet.from_pretrained(tmp_path)):
        assert {m.num_groups for m in net.modules() if isinstance(m, torch.nn.GroupNorm)} == {4}
    narrow.load_state_dict(unet.state_dict())
    arguments = drawn(1, 6)
    with torch.no_grad():
        assert not torch.allclose(narrow(**arguments), unet(**arguments), atol=1e-3)


def test_svds_own_unet_loads(unet, tmp_path):
    svd = UNetSpatioTemporalConditionModel.from_config(unet.config)
    svd.save_pretrained(tmp_path)
    ours, report = ColorUNet.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert all(torch.equal(v, svd.state_dict()[k]) for k, v in ours.state_dict().items())


@pytest.mark.parametrize("kind", [ColorUNet, SketchControlNet])
def test_the_saved_configuration_is_the_signature(unet, controlnet, kind, tmp_path):
    {ColorUNet: unet, SketchControlNet: controlnet}[kind].save_config(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())
    own = set(inspect.signature(kind.__init__).parameters) - {"self"}
    assert {k for k in saved if not k.startswith("_")} == own
    assert saved["_class_name"] == kind.__name__
    assert list(saved["block_out_channels"]) == [32, 32, 64]


@each_layout
def test_gradients_with_and_without_checkpointing(unet, controlnet, layout):
    arguments, features = drawn(1, 6), drawn_features(1, 6)
    results = []
    for checkpointing in (False, True):
        u, c = copy.deepcopy(unet).train(), copy.deepcopy(controlnet).train()
        if checkpointing:
            u.enable_gradient_checkpointing()
            c.enable_gradient_checkpointing()
        out = u(**arguments, layout=layout, residuals=c(**arguments, sketch_features=features, layout=layout))
        out.square().mean().backward()
        results.append({(i, k): p.grad for i, net in enumerate((u, c)) for k, p in net.named_parameters()})
    without, with_ = results
    assert {k for k, v in without.items() if v is None} == {k for k, v in with_.items() if v is None}
    learned = [k for k, v in without.items() if v is not None and v.abs().max() > 0]
    assert len(learned) > len(without) / 2
    for key in learned:
        close(with_[key], without[key], 1e-6)
