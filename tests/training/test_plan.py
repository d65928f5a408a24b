"""`lvcd plan`: what it says of a toy is what the toy needs when it is trained for real."""

from __future__ import annotations

import json
import re
import weakref
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd.graph import saved_tensors_hooks

from lvcd.cli import main
from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.training.optimizer import Optimization
from lvcd.training.plan import StepConfig, TrainingPlan, measure_step, plan_training
from lvcd.training.plan.build import build_module
from lvcd.training.plan.cost_counter import CostCounter, cpu_autocast
from lvcd.training.plan.estimate import optimizer_state_bytes
from lvcd.training.plan.fit_report import CARD_GIB, format_report, parse_card, peak_flops, ways_to_save_memory
from tests.helpers.paths import ROOT

GIB = 2**30
WEIGHT = 0.3
SHARDS = {"_target_": "lightning.pytorch.strategies.ModelParallelStrategy"}


@pytest.fixture(scope="module")
def config(model_folder) -> dict:
    """A toy, as train.py would get it."""
    return {
        "data": {"window": 3, "height": 32, "width": 48, "batch_size": 2},
        "trainer": {"accelerator": "cpu", "devices": 1},
        "module": {
            "_target_": "lvcd.training.FineTuneModule",
            "unet": "self_attention",
            "correspondence_weight": WEIGHT,
            "optimization": {"_target_": "lvcd.training.Optimization", "lr": 1e-4},
            "networks": {"_target_": "lvcd.training.networks_from_folder", "folder": str(model_folder)},
        },
    }


def changed(config: dict, **groups: dict) -> dict:
    return {name: {**part, **groups.get(name, {})} for name, part in config.items()}


@pytest.fixture(scope="module")
def toy(config) -> TrainingPlan:
    return plan_training(config)


@pytest.mark.slow
def test_it_says_what_the_whole_run_costs(toy):
    assert toy.run_clips is None and "EFLOP" not in format_report(toy, [("card", 24.0)])
    run = replace(toy, step=replace(toy.step, steps=1000, ranks=4, accumulate=2, gpu=True), forward=10**13)
    assert run.run_clips == 1000 * 2 * 4 * 2  # batches of 2 clips
    assert run.run_flops == run.run_clips * (10**13 + toy.backward + toy.recompute + toy.encode)
    report = format_report(run, [("card", 24.0)])
    assert "1,000 steps of 16,000 clips" in report and "GPU-hours" in report and "On disk: 3 checkpoints" in report
    hours = float(re.search(r"A100 ([\d.,]+)", report)[1].replace(",", ""))
    assert hours == pytest.approx(run.run_flops / 312e12 / 0.3 / 3600, rel=0.06)


def test_a_checkpoint_has_the_planned_size(toy, config, tmp_path):
    """Of a real one, with its optimizer's state, up to what torch.save adds for each tensor."""
    module = build_module(config["module"])
    trained = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    for p in trained:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
    torch.save({"state_dict": weights, "optimizer_states": [optimizer.state_dict()]}, tmp_path / "last.ckpt")
    assert (tmp_path / "last.ckpt").stat().st_size == pytest.approx(toy.checkpoint, rel=0.1)


@pytest.fixture(scope="module")
def checkpointed(config) -> TrainingPlan:
    return plan_training(changed(config, module={**config["module"], "gradient_checkpointing": True}))


@pytest.fixture
def same_step(toy, monkeypatch) -> None:
    """Steps are not run again where only what stands around them differs."""
    flops = {name: getattr(toy, name) * toy.step.clips for name in ("forward", "backward", "recompute")}
    peaks, encode = (toy.encoding, toy.activations), toy.encode * toy.step.clips
    monkeypatch.setattr(
        "lvcd.training.plan.estimate._run_step",
        lambda m, *_: (*peaks, toy.correspondence if m.correspondence_weight else 0, flops, encode),
    )


@pytest.fixture(scope="module")
def real(model_folder):
    """The module itself, with weights."""
    from lvcd.training import FineTuneModule, networks_from_folder

    return FineTuneModule(networks_from_folder(model_folder), "self_attention", correspondence_weight=WEIGHT)


def batch_for(module, b: int = 2, t: int = 4, height: int = 32, width: int = 48) -> Batch:
    frames, sketches = torch.rand(b, t, 3, height, width) * 2 - 1, torch.rand(b, t, 1, height, width)
    latents, condition = module.encode(Batch(sketches, torch.full((b,), 6.0), frames))
    return Batch(sketches, torch.full((b,), 6.0), latents=latents, tokens=condition.token)


