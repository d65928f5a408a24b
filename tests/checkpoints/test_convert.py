"""The released checkpoints' form, rebuilt in small from the golden weights, there and back."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPVisionModelWithProjection

from lvcd.checkpoints import component, convert, loading
from lvcd.checkpoints import files as weight_files
from lvcd.checkpoints.component import Component
from lvcd.checkpoints.configs import clip_config, controlnet_config, unet_config, vae_config
from lvcd.checkpoints.convert import to_diffusers, to_original
from lvcd.checkpoints.files import open_checkpoint
from lvcd.errors import InputError
from lvcd.nn.condition import LatentEncoder, encode_mode
from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet

HEAD = 16  # channels of a head in the golden configuration
VISUAL = "conditioner.embedders.0.open_clip.model.visual."
WIDTH, HEADS, PATCH, GRID, CONTEXT = 160, 2, 14, 2, 32
DROPPED = {  # what SVD's file holds besides: all kinds that are listed as ignorable
    "conditioner.embedders.0.open_clip.model.text_projection": torch.zeros(4, 4),
    "conditioner.embedders.0.open_clip.model.ln_final.weight": torch.zeros(4),
    "conditioner.embedders.0.open_clip.model.logit_scale": torch.zeros(()),
    "conditioner.embedders.3.encoder.decoder.conv_in.bias": torch.zeros(4),
    "conditioner.embedders.3.encoder.post_quant_conv.weight": torch.zeros(4, 4, 1, 1),
    "model_ema.decay": torch.zeros(()),
    "denoiser.sigmas": torch.zeros(3),
}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """The same names, types and bits."""

    def bits(x: torch.Tensor) -> torch.Tensor:
        return x.detach().reshape(-1).view(torch.uint8)

    return a.keys() == b.keys() and all(a[k].dtype == b[k].dtype and torch.equal(bits(a[k]), bits(b[k])) for k in a)


def is_retrained(name: str) -> bool:
    return ".attn1." in name and name.startswith("model.")


@pytest.fixture(scope="session")
def svd(golden) -> dict[str, torch.Tensor]:
    """As svd.safetensors; other self-attentions than LVCD's."""
    torch.manual_seed(0)
    weights = {k: v.float() for k, v in load_file(golden / "weights.safetensors").items() if k.startswith("model.")}
    vae = load_file(golden / "vae.safetensors").items()
    weights |= {k: v.float() for k, v in vae if k.startswith(("first_stage_model.", "conditioner."))}
    weights |= {k: torch.randn_like(v) for k, v in weights.items() if is_retrained(k)}

    def clip(name: str, *shape: int) -> None:
        weights[VISUAL + name] = torch.randn(*shape) / 8

    clip("class_embedding", WIDTH)
    clip("positional_embedding", GRID**2 + 1, WIDTH)
    clip("proj", WIDTH, CONTEXT)
    clip("conv1.weight", WIDTH, 3, PATCH, PATCH)
    layers = [f"transformer.resblocks.{i}" for i in range(2)]
    for norm in ("ln_pre", "ln_post", *(f"{layer}.ln_{i}" for layer in layers for i in (1, 2))):
        clip(f"{norm}.weight", WIDTH)
        clip(f"{norm}.bias", WIDTH)
    for layer in layers:
        for name, rows, columns in (
            ("attn.in_proj_", 3 * WIDTH, WIDTH),
            ("attn.out_proj.", WIDTH, WIDTH),
            ("mlp.c_fc.", 2 * WIDTH, WIDTH),
            ("mlp.c_proj.", WIDTH, 2 * WIDTH),
        ):
            clip(f"{layer}.{name}weight", rows, columns)
            clip(f"{layer}.{name}bias", rows)
    return weights


@pytest.fixture(scope="session")
def lvcd(golden) -> dict[str, torch.Tensor]:
    weights = load_file(golden / "weights.safetensors").items()
    return {k: v.float() for k, v in weights if k.startswith("control_model.") or is_retrained(k)}


