"""Files of adapters: what is written is read by peft, by diffusers' names and by ours; what is foreign is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import peft
import pytest
import safetensors.torch
import torch

from lvcd.checkpoints.adapters import COMFYUI_FILE, CONFIG_FILE, DIFFUSERS_FILE, WEIGHTS_FILE, read_adapter
from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training import FineTuneModule, networks_from_folder

TARGETS = ("self_attention", "all")


@pytest.fixture(scope="module")
def trained(model_folder, tmp_path_factory) -> dict[str, tuple[FineTuneModule, Path]]:
    """Targets -> a module whose adapters add something, and their folder."""
    made = {}
    for targets in TARGETS:
        module = FineTuneModule(
            networks_from_folder(model_folder), "lora", lora={"rank": 3, "alpha": 6, "targets": targets}
        )
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, p in module.named_parameters():
                if ".lora_B." in name:
                    p.copy_(0.05 * torch.randn(p.shape, generator=generator))
        folder = tmp_path_factory.mktemp("adapters") / targets
        module.export_adapter(folder, {"weights": "last", "step": 2})
        made[targets] = module.eval(), folder
    return made


@torch.no_grad()
def output(unet: torch.nn.Module) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x, token = (torch.randn(shape, generator=generator) for shape in ((1, 4, 8, 8, 8), (1, 1, 16)))
    return unet(x, torch.tensor([0.5]), token, torch.zeros(1, 3))


@pytest.mark.parametrize("targets", TARGETS)
def test_peft_reads_both_networks(trained, model_folder, targets):
    module, folder = trained[targets]
    base = load_pipeline(model_folder, "cpu")
    for name, at in (("unet", folder), ("controlnet", folder / "controlnet")):
        adapted = peft.PeftModel.from_pretrained(getattr(base, name), at)
        wanted = {k: v for k, v in getattr(module, name).state_dict().items() if ".lora_" in k}
        found = {k.removeprefix("base_model.model."): v for k, v in adapted.state_dict().items() if ".lora_" in k}
        assert found.keys() == wanted.keys() and all(torch.equal(found[k], wanted[k]) for k in wanted)
        if name == "unet":
            torch.testing.assert_close(output(adapted), output(module.unet), rtol=0, atol=1e-5)


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("file", [".", DIFFUSERS_FILE, COMFYUI_FILE])
def test_each_file_gives_the_trained_networks(trained, model_folder, targets, file):
    """ComfyUI's has the U-Net alone."""
    module, folder = trained[targets]
    pipeline = load_pipeline(model_folder, "cpu", adapters=[(folder / file, 1.0)])
    difference = (output(pipeline.unet) - output(load_pipeline(model_folder, "cpu").unet)).abs().max()
    assert difference > 0.01
    torch.testing.assert_close(output(pipeline.unet), output(module.unet), rtol=0, atol=1e-5)


def test_names_are_those_that_others_look_for(trained):
    """diffusers: `unet.` and its own names. ComfyUI: `lora_unet_` and the original's names of SVD, with underscores;
    for layers in time its table of diffusers' names has nothing."""
    _, folder = trained["self_attention"]
    diffusers = safetensors.torch.load_file(folder / DIFFUSERS_FILE)
    layer = "down_blocks.0.attentions.0.temporal_transformer_blocks.0.attn1.to_out.0"
    assert {f"unet.{layer}.lora_A.weight", f"unet.{layer}.lora_B.weight"} <= diffusers.keys()
    comfyui = safetensors.torch.load_file(folder / COMFYUI_FILE)
    name = "lora_unet_input_blocks_1_1_time_stack_0_attn1_to_out_0"
    torch.testing.assert_close(comfyui[f"{name}.lora_up.weight"], diffusers[f"unet.{layer}.lora_B.weight"])
    assert comfyui[f"{name}.alpha"] == 3 and all(n.startswith("lora_unet_") for n in comfyui)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weight_0_is_the_base_bit_for_bit(trained, model_folder, dtype):
    _, folder = trained["all"]
    base = load_pipeline(model_folder, "cpu", dtype)
    added = load_pipeline(model_folder, "cpu", dtype, adapters=[(folder, 0.0)])
    for name in ("unet", "controlnet"):
        plain = getattr(base, name).state_dict()
        assert all(torch.equal(x, plain[k]) for k, x in getattr(added, name).state_dict().items())


def test_several_add_up(trained, model_folder):
    """Half of an adapter and half of it again are the adapter."""
    module, folder = trained["self_attention"]
    pipeline = load_pipeline(model_folder, "cpu", adapters=[(folder, 0.5), (folder / DIFFUSERS_FILE, 0.5)])
    torch.testing.assert_close(output(pipeline.unet), output(module.unet), rtol=0, atol=1e-5)


def test_the_methods_of_diffusers_pipelines(trained, model_folder):
    module, folder = trained["all"]
    pipeline = load_pipeline(model_folder, "cpu")
    base = output(pipeline.unet)
    pipeline.load_lora_weights(folder)
    pipeline.load_lora_weights(trained["self_attention"][1], "other")
    assert pipeline.get_list_adapters()["unet"] == ["default_0", "other"]
    pipeline.set_adapters(["default_0", "other"], [0.0, 0.0])
    assert torch.equal(output(pipeline.unet), base)
    pipeline.set_adapters(["default_0"])
    torch.testing.assert_close(output(pipeline.unet), output(module.unet), rtol=0, atol=1e-5)
    pipeline.set_adapters(["default_0", "other"], [0.5, 0.7])
    both = load_pipeline(model_folder, "cpu", adapters=[(folder, 0.5), (trained["self_attention"][1], 0.7)])
    torch.testing.assert_close(output(pipeline.unet), output(both.unet), rtol=0, atol=1e-5)
    pipeline.fuse_lora(components=["unet", "controlnet"])
    torch.testing.assert_close(output(pipeline.unet), output(both.unet), rtol=0, atol=1e-5)
    pipeline.unfuse_lora(components=["unet", "controlnet"])
    pipeline.unload_lora_weights()
    torch.testing.assert_close(output(pipeline.unet), base, rtol=0, atol=1e-5)
    assert not any(".lora_" in name for name, _ in pipeline.unet.named_parameters())
    with pytest.raises(InputError, match="adapter_name"):
        pipeline.load_lora_weights(folder, "no name")