# ------------------------------------------------------------------------------------------------------ against reality


def test_parameters_are_those_of_the_real_module(toy, real):
    by_group = {g: sum(dict(real.named_parameters())[n].numel() for n in names) for g, names in real.trainable.items()}
    assert toy.trainable == by_group
    everything = [*real.parameters(), *(p for e in real.networks.encoders for p in e.parameters())]
    assert sum(toy.trainable.values()) + sum(toy.frozen.values()) == sum(p.numel() for p in everything)
    buffers = [*real.buffers(), *(x for e in real.networks.encoders for x in e.buffers())]
    assert toy.weights == sum(x.nbytes for x in (*everything, *buffers))
    assert toy.gradients == sum(p.nbytes for p in real.parameters() if p.requires_grad)


@pytest.mark.parametrize("muon", [None, 2.0])
def test_optimizer_is_what_it_really_holds(toy, real, muon):
    learning = [torch.nn.Parameter(p.detach().clone()) for p in real.parameters() if p.requires_grad]
    optimizer = Optimization(muon=muon).build({"unet": learning}, 1)["optimizer"]
    for p in learning:
        p.grad = torch.zeros_like(p)
    optimizer.step()
    held = sum(x.nbytes for state in optimizer.state.values() for x in state.values())
    assert held == sum(optimizer_state_bytes(p, 32, muon is not None) for p in learning)
    if muon is None:
        assert held == toy.optimizer


def test_eight_bits_are_about_a_quarter():
    big, small = torch.empty(1000, 1000, device="meta"), torch.empty(64, device="meta")
    assert optimizer_state_bytes(big, 8) == 2 * 10**6 + 2 * 4 * 3907  # 10^6 / 256 blocks, rounded up
    assert optimizer_state_bytes(small, 8) == optimizer_state_bytes(small, 32) == 2 * 64 * 4 + 4


class Saved:
    """A tensor, as long as autograd keeps it for backward."""

    def __init__(self, x: torch.Tensor):
        self.x = x


def saved_bytes(module, batch: Batch) -> int:
    """What autograd really keeps for backward of the loss, besides weights and what it was given."""
    there = (*module.parameters(), *module.buffers(), *(x for x in vars(batch).values() if isinstance(x, torch.Tensor)))
    given = {x.untyped_storage().data_ptr() for x in there}
    kept: weakref.WeakSet[Saved] = weakref.WeakSet()

    def pack(x):
        saved = Saved(x)
        kept.add(saved)
        return saved

    with saved_tensors_hooks(pack, lambda saved: saved.x):
        loss = module.training_step(batch, 0)["loss"]
    found = {s.x.untyped_storage().data_ptr(): s.x.untyped_storage().nbytes() for s in kept}
    assert loss.requires_grad
    return sum(size for place, size in found.items() if place not in given)


def test_activations_against_what_autograd_saves(toy, real, monkeypatch):
    batch = batch_for(real)
    saved = saved_bytes(real, batch)
    assert saved < toy.activations < 1.4 * saved  # more: skips, and what lives for a moment at the peak
    monkeypatch.setattr(real, "correspondence_weight", 0.0)
    assert toy.correspondence == pytest.approx(saved - saved_bytes(real, batch), rel=0.05)


def test_gaze_keeps_the_weights_of_attention(config, toy, real, same_step):
    """Of each place of 3 video frames to each of the reference: of every head, and their mean; more are the queries."""
    with real.attention_inputs() as inputs:
        real.losses(batch_for(real), [0, 1])
    places = [(attn.heads, min(x.shape[1], 128) * x.shape[1]) for attn, x in inputs]
    least = sum(2 * 3 * (heads + 1) * pairs * 4 for heads, pairs in places)
    assert least < toy.correspondence < 2 * least
    assert f"{toy.correspondence / GIB:.2f} GiB of them for module.correspondence_weight" in format_report(
        toy, parse_card(None)
    )
    assert any(words == "module.correspondence_weight=0" for words, _ in ways_to_save_memory(toy))


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_same_step_on_real_tensors_takes_the_same(config, toy, checkpointed, model_folder, checkpointing):
    """Fake tensors live and die like real ones."""
    from lvcd.training import FineTuneModule, networks_from_folder

    fake = checkpointed if checkpointing else toy
    module = FineTuneModule(
        networks_from_folder(model_folder),
        "self_attention",
        correspondence_weight=WEIGHT,
        gradient_checkpointing=checkpointing,
    )
    true = measure_step(module, StepConfig.from_config(config))
    assert fake.activations == pytest.approx(true.activations, rel=0.02)
    assert replace(fake, activations=0, encoding=0) == replace(true, activations=0, encoding=0)
    assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)