@pytest.fixture(scope="session")
def files(svd, lvcd, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("released")
    save_file(svd | DROPPED, folder / "svd.safetensors")
    torch.save({"state_dict": lvcd, "epoch": 3}, folder / "lvcd.ckpt")
    return folder / "svd.safetensors", folder / "lvcd.ckpt"


@pytest.fixture(scope="session")
def converted(files, tmp_path_factory) -> tuple[Path, convert.ConversionReport, list[str]]:
    out = tmp_path_factory.mktemp("converted") / "model"
    lines: list[str] = []
    report = to_diffusers(*files, out, head_channels=HEAD, report=lines.append)
    return out, report, lines


def convert_quietly(svd: Path, lvcd: Path, out: Path, **more) -> convert.ConversionReport:
    return to_diffusers(svd, lvcd, out, head_channels=HEAD, report=lambda _: None, **more)


def rewrite(source: Path, target: Path, **changes) -> Path:
    """Copy a checkpoint with tensors replaced, added, or (None) removed."""
    tensors = {k: v.read() for k, v in open_checkpoint(source)[0].items()} | changes
    tensors = {k: v for k, v in tensors.items() if v is not None}
    if target.suffix == ".safetensors":
        save_file(tensors, target)
    else:
        torch.save({"state_dict": tensors}, target)
    return target


def test_the_components_load(converted, svd, lvcd, golden):
    out, _, _ = converted
    parts = {
        "unet": ColorUNet.from_pretrained(out, subfolder="unet"),
        "controlnet": SketchControlNet.from_pretrained(out, subfolder="controlnet"),
        "vae": AutoencoderKLTemporalDecoder.from_pretrained(out, subfolder="vae"),
        "image_encoder": CLIPVisionModelWithProjection.from_pretrained(out / "image_encoder"),
        "condition_encoder": LatentEncoder.from_pretrained(out, subfolder="condition_encoder"),
    }
    index = json.loads((out / "model_index.json").read_text())
    assert index["_class_name"] == "LineartVideoPipeline"
    assert {k: v for k, v in index.items() if k[0] != "_"} == {
        k: [component.CLASSES[k][0], type(v).__name__] for k, v in parts.items()
    }
    for name, model in parts.items():
        written = {k: v.read() for k, v in open_checkpoint(next((out / name).glob("*.safetensors")))[0].items()}
        assert same(written, dict(model.state_dict())), name

    unet, control, clip = (parts[k].state_dict() for k in ("unet", "controlnet", "image_encoder"))
    wide = "model.diffusion_model.output_blocks.2.1.conv.weight"
    assert torch.equal(unet["up_blocks.0.upsamplers.0.conv.weight"], svd[wide])
    attn = "input_blocks.4.1.transformer_blocks.0.attn1.to_k.weight"
    assert torch.equal(
        unet["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.weight"],
        lvcd["model.diffusion_model." + attn],
    )
    assert torch.equal(
        control["down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_k.weight"], lvcd["control_model." + attn]
    )
    assert torch.equal(control["zero_convs.7.bias"], lvcd["control_model.zero_convs.7.0.bias"])
    fused = svd[VISUAL + "transformer.resblocks.1.attn.in_proj_bias"]
    for i, part in enumerate("qkv"):
        mine = clip[f"vision_model.encoder.layers.1.self_attn.{part}_proj.bias"]
        assert torch.equal(mine, fused[i * WIDTH : (i + 1) * WIDTH])
    config = json.loads((golden / "manifest.json").read_text())["config"]
    widths = [config["model_channels"] * m for m in config["channel_mult"]]
    assert list(parts["unet"].config.block_out_channels) == widths
    assert list(parts["controlnet"].config.num_attention_heads) == [w // HEAD for w in widths]


def test_the_vae_computes_what_the_original_did(converted, golden):
    """A mix-up of tensors of one shape shows in no comparison of weights, but here."""
    out, _, _ = converted
    recorded = load_file(golden / "vae.safetensors")
    vae = AutoencoderKLTemporalDecoder.from_pretrained(out, subfolder="vae")
    encoder = LatentEncoder.from_pretrained(out, subfolder="condition_encoder")
    with torch.no_grad():
        image, mode = recorded["image"], recorded["mode"]
        torch.testing.assert_close(vae.quant_conv(vae.encoder(image)), recorded["moments"], atol=1e-4, rtol=0)
        torch.testing.assert_close(encode_mode(encoder, image), recorded["embedder_mode"], atol=1e-4, rtol=0)
        assert torch.equal(vae.quant_conv.weight.flatten(1), torch.eye(2 * mode.shape[1]))
        latents = recorded["latents_5"] / vae.config.scaling_factor
        frames = vae.decode(latents, num_frames=len(latents)).sample
        torch.testing.assert_close(frames, recorded["decoded_5"], atol=1e-4, rtol=0)


def test_clip_computes_what_open_clip_does(converted, svd):
    """Against torch's own fused attention, fed with the original's tensors."""
    weights = {k.removeprefix(VISUAL): v for k, v in svd.items() if k.startswith(VISUAL)}

    def norm(x, name):
        return nn.functional.layer_norm(x, (WIDTH,), weights[name + ".weight"], weights[name + ".bias"])

    images = torch.randn(2, 3, GRID * PATCH, GRID * PATCH)
    x = nn.functional.conv2d(images, weights["conv1.weight"], stride=PATCH).flatten(2).transpose(1, 2)
    x = torch.cat([weights["class_embedding"].expand(2, 1, -1), x], dim=1) + weights["positional_embedding"]
    x = norm(x, "ln_pre")
    for i in range(2):
        layer = f"transformer.resblocks.{i}."
        attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        mine = {k.removeprefix(layer + "attn."): v for k, v in weights.items() if k.startswith(layer + "attn.")}
        attention.load_state_dict(mine)
        y = norm(x, layer + "ln_1")
        x = x + attention(y, y, y, need_weights=False)[0]
        y = norm(x, layer + "ln_2") @ weights[layer + "mlp.c_fc.weight"].T + weights[layer + "mlp.c_fc.bias"]
        y = nn.functional.gelu(y)
        x = x + y @ weights[layer + "mlp.c_proj.weight"].T + weights[layer + "mlp.c_proj.bias"]
    expected = norm(x[:, 0], "ln_post") @ weights["proj"]
    clip = CLIPVisionModelWithProjection.from_pretrained(converted[0] / "image_encoder")
    with torch.no_grad():
        torch.testing.assert_close(clip(images).image_embeds, expected.detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_back_to_the_original_and_on(converted, svd, lvcd, tmp_path, suffix):
    back = tmp_path / "svd.safetensors", tmp_path / f"lvcd{suffix}"
    to_original(converted[0], *back, report=lambda _: None)
    overwritten = {k: v for k, v in lvcd.items() if k.startswith("model.")}
    assert same({k: v.read() for k, v in open_checkpoint(back[0])[0].items()}, svd | overwritten)
    assert same({k: v.read() for k, v in open_checkpoint(back[1])[0].items()}, lvcd)
    if suffix == ".ckpt":
        assert torch.load(back[1], weights_only=True).keys() == {"state_dict"}
    assert sorted(tmp_path.iterdir()) == sorted(back)
    convert_quietly(*back, tmp_path / "again")
    for file in sorted(converted[0].rglob("*.*")):
        assert file.read_bytes() == (tmp_path / "again" / file.relative_to(converted[0])).read_bytes(), file


def test_all_that_is_not_used_is_listed(converted, files, lvcd):
    _, report, lines = converted
    replaced = {k for k in lvcd if k.startswith("model.")}
    assert len(replaced) == 160  # 6 input blocks, the middle, 9 output blocks; space and time; 5 tensors each
    assert report.ignored[str(files[0])].keys() == DROPPED.keys() | replaced
    assert report.ignored[str(files[1])] == {"epoch": loading.TRAINING_ONLY}
    assert any("160" in line and "replaced" in line for line in lines)
    assert any("text tower" in line for line in lines)


FAULTS = {  # which file, what is changed in it (None = removed), what the message says
    "svd": (
        0,
        {
            "model.diffusion_model.out.0.bias": None,
            "model.diffusion_model.surprise": torch.zeros(1),
            VISUAL + "surprise": torch.zeros(1),
            "first_stage_model.decoder.conv_in.bias": torch.zeros(3),
        },
        [
            "missing: model.diffusion_model.out.0.bias;",
            f"unexpected: {VISUAL}surprise, model.diffusion_model.surprise;",
            "misshaped: first_stage_model.decoder.conv_in.bias has shape (3,), expected (64,)",
        ],
    ),
    "lvcd": (
        1,
        {
            "control_model.zero_convs.3.0.bias": None,
            "model.diffusion_model.output_blocks.11.1.time_stack.0.attn1.to_q.weight": None,
            "model.diffusion_model.out.0.bias": torch.zeros(32),
            "control_model.middle_block_out.0.bias": torch.zeros(9),
            "control_model.zero_convs.0.0.bias": torch.zeros(32).int(),
        },
        [
            "missing: control_model.zero_convs.3.0.bias, "
            "model.diffusion_model.output_blocks.11.1.time_stack.0.attn1.to_q.weight;",
            "unexpected: model.diffusion_model.out.0.bias;",
            "misshaped: control_model.middle_block_out.0.bias has shape (9,), expected (64,);",
            "not floating point: control_model.zero_convs.0.0.bias",
        ],
    ),
    # which the sizes are read off
    "first": (0, {VISUAL + "conv1.weight": None}, ["missing", VISUAL + "conv1.weight"]),
    "middle": (0, {"model.diffusion_model.input_blocks.7.0.in_layers.2.weight": None}, ["missing", "input_blocks.7"]),
    "flat": (0, {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(8)}, ["input_blocks.0.0", "(8,)"]),
    "stem": (1, {"control_model.input_hint_block.0.weight": None}, ["missing", "input_hint_block.0.weight"]),
}


@pytest.mark.parametrize(("which", "changes", "words"), FAULTS.values(), ids=FAULTS)
def test_a_faulty_tensor_is_named(files, tmp_path, which, changes, words):
    given = list(files)
    given[which] = rewrite(files[which], tmp_path / f"bad{files[which].suffix}", **changes)
    fails_cleanly(*given, tmp_path, [*words, "bad."])


def fails_cleanly(svd: Path, lvcd: Path, tmp_path: Path, words: list[str], **more) -> None:
    """One line with these words, and nothing written."""
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as error:
        to_diffusers(svd, lvcd, tmp_path / "out", **{"head_channels": HEAD, "report": print} | more)
    message = str(error.value)
    assert all(word in message for word in words), message
    assert "\n" not in message and len(message) < 600
    assert sorted(tmp_path.rglob("*")) == before


def test_many_missing_tensors_are_counted(files, svd, tmp_path):
    bad = rewrite(files[0], tmp_path / "bad.safetensors", **{k: None for k in svd if ".output_blocks.5." in k})
    number = sum(".output_blocks.5." in k for k in svd)
    fails_cleanly(bad, files[1], tmp_path, ["missing", f"({number} in all)"])


class Malice:
    def __reduce__(self):
        return os.system, ("touch was_run",)


def test_code_in_a_checkpoint_is_not_run(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"control_model.x": Malice()}}, tmp_path / "bad.ckpt")
    fails_cleanly(files[0], tmp_path / "bad.ckpt", tmp_path, ["bad.ckpt", "code"])


@pytest.mark.parametrize("which", [0, 1], ids=["svd", "lvcd"])
@pytest.mark.parametrize("size", [0, 100, -100], ids=["empty", "header cut", "end cut"])
def test_a_truncated_file(files, tmp_path, which, size):
    given = list(files)
    given[which] = tmp_path / f"bad{files[which].suffix}"
    given[which].write_bytes(files[which].read_bytes()[:size])
    fails_cleanly(*given, tmp_path, ["bad."])


def test_other_bad_input(files, svd, tmp_path):
    fails_cleanly(tmp_path / "none.safetensors", files[1], tmp_path, ["none.safetensors: no such file"])
    fails_cleanly(*files, tmp_path, ["--head-channels"], head_channels=24)
    torch.save(torch.zeros(3), tmp_path / "bad.ckpt")
    fails_cleanly(files[0], tmp_path / "bad.ckpt", tmp_path, ["no state dict"])
    torch.save({"state_dict": {"a": 1}}, tmp_path / "bad.ckpt")
    fails_cleanly(files[0], tmp_path / "bad.ckpt", tmp_path, ["not only tensors"])
    (tmp_path / "notes.ckpt").write_text("what is this")
    fails_cleanly(files[0], tmp_path / "notes.ckpt", tmp_path, ["notes.ckpt"])
    fails_cleanly(files[1], files[0], tmp_path, ["lvcd.ckpt"])  # swapped
    (tmp_path / "empty").mkdir()
    fails_cleanly(tmp_path / "empty", files[1], tmp_path, ["config.json"])


def test_the_output_must_be_free_and_writable(files, converted, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("x")
    fails_cleanly(*files, tmp_path, ["out", "not an empty folder"])
    (tmp_path / "out" / "precious").unlink()
    convert_quietly(*files, tmp_path / "out")  # an empty folder is filled
    with pytest.raises(InputError, match="cannot write"):
        convert_quietly(*files, tmp_path / "out" / "model_index.json" / "below")
    taken = tmp_path / "svd.safetensors"
    taken.write_text("x")
    for pair in ((taken, tmp_path / "lvcd.ckpt"), (tmp_path / "new.safetensors", taken)):
        with pytest.raises(InputError, match="exists"):
            to_original(converted[0], *pair, report=print)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "svd.safetensors"]


@pytest.mark.slow
def test_what_was_begun_is_removed(files, converted, tmp_path, monkeypatch):
    write, error = convert.write_safetensors, OSError(28, "No space left on device")

    def fail_midway(tensors, path):
        write(tensors, path)
        if "vae" in str(path) or "svd" in path.name:
            raise error

    for module in (weight_files, convert):
        monkeypatch.setattr(module, "write_safetensors", fail_midway)
    with pytest.raises(InputError, match="cannot write .*out .No space left"):
        convert_quietly(*files, tmp_path / "out")
    with pytest.raises(InputError, match="cannot write .*svd.safetensors .No space left"):
        to_original(converted[0], tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt", report=print)
    error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        convert_quietly(*files, tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_shards(files, converted, svd, lvcd, tmp_path):
    out = tmp_path / "model"
    convert_quietly(*files, out, max_shard_bytes=400_000)
    assert len(list((out / "unet").glob("*.safetensors"))) > 3
    for part in ("unet", "image_encoder"):
        kind = component.CLASSES[part][1]
        many, one = kind.from_pretrained(out / part), kind.from_pretrained(converted[0] / part)
        assert same(dict(many.state_dict()), dict(one.state_dict()))
    to_original(out, tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt", report=lambda _: None)
    assert same(load_file(tmp_path / "svd.safetensors"), svd | {k: v for k, v in lvcd.items() if is_retrained(k)})
    next((out / "unet").glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match="missing"):
        to_original(out, tmp_path / "c.safetensors", tmp_path / "c.ckpt", report=print)


def test_back_from_a_faulty_folder(converted, tmp_path):
    back = tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt"

    def fails(*words: str) -> None:
        with pytest.raises(InputError) as error:
            to_original(tmp_path / "model", *back, report=print)
        assert all(word in str(error.value) for word in words), str(error.value)
        assert [p.name for p in tmp_path.iterdir()] in ([], ["model"])

    fails("not a model folder")
    shutil.copytree(converted[0], tmp_path / "model", copy_function=os.symlink)
    weights = tmp_path / "model" / "controlnet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    weights.unlink()
    fails("controlnet", "no weights")
    save_file(tensors | {"zero_mid.bias": torch.zeros(7), "surprise": torch.zeros(1)}, weights)
    fails("unexpected: surprise", "misshaped: zero_mid.bias has shape (7,)")
    (tmp_path / "model" / "unet" / "config.json").unlink()
    (tmp_path / "model" / "unet" / "config.json").write_text("{")
    fails("config.json: not JSON")


def test_a_full_disk_while_torch_writes(converted, tmp_path, monkeypatch):
    def full(*_):
        raise RuntimeError("[enforce fail at inline_container.cc:671] . unexpected pos 64 vs 0\nframes follow")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(InputError, match="cannot write .*lvcd.ckpt .* vs 0\\): "):
        to_original(converted[0], tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt", report=print)
    assert not list(tmp_path.iterdir())


def test_the_file_is_what_safetensors_writes(tmp_path):
    tensors = {"b": torch.randn(3, 2).t(), "a": torch.randn(5).half(), "c": torch.tensor(2.0), "d": torch.zeros(0, 4)}
    convert.write_safetensors({k: weight_files.in_memory(v) for k, v in tensors.items()}, tmp_path / "x.safetensors")
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == tensors.keys() and all(torch.equal(read[k], v) for k, v in tensors.items())


def test_types_are_kept_or_made(files, tmp_path):
    half = {k: v.half() for k, v in ((k, v.read()) for k, v in open_checkpoint(files[1])[0].items())}
    save_file(half, tmp_path / "lvcd.safetensors")
    convert_quietly(files[0], tmp_path / "lvcd.safetensors", tmp_path / "kept")
    kept = load_file(tmp_path / "kept" / "controlnet" / "diffusion_pytorch_model.safetensors")
    assert {v.dtype for v in kept.values()} == {torch.float16}
    convert_quietly(*files, tmp_path / "made", dtype=torch.bfloat16)
    for name in component.CLASSES:
        (file,) = (tmp_path / "made" / name).glob("*.safetensors")
        assert {v.dtype for v in load_file(file).values()} == {torch.bfloat16}
    clip = CLIPVisionModelWithProjection.from_pretrained(tmp_path / "made" / "image_encoder")
    assert clip.dtype == torch.bfloat16  # transformers takes the type from config.json


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "shard"), [(None, "10GB"), ("fp16", "2MB")])
def test_svd_as_a_folder(files, converted, lvcd, tmp_path, variant, shard):
    """As diffusers saves it: its U-Net class, a VAE with a true quant_conv, no encoder of the condition's own."""
    source = tmp_path / "svd"
    torch.manual_seed(1)
    unet = UNetSpatioTemporalConditionModel.from_pretrained(converted[0] / "unet")
    vae = AutoencoderKLTemporalDecoder.from_pretrained(converted[0] / "vae")
    nn.init.normal_(vae.quant_conv.weight)
    nn.init.normal_(vae.quant_conv.bias)
    clip = CLIPVisionModelWithProjection.from_pretrained(converted[0] / "image_encoder")
    for name, model in (("unet", unet), ("vae", vae), ("image_encoder", clip)):
        model = model.half() if variant else model
        model.save_pretrained(source / name, variant=variant, max_shard_size=shard)
    vae.float()

    report = to_diffusers(source, files[1], tmp_path / "model", report=lambda _: None)  # heads as in config.json
    index = json.loads((tmp_path / "model" / "model_index.json").read_text())
    assert index["condition_encoder"] == [None, None] and not (tmp_path / "model" / "condition_encoder").exists()
    made = ColorUNet.from_pretrained(tmp_path / "model" / "unet")
    truth = ColorUNet.from_pretrained(converted[0] / "unet").state_dict()
    rounded = {k: v if ".attn1." in k or not variant else v.half().float() for k, v in truth.items()}
    assert same(dict(made.state_dict()), rounded)
    assert made.config.num_attention_heads == [2, 4, 4, 4]
    copy = AutoencoderKLTemporalDecoder.from_pretrained(tmp_path / "model" / "vae")
    assert same(dict(copy.state_dict()), dict(vae.state_dict()))
    assert len(report.ignored[str(source)]) == 160

    if variant:
        return
    # back: quant_conv goes into the first stage's last convolution, and both encoders give the VAE's posterior
    to_original(tmp_path / "model", tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt", report=lambda _: None)
    convert_quietly(tmp_path / "svd.safetensors", tmp_path / "lvcd.ckpt", tmp_path / "again")
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        expected = encode_mode(vae, images)
        for kind, name in ((LatentEncoder, "condition_encoder"), (AutoencoderKLTemporalDecoder, "vae")):
            again = kind.from_pretrained(tmp_path / "again" / name)
            torch.testing.assert_close(encode_mode(again, images), expected, atol=1e-4, rtol=1e-4)


def test_names_at_full_size(tmp_path):
    """SVD's own sizes, without weights: every tensor has its place, and the sizes come back from the shapes."""
    where = tmp_path
    unet = Component.from_config("unet", {"num_attention_heads": [5, 10, 20, 20], "num_frames": 14}, where)
    control = Component.from_config("controlnet", {}, where)
    layers = {"layers_per_block": 2, "block_out_channels": [128, 256, 512, 512]}
    vae = Component.from_config("vae", {**layers, "down_block_types": ["DownEncoderBlock2D"] * 4}, where)
    encoder = Component.from_config("condition_encoder", layers, where)
    sizes = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    clip = Component.from_config("image_encoder", {**sizes, "patch_size": 14, "projection_dim": 1024}, where)
    tensors = {k: v for part in (unet, control, vae, encoder, clip) for k, v in part.expected_original.items()}
    found = unet_config(tensors, where, 64)
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in unet.model.config.items()}
    assert found == {k: plain[k] for k in found}
    assert controlnet_config(tensors, where, found)["stem_widths"] == [16, 32, 96, 256]
    assert vae_config(tensors, where)["block_out_channels"] == layers["block_out_channels"]
    assert clip_config(tensors, where)["num_attention_heads"] == 16
    assert clip_config(tensors, where)["image_size"] == 224
    assert sum(".attn1." in k for k in unet.names) == 160