def test_an_adapter_of_another_base_is_refused(trained, tmp_path):
    from tests.helpers.toys import toy_pipeline

    other = toy_pipeline(seed=1)
    other.save_pretrained(tmp_path / "other")
    _, folder = trained["self_attention"]
    with pytest.raises(InputError, match="another model"):
        other.load_lora_weights(folder)
    for file in (".", DIFFUSERS_FILE, COMFYUI_FILE):
        with pytest.raises(InputError, match="another model"):
            load_pipeline(tmp_path / "other", "cpu", adapters=[(folder / file, 1.0)])


def torn(folder: Path) -> None:
    file = folder / WEIGHTS_FILE
    file.write_bytes(file.read_bytes()[:-100])


def flipped(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS_FILE).read_bytes())
    content[-50] ^= 255
    (folder / WEIGHTS_FILE).write_bytes(content)


def configured(**changes):
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG_FILE).read_text()) | changes
        (folder / CONFIG_FILE).write_text(json.dumps(config))

    return change


def pickled(folder: Path) -> None:
    torch.save({}, folder / "adapter_model.bin")
    (folder / WEIGHTS_FILE).unlink()
    (folder / DIFFUSERS_FILE).unlink()
    shutil.rmtree(folder / "controlnet")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (torn, "damaged"),
        (flipped, "damaged"),
        (lambda folder: (folder / CONFIG_FILE).unlink(), "cannot be read"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), "not JSON"),
        (configured(peft_type="IA3"), "plain LoRA"),
        (configured(use_dora=True), "plain LoRA"),
        (configured(lora_alpha="x"), "no number"),
        (configured(alpha_pattern={"(a+)+$": 1}), "names of layers"),
        (pickled, "neither"),
        (lambda folder: (folder / "custom.py").write_text("1"), "code"),
    ],
)
def test_a_damaged_or_foreign_folder_is_one_line(trained, tmp_path, damage, message):
    shutil.copytree(trained["self_attention"][1], tmp_path / "adapter")
    damage(tmp_path / "adapter")
    with pytest.raises(InputError, match=message) as caught:
        read_adapter(tmp_path / "adapter")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({}, "empty"),
        ({"unet.x.weight": torch.zeros(2, 2)}, "no part of a LoRA"),
        ({"unet.x.lora_A.weight": torch.zeros(2, 2)}, "lacks a part"),
        ({"unet.x.lora_A.weight": torch.zeros(2, 4), "unet.x.lora_B.weight": torch.zeros(4, 3)}, "lacks a part"),
        ({"unet.x.lora_A.weight": torch.full((2, 4), torch.nan), "unet.x.lora_B.weight": torch.zeros(4, 2)}, "numbers"),
        (
            {"text_encoder.x.lora_A.weight": torch.zeros(2, 4), "text_encoder.x.lora_B.weight": torch.zeros(4, 2)},
            "no U",
        ),
    ],
)
def test_a_foreign_file_is_one_line(tmp_path, tensors, message):
    safetensors.torch.save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match=message):
        read_adapter(tmp_path / "x.safetensors")


@pytest.mark.parametrize("name", ["unet.down_blocks.7.conv", "unet.conv_out", "lora_unet_input_blocks_99_0"])
def test_a_layer_that_the_model_lacks_is_one_line(tmp_path, model_folder, name):
    parts = {f"{name}.lora_A.weight": torch.zeros(2, 4), f"{name}.lora_B.weight": torch.zeros(4, 2)}
    safetensors.torch.save_file(parts, tmp_path / "x.safetensors")
    with pytest.raises(InputError, match="x.safetensors"):
        load_pipeline(model_folder, "cpu", adapters=[(tmp_path / "x.safetensors", 1.0)])


def test_an_adapter_that_peft_wrote_by_itself(model_folder, tmp_path):
    """Not a byte of it is ours: no base, no digests, other ranks and scales in some layers."""
    unet = load_pipeline(model_folder, "cpu").unet
    config = peft.LoraConfig(
        r=2, lora_alpha=5, target_modules=["to_q", "to_out.0"], rank_pattern={"to_q": 4}, alpha_pattern={"to_q": 1},
        init_lora_weights=False,
    )  # fmt: skip
    adapted = peft.get_peft_model(unet, config)
    wanted = output(adapted)
    adapted.save_pretrained(tmp_path / "peft")
    pipeline = load_pipeline(model_folder, "cpu", adapters=[(tmp_path / "peft", 1.0)])
    torch.testing.assert_close(output(pipeline.unet), wanted, rtol=0, atol=1e-4)
    pipeline = load_pipeline(model_folder, "cpu")
    pipeline.load_lora_weights(tmp_path / "peft")
    torch.testing.assert_close(output(pipeline.unet), wanted, rtol=0, atol=1e-4)