def test_operations_against_torch(toy, real):
    from torch.utils.flop_counter import FlopCounterMode

    batch = batch_for(real)
    with FlopCounterMode(display=False) as forward:
        loss = real.training_step(batch, 0)["loss"]
    with FlopCounterMode(display=False) as backward:
        loss.backward()
    real.zero_grad()
    assert toy.forward == forward.get_total_flops() // 2
    assert toy.backward == backward.get_total_flops() // 2
    assert toy.recompute == 0 and toy.flops_per_clip == toy.forward + toy.backward


def test_checkpointing_trades_memory_for_work(toy, checkpointed):
    less = checkpointed
    assert less.activations < toy.activations
    assert (less.forward, less.backward) == (toy.forward, toy.backward)  # what is counted twice is counted apart
    assert 0 < less.recompute < less.forward


# --------------------------------------------------------------------------------------------------------- the counter


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8))
def test_the_peak_is_the_largest_sum_alive(sizes):
    with CostCounter() as counter:
        for size in sizes:  # one at a time: the peak is the largest
            x = torch.zeros(size)
            view = x[:1].view(1)  # no bytes of its own
            del x, view
        assert (counter.live, counter.peak) == (0, 4 * max(sizes))
        held = [torch.zeros(size) for size in sizes]
        assert counter.live == counter.peak == 4 * sum(sizes)
        del held
    assert counter.live == 0


def test_what_stands_is_not_counted():
    weight = torch.zeros(1000)
    with CostCounter([weight]) as counter:
        _ = weight[:10].view(2, 5), weight.add_(1)
    assert counter.peak == 0


def test_norms_stay_in_float_as_on_a_gpu():
    x = torch.rand(2, 8, 4, 4)
    norm, conv = torch.nn.GroupNorm(2, 8), torch.nn.Conv2d(8, 8, 1)
    with cpu_autocast(torch.nn.ModuleList([norm]), torch.float16, gpu=True) as mixed, mixed():
        half = conv(x)
        assert half.dtype == torch.float16 and norm(half).dtype == torch.float32
        assert conv(norm(half)).dtype == torch.float16
    with cpu_autocast(norm, None, gpu=True) as mixed, mixed():
        assert conv(norm(x)).dtype == torch.float32


# ------------------------------------------------------------------------------------------------------------- settings


@pytest.mark.slow
def test_mixed_precision_halves_the_frozen_and_shrinks_activations(config, toy, request):
    gpu = {"accelerator": "gpu", "precision": "16-mixed"}
    half = plan_training(changed(config, trainer=gpu, module={**config["module"], "frozen_half": True}))
    request.getfixturevalue("same_step")
    mixed = plan_training(changed(config, trainer=gpu))
    assert mixed.weights == toy.weights and half.activations < 0.9 * toy.activations
    assert half.weights < mixed.weights and half.gradients == mixed.gradients
    assert mixed.update == mixed.gradients and (half.forward, half.backward) == (toy.forward, toy.backward)


def test_ranks_of_ddp_have_buckets(config, toy, same_step):
    ema = {"_target_": "lvcd.training.callbacks.Ema"}
    ddp = plan_training({**changed(config, trainer={"devices": 4, "strategy": "ddp"}), "callbacks": {"ema": ema}})
    assert ddp.buckets == ddp.average == toy.gradients and ddp.persistent == toy.persistent + 2 * toy.gradients
    strategy = {"_target_": "lightning.pytorch.strategies.DDPStrategy", "gradient_as_bucket_view": True}
    thrifty = plan_training(changed(config, trainer={"devices": 4, "strategy": strategy, "callbacks": [ema]}))
    assert thrifty.buckets == 0 and thrifty.average == toy.gradients


def test_ranks_of_fsdp_have_a_share(config, toy, same_step):
    fsdp = plan_training(changed(config, trainer={"devices": [0, 1], "num_nodes": 2, "strategy": SHARDS}))
    assert fsdp.optimizer == toy.optimizer // 4 and fsdp.gradients == toy.gradients // 4 and fsdp.buckets == 0
    assert fsdp.activations == toy.activations and toy.weights / 4 < fsdp.weights < toy.weights


def test_only_config_files_are_read(config, model_folder, tmp_path, toy, same_step):
    for part in ("unet", "controlnet", "vae", "image_encoder"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text((model_folder / part / "config.json").read_text())
    networks = {"_target_": "lvcd.training.networks_from_folder", "folder": str(tmp_path)}
    assert plan_training(changed(config, module={**config["module"], "networks": networks})) == toy


def test_new_networks_are_planned_from_their_arguments(config, model_folder, tmp_path, same_step):
    """Their step is run in test_the_mini_experiment."""
    vae = {"_class_name": "ColorVAE", "block_out_channels": [32, 32, 32], "norm_groups": 8, "latent_channels": 4}
    (tmp_path / "config.json").write_text(json.dumps(vae))
    unet = json.loads((model_folder / "unet" / "config.json").read_text())
    clip = json.loads((model_folder / "image_encoder" / "config.json").read_text())
    names = ("block_out_channels", "down_block_types", "up_block_types", "layers_per_block", "num_attention_heads",
             "cross_attention_dim", "addition_time_embed_dim", "projection_class_embeddings_input_dim")  # fmt: skip
    networks = {
        "_target_": "lvcd.training.networks_from_config",
        "vae": str(tmp_path),
        "unet": {k: unet[k] for k in names},
        "controlnet": {"stem_widths": [8, 16, 16]},
        "image_encoder": {k: v for k, v in clip.items() if isinstance(v, int)},
    }
    module = {**config["module"], "networks": networks, "unet": "none"}
    made = plan_training(changed(config, module=module))
    assert set(made.trainable) == {"controlnet"} and made.unet == "none"


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"module": {"_target_": "lvcd.training.VaeModule"}}, "does not train U-Net or ControlNet"),
        ({"module": {"speed": 3}}, "speed"),
        ({"module": {"unet": "some"}}, "unet=some"),
        ({"module": {"networks": {"_target_": "lvcd.training.networks_from_folder", "folder": "nowhere"}}}, "nowhere"),
        ({"trainer": {"precision": "64-true"}}, "precision=64-true"),
        ({"data": {"height": 33}}, "48x33"),
        ({"data": {"batch_size": 0}}, "give numbers from 1"),
    ],
)
def test_bad_input_is_one_line(config, groups, message, caplog):
    changes = {name: {**config[name], **part} for name, part in groups.items()}
    with pytest.raises(InputError, match=re.escape(message)) as raised:
        plan_training(changed(config, **changes))
    assert "\n" not in str(raised.value)
    assert not [r for r in caplog.records if r.name.startswith("torch")]  # it would print a traceback


# ------------------------------------------------------------------------------------------------------------ in words


@pytest.mark.parametrize(
    ("words", "size"),
    [("24", 24), ("24GB", 24), ("79.5 GiB", 79.5), ("RTX 4090", 24), ("4090", 24), ("nvidia a6000", 48), ("H200", 140)],
)
def test_cards_by_name_or_size(words, size):
    assert [gib for _, gib in parse_card(words)] == [size]


@pytest.mark.parametrize("words", ["", "9000", "GTX", "a100", "-3", "nan", "0"])
def test_a_card_that_is_none(words):
    if words == "9000":
        assert parse_card(words)[0][1] == 9000
        return
    with pytest.raises(InputError, match="--card"):
        parse_card(words)


def test_every_card_is_found_by_its_name():
    assert {name: parse_card(name)[0] for name in CARD_GIB} == {
        name: (name, float(size)) for name, size in CARD_GIB.items()
    }


@pytest.mark.parametrize(
    ("gpu", "precision", "tera"),
    [
        ("NVIDIA A100-SXM4-80GB", "bf16-mixed", 312),
        ("NVIDIA A100-PCIE-40GB", "16-mixed", 312),
        ("NVIDIA H100 80GB HBM3", "bf16-mixed", 989.4),
        ("NVIDIA H100 PCIe", "bf16-mixed", 756),
        ("NVIDIA H200", "bf16-mixed", 989),
        ("NVIDIA RTX A6000", "16-mixed", 155),
        ("NVIDIA GeForce RTX 4090", "bf16-mixed", 165),
        ("NVIDIA A10", "bf16-mixed", 125),
        ("NVIDIA A10G", "bf16-mixed", 125),
        ("NVIDIA L40S", "bf16-mixed", 362),
        ("NVIDIA L4", "bf16-mixed", 121),
        ("NVIDIA H200", "32-true", None),
        ("NVIDIA H100 NVL", "bf16-mixed", None),
        ("NVIDIA GH200 480GB", "bf16-mixed", None),
        ("NVIDIA A100-SXM4-80GB MIG 1g.10gb", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16-mixed", None),
        ("NVIDIA GeForce RTX 3080", "bf16-mixed", None),
    ],
)
def test_the_peak_of_a_card_as_the_driver_calls_it(gpu, precision, tera, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: gpu)
    assert peak_flops(torch.device("cuda", 0), precision) == (tera and pytest.approx(tera * 1e12))
    assert peak_flops(torch.device("cpu"), precision) is None


def test_the_verdict_depends_on_the_card(toy):
    large = replace(toy, step=replace(toy.step, gpu=True), activations=30 * GIB, encoding=40 * GIB)
    verdicts = {size: format_report(large, [("card", size)]).split("\ncard: ")[1] for size in (24.0, 36.0, 48.0)}
    assert verdicts[48.0].startswith("fits, ") and verdicts[36.0].startswith("fits from encoded shards")
    assert verdicts[24.0].startswith("does not fit") and "data.batch_size=1" in verdicts[24.0]
    assert "To save memory" not in verdicts[48.0] + verdicts[36.0]


def test_what_to_lower_is_what_the_plan_has_not_done(config, toy, same_step):
    words = " ".join(w for w, _ in ways_to_save_memory(toy))
    for way in (
        "gradient_checkpointing=true",
        "correspondence_weight=0",
        "batch_size=1",
        "bits=8",
        "unet=none",
        "bf16-mixed",
    ):
        assert way in words
    module = {**config["module"], "unet": "none", "gradient_checkpointing": True, "frozen_half": True}
    module |= {"optimization": {"bits": 8}, "correspondence_weight": 0.0}
    done = plan_training(changed(config, module=module, data={"batch_size": 1}, trainer={"precision": "16-mixed"}))
    assert ways_to_save_memory(done) == []


def test_adapters_take_little_besides_the_weights(config, toy):
    """What is trained is counted as peft's layers have it, on weights without content."""
    plan = plan_training(changed(config, module={"unet": "lora", "lora": {"rank": 2}}))
    assert plan.unet == "lora" and plan.trainable["unet"] < 0.25 * toy.trainable["unet"]
    assert plan.frozen["unet"] == toy.frozen["unet"] + toy.trainable["unet"]
    assert plan.optimizer < 0.1 * toy.optimizer
    assert "module.unet=lora" in [words for words, _ in ways_to_save_memory(toy)]
    assert "module.unet=lora" not in [words for words, _ in ways_to_save_memory(plan)]


# ---------------------------------------------------------------------------------------------------- as a person types


@pytest.mark.slow
def test_the_mini_experiment(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert main(["plan", "experiment=mini_cpu", "data.batch_size=1"]) == 0
    out = capsys.readouterr().out
    assert "1 x 4 frames" in out


def test_a_wrong_override_is_one_line_with_the_nearest_name(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)  # the configuration is the installed one
    for words, hint in (
        (["experiment=lvcd_320"], "did you mean experiment=lvcd_320p?"),
        (["lvcd_320p"], "write NAME=VALUE"),
        (["experiment=mini_cpu", "data.batch_size=abc"], "whole numbers"),
        (["experiment=mini_cpu", "--card", "abacus"], "--card abacus"),
    ):
        assert main(["plan", *words]) == 2
        error = capsys.readouterr().err
        assert hint in error and error.count("\n") == 1


@pytest.mark.slow
def test_full_size_has_the_published_parameters():
    """Files of stabilityai/stable-video-diffusion-img2vid in float16: U-Net 3.05 GB, VAE 196 MB, CLIP 1.26 GB."""
    with FakeTensorMode():
        module = build_module(
            {
                "_target_": "lvcd.training.ControlNetModule",
                "networks": {"_target_": "lvcd.training.networks_from_folder"},
            }
        )
    parts = module.networks
    sizes = [2 * sum(p.numel() for p in part.parameters()) for part in (parts.unet, parts.vae, parts.image_encoder)]
    assert sizes == pytest.approx([3.05e9, 196e6, 1.264e9], rel=0.003)
    assert not any(p.requires_grad for p in parts.unet.parameters())
