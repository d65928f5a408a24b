"""Compare lvcd with recordings of the original implementation: `python tools/parity.py DIR`.

DIR holds what a recording holds: manifest.json with the configuration and the list of tensors, and safetensors files
with weights (sgm names), inputs and outputs. One line a tensor: its name, the largest absolute difference, the
tolerance, ok or MISS. Exit code 1 on any MISS, 2 if the folder cannot be used.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are small: more threads wait for each other by spinning
import torch
from diffusers.models.attention_processor import Attention
from diffusers.models.resnet import SpatioTemporalResBlock
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from safetensors.torch import load_file
from torch import Tensor, nn

from lvcd.checkpoints import files as checkpoint
from lvcd.checkpoints import names
from lvcd.checkpoints.component import PREFIXES, Component
from lvcd.checkpoints.configs import controlnet_config, latent_encoder_config, unet_config, vae_config
from lvcd.diffusion.loss import denoising_loss
from lvcd.diffusion.precondition import precondition
from lvcd.frames import FrameLayout
from lvcd.nn.attention import IsolatedTemporalAttnProcessor, LayoutContext, ReferenceAttnProcessor
from lvcd.nn.condition import Condition, added_time_ids, encode_mode
from lvcd.nn.conv import IsolatedConv3d
from lvcd.nn.encoder import install_layout
from lvcd.nn.network import conditioned_network
from lvcd.sampling.config import SamplingConfig
from lvcd.sampling.decode import ChunkDecoder
from lvcd.sampling.segments import plan_segments
from lvcd.sampling.sequential import sample_segments

SCALE = 0.18215
Line = tuple[str, float, float]
"""name, largest absolute difference, tolerance"""


class Recording:
    """A folder of weights, inputs and outputs of the original, and what its manifest says of them.

    OSError: a file of the manifest is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.config = self.manifest["config"]
        missing = [name for name in self.manifest["files"] if not (folder / name).is_file()]
        if missing:
            raise OSError(f"{missing[0]} is missing")

    def has(self, file: str) -> bool:
        """Say whether the recording has this file, named without its ending."""
        return f"{file}.safetensors" in self.manifest["files"]

    def run(self, file: str) -> dict:
        """Return the settings of the run that made the file."""
        return self.manifest["files"][f"{file}.safetensors"]["run"]

    def load(self, file: str) -> dict[str, Tensor]:
        """Return the tensors of the file, in float32 where they are floating-point."""
        tensors = load_file(self.folder / f"{file}.safetensors")
        eight_bit = (torch.float8_e4m3fn,)  # how weights are stored, exactly; the outputs were computed in float32
        return {k: v.float() if v.dtype in eight_bit else v for k, v in tensors.items()}

    def networks(self, *names: str) -> list[Any]:
        """Return these components with the recorded weights, through the same tables as `lvcd convert`."""
        weights: dict[str, checkpoint.LazyTensor] = {}
        for file in ("weights", "vae"):
            if self.has(file):
                weights |= {k: checkpoint.in_memory(v) for k, v in self.load(file).items()}
        source = self.folder / "weights"
        configs: dict[str, Callable[[], dict]] = {
            "unet": lambda: unet_config(weights, source, self.config["num_head_channels"]),
            "controlnet": lambda: controlnet_config(weights, source, configs["unet"]()),
            "vae": lambda: vae_config(weights, source),
            "condition_encoder": lambda: latent_encoder_config(weights, source, PREFIXES["condition_encoder"]),
        }
        nets = []
        for name in names:
            component = Component.from_config(name, configs[name](), source)
            state = {k: v.read() for k, v in component.to_ours(weights).items()}
            if name == "vae":
                state["quant_conv.weight"] = torch.eye(2 * component.model.config.latent_channels)[:, :, None, None]
                state["quant_conv.bias"] = torch.zeros(2 * component.model.config.latent_channels)
            component.model.load_state_dict(state, strict=True, assign=True)
            if name in ("unet", "controlnet"):
                component.model.requires_grad_(True)
            nets.append(component.model.eval())
        return nets


def max_difference(got: Tensor, want: Tensor) -> float:
    """Return the largest absolute difference, computed in float64."""
    assert got.shape == want.shape, f"{tuple(got.shape)} instead of {tuple(want.shape)}"
    return (got.detach().double() - want.double()).abs().max().item()


def largest(want: Tensor) -> float:
    """Return the largest absolute value."""
    return want.double().abs().max().item()


# --- layers in isolation ----------------------------------------------------------------------------------------------


def attention(recording: Recording) -> Iterator[Line]:
    """Compare the attention, convolution, residual and transformer layers, each alone."""
    d = recording.load("attention")
    heads = recording.config["num_head_channels"]
    window = recording.config.get("num_video_frames", 14)

    def part(layer: str) -> dict[str, Tensor]:
        return {k.removeprefix(f"{layer}.w."): v for k, v in d.items() if k.startswith(f"{layer}.w.")}

    context = LayoutContext()

    def self_attention(layer: str) -> Attention:
        w = part(layer)
        inner, width = w["to_q.weight"].shape
        # The recording does not say how wide this layer's heads are where it is not the networks' width.
        size = recording.manifest["files"]["attention.safetensors"].get("dim_head", heads)
        attn = Attention(width, heads=inner // size, dim_head=size)
        attn.load_state_dict(w)
        return attn

    ref = self_attention("ref")
    normal = FrameLayout.referenced(window, 5)
    prev = FrameLayout.prev_referenced(window, 4)
    late = prev.with_sources(normal)
    for name, layout, layer in (
        ("b1", FrameLayout.referenced(window), 0),
        ("b2", FrameLayout.referenced(window), 0),
        ("19_normal", normal, 0),
        ("19_prevref_biased", prev, 12),
        ("19_prevref_unbiased", prev, 13),
        ("19_prevref_late_biased", late, 0),
        ("19_prevref_late_unbiased", late, 15),
    ):
        if f"ref.y_{name}" in d:
            context.layout = layout
            got = ReferenceAttnProcessor(context, layer)(ref, d[f"ref.x_{name.split('_')[0]}"])
            yield f"ref.y_{name}", max_difference(got, d[f"ref.y_{name}"]), 1e-4

    temp = self_attention("temp")
    kernel = part("conv")
    plain = nn.Conv3d(kernel["weight"].shape[1], kernel["weight"].shape[0], (3, 1, 1), padding=(1, 0, 0))
    conv = IsolatedConv3d(plain, context)
    conv.load_state_dict(kernel)
    for t in (14, 15, 19):
        context.layout = FrameLayout.referenced(window, t - window) if t > window else FrameLayout.plain(t)
        yield (
            f"temp.y_{t}",
            max_difference(IsolatedTemporalAttnProcessor(context)(temp, d[f"temp.x_{t}"]), d[f"temp.y_{t}"]),
            1e-4,
        )
        yield f"conv.y_{t}", max_difference(conv(d[f"conv.x_{t}"]), d[f"conv.y_{t}"]), 1e-4

    if any(k.startswith("resblock.y") for k in d):
        w = part("resblock")
        block = SpatioTemporalResBlock(
            w["in_layers.0.weight"].shape[0], w["out_layers.0.weight"].shape[0], w["emb_layers.1.weight"].shape[1], 1e-5
        )
        table = {"time_mixer.mix_factor": "time_mixer.mix_factor", **names.UNET_RESNET}
        install_layout(block, context)
        block.load_state_dict(_renamed(block, table, w))
        for t in (15, 19):
            context.layout = FrameLayout.referenced(window, t - window)
            got = block(d[f"resblock.x_{t}"], d[f"resblock.emb_{t}"], torch.zeros(1, t))
            yield f"resblock.y_{t}", max_difference(got, d[f"resblock.y_{t}"]), 1e-4

    w = part("transformer")
    width = w["norm.weight"].shape[0]
    size = recording.manifest["files"]["attention.safetensors"].get("dim_head", heads)
    net = TransformerSpatioTemporalModel(
        width // size, size, width, cross_attention_dim=w["transformer_blocks.0.attn2.to_k.weight"].shape[1]
    )
    install_layout(net, context)
    net.load_state_dict(_renamed(net, names.UNET_ATTENTION, w))
    for name, t, b in (("15_b1", 15, 1), ("15_b2", 15, 2), ("19_b1", 19, 1)):
        # Recorded without hooks: all frames read the clip's frame 0, the leading ones too.
        refs = t - window
        context.layout = FrameLayout(refs, (tuple(range(t)), (0,) * t))
        got = net(d[f"transformer.x_{name}"], d[f"transformer.ctx_{name}"], torch.zeros(b, t), return_dict=False)[0]
        yield f"transformer.y_{name}", max_difference(got, d[f"transformer.y_{name}"]), 1e-4


def _renamed(module: nn.Module, table: dict, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    state = {}
    for ours in module.state_dict():
        prefix = next(p for p in names.prefixes(ours) if p in table)
        other = table[prefix]
        state[ours] = theirs[(other if isinstance(other, str) else other.name) + ours[len(prefix) :]]
    return state


# --- the training forward ---------------------------------------------------------------------------------------------


def train_forward(recording: Recording) -> Iterator[Line]:
    """Compare one forward and backward pass of training: network outputs, loss, gradients."""
    d = recording.load("train_forward")
    c = recording.config
    unet, controlnet = recording.networks("unet", "controlnet")
    ids = added_time_ids(1, None, c["fps_id"], c["motion_bucket_id"], c["cond_aug"])
    for batch, clips in (("b1", 1), ("b2", 2)):

        def get(name: str, batch=batch, clips=clips) -> Tensor:
            return d[f"{batch}.{name}"].unflatten(0, (clips, -1))

        if f"{batch}.latents" not in d:
            continue
        x0, noise, sigma = get("latents"), get("noise"), d[f"{batch}.sigma"]
        layout = FrameLayout.referenced(x0.shape[1] - 1)
        condition = Condition(get("context")[:, 0], get("concat"), ids.repeat(clips, 1))
        vector = unet.add_time_proj(condition.added_time_ids.flatten()).view(clips, 1, -1).expand(-1, x0.shape[1], -1)
        yield f"{batch}.vector", max_difference(vector.flatten(0, 1), d[f"{batch}.vector"]), 1e-5

        sketches = get("sketch_u8").float() / 255
        raw: dict[str, Tensor] = {}
        outputs: list[Tensor] = []

        def spy(module, args, out, outputs=outputs):
            outputs.extend(out)

        handle = controlnet.register_forward_hook(spy)
        bound = conditioned_network(unet, controlnet, condition, sketches)

        def net(x: Tensor, c_noise: Tensor, bound=bound, layout=layout, raw=raw) -> Tensor:
            raw["c_noise"], raw["F"] = c_noise, bound(x, c_noise, layout)
            return raw["F"]

        def denoise(x: Tensor, sigma: Tensor, net=net, raw=raw) -> Tensor:
            raw["denoised"] = precondition(net)(x, sigma)
            return raw["denoised"]

        loss = denoising_loss(denoise, x0, sigma, noise)
        handle.remove()
        for k, out in enumerate(outputs):
            name = f"{batch}.control_{k:02d}"
            if name in d:
                yield name, max_difference(out[c["ctrl_frames"]], d[name]), max(3e-4, 1e-5 * largest(d[name]))
        if f"{batch}.unet_out_nocontrol" in d:
            s = sigma.view(-1, 1, 1, 1, 1)
            joined = torch.cat([(x0 + s * noise) / (s**2 + 1) ** 0.5, condition.latent], dim=2)
            got = unet(joined, raw["c_noise"], condition.token, condition.added_time_ids, layout).flatten(0, 1)
            yield f"{batch}.unet_out_nocontrol", max_difference(got, d[f"{batch}.unet_out_nocontrol"]), 1e-4
        each_frame = raw["c_noise"][:, None].expand(-1, x0.shape[1]).flatten()
        yield f"{batch}.c_noise", max_difference(each_frame, d[f"{batch}.c_noise"]), 1e-6
        yield f"{batch}.unet_out", max_difference(raw["F"].flatten(0, 1), d[f"{batch}.unet_out"]), 1e-4
        yield f"{batch}.denoised", max_difference(raw["denoised"].flatten(0, 1), d[f"{batch}.denoised"]), 1e-4
        yield f"{batch}.loss_per_frame", max_difference(loss.flatten(), d[f"{batch}.loss_per_frame"]), 1e-5
        yield f"{batch}.loss", max_difference(loss.mean()[None], d[f"{batch}.loss"]), 1e-5

        recorded = {k.removeprefix(f"{batch}.grad."): v for k, v in d.items() if k.startswith(f"{batch}.grad.")}
        if recorded:
            yield from _gradients(batch, loss.mean(), unet, controlnet, recorded, d)


def _gradients(batch, loss, unet, controlnet, recorded, d) -> Iterator[Line]:
    loss.backward()
    theirs: dict[str, Tensor] = {}
    for name, net in (("unet", unet), ("controlnet", controlnet)):
        component = Component.from_config(name, dict(net.config), Path("the recording"))
        # None: a query or key of cross-attention to one token, which changes nothing; the original has zeros there.
        theirs |= {component.names[k].name: p.grad for k, p in net.named_parameters() if p.grad is not None}
    for name, want in recorded.items():
        yield f"{batch}.grad.{name}", max_difference(theirs[name], want), 1e-3 * largest(want)
    attn1 = [g for k, g in theirs.items() if k.startswith("model.") and ".attn1." in k]
    branch = [g for k, g in theirs.items() if k.startswith("control_model.")]
    for name, grads in (("total", attn1 + branch), ("unet", attn1)):
        want = d[f"{batch}.grad_norm_{name}"]
        norm = torch.stack([g.double().square().sum() for g in grads]).sum().sqrt()[None]
        yield f"{batch}.grad_norm_{name}", max_difference(norm, want), 1e-3 * largest(want)
    for net in (unet, controlnet):
        net.zero_grad(set_to_none=True)


# --- sampling ---------------------------------------------------------------------------------------------------------


@torch.no_grad()
def sample(recording: Recording, file: str) -> Iterator[Line]:
    """Compare a sampled clip: noise levels, noise, estimates and latents of each step of each segment."""
    d, run = recording.load(file), recording.run(file)
    c = recording.config
    unet, controlnet = recording.networks("unet", "controlnet")
    hints = (recording.load("sketches")["sketch_u8"].float() / 255)[None]
    overlap, window = run["overlap"], run["num_frames"] - 1 - run["overlap"]
    config = SamplingConfig(
        steps=run["num_steps"],
        window=window,
        overlap=overlap,
        blend_steps=run["blend_steps"],
        prev_reference_steps=run["prev_attn_steps"],
    ).complete()
    sigmas = config.noise_levels
    yield f"{file}.sigmas", ((sigmas - d["sigmas"]).abs() / d["sigmas"].clamp(min=1e-9)).max().item(), 1e-6
    token, ids = d["context"], added_time_ids(1, None, c["fps_id"], c["motion_bucket_id"], c["cond_aug"])
    vector = unet.add_time_proj(ids.flatten()).view(1, -1).expand(run["num_frames"], -1)
    yield f"{file}.vector", max_difference(vector, d["vector"]), 1e-5
    torch.manual_seed(run["seed"])
    yield f"{file}.x_T", max_difference(torch.randn(d["x_T"].shape), d["x_T"]), 0.0

    seen: dict[str, list] = {"frames": [], "concat": [], "denoised": [], "xt": []}

    def prepare(frames, concat):
        clip_frames = [0 if f < 0 else f + 1 for f in frames]  # the reference is the colored frame 0
        seen["frames"].append(clip_frames)
        seen["concat"].append(concat)
        net = conditioned_network(
            unet, controlnet, Condition(token, concat, ids), hints[:, clip_frames], embed_once=True
        )

        def denoise(x, sigma, layout):
            seen["xt"].append(x)
            return precondition(lambda z, c_noise: net(z, c_noise, layout))(x, sigma)

        return denoise

    def watch(step, denoised):
        seen["denoised"].append(denoised)
        return denoised

    mode, sampled = d["cond_latent_mode"], d["cond_latent_sampled"]
    # The original drops the tail that does not fill a window; ours would paint it in one more segment.
    segments = plan_segments(run["n_frames_out"] - 1, window, overlap)
    latents, n = [sampled[:, None] * SCALE], run["num_steps"]
    noise = d["x_T"][None]
    for i, (_, new, carry) in enumerate(
        sample_segments(
            prepare,
            segments,
            noise,
            mode[:, None],
            SCALE,
            config,
            later_references=sampled[:, None],
            on_denoised=watch,
        )
    ):
        latents.append(new)
        if f"x_T_seg{i}" in d:
            yield f"{file}.x_T_seg{i}", max_difference(carry.noise[0], d[f"x_T_seg{i}"]), 0.0
        if f"concat_seg{i}" in d:
            yield f"{file}.concat_seg{i}", max_difference(seen["concat"][i][0], d[f"concat_seg{i}"]), 1e-3
        for k in range(n):
            for name in ("denoised", "xt"):
                want = d.get(f"{name}_seg{i}_step{k}")
                if want is not None:
                    tolerance = 1e-5 * largest(want) if largest(want) > 100 else 2e-4
                    yield f"{file}.{name}_seg{i}_step{k}", max_difference(seen[name][i * n + k][0], want), tolerance
        yield (
            f"{file}.x0_segments[{i}]",
            max_difference(_final_latents(config, carry, seen, i, n), d["x0_segments"][i]),
            2e-4,
        )
    got = torch.tensor(seen["frames"])
    yield f"{file}.frame_indices", max_difference(got, d["frame_indices"]), 0.0
    whole = torch.cat(latents, dim=1)[0]
    yield f"{file}.latents", max_difference(whole, d["latents"]), 2e-4


def _final_latents(config: SamplingConfig, carry, seen, i: int, n: int) -> Tensor:
    """Return a segment's final latents: its last step goes to sigma 0, so they are that step's blended estimate."""
    final = seen["denoised"][i * n + n - 1][0].clone()
    o = config.overlap
    if i and (config.blend_steps is None or config.blend_steps >= n):
        final[1 + o : 1 + 2 * o] = seen["last"]
    seen["last"] = carry.latents[0]
    return final


# --- the autoencoder --------------------------------------------------------------------------------------------------


@torch.no_grad()
def vae(recording: Recording) -> Iterator[Line]:
    """Compare the autoencoder: moments and mode of an image, decoded clips."""
    d = recording.load("vae")
    autoencoder, encoder = recording.networks("vae", "condition_encoder")
    moments = autoencoder.quant_conv(autoencoder.encoder(d["image"]))
    yield "vae.moments", max_difference(moments, d["moments"]), 1e-4
    posterior = autoencoder.encode(d["image"]).latent_dist
    yield "vae.mode", max_difference(posterior.mode(), d["mode"]), 1e-4
    sampled = (posterior.mean + posterior.std * d["encode_noise"]) * SCALE
    yield "vae.encode_first_stage", max_difference(sampled, d["encode_first_stage"]), 1e-4
    yield "vae.embedder_mode", max_difference(encode_mode(encoder, d["image"]), d["embedder_mode"]), 1e-4

    def decode(latents: Tensor) -> Tensor:
        z = (latents / SCALE).flatten(0, 1)
        return autoencoder.decode(z, num_frames=latents.shape[1]).sample.unflatten(0, latents.shape[:2])

    yield "vae.decoded_5", max_difference(decode(d["latents_5"][None])[0], d["decoded_5"]), 1e-4
    if "decoded_long" in d:
        latents = d["latents_long"][None]
        chunks = ChunkDecoder(lambda z: decode(z).clamp(-1, 1), latents[:, 0])
        pieces = [f for i in range(1, latents.shape[1], 3) for f in chunks.push(latents[:, i : i + 3])]
        yield "vae.decoded_long", max_difference(torch.cat(pieces + chunks.flush(), dim=1)[0], d["decoded_long"]), 1e-4


COMPARISONS = {
    "attention": attention,
    "train_forward": train_forward,
    "vae": vae,
    "sample_first": lambda r: sample(r, "sample_first"),
    "sample_long": lambda r: sample(r, "sample_long"),
    "sample_switch": lambda r: sample(r, "sample_switch"),
    "sample_distinct": lambda r: sample(r, "sample_distinct"),
}


def main(argv: list[str] | None = None) -> int:
    """Print one line a tensor and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args(argv).folder
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        recording = Recording(folder)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"{folder} is no recording: {error}", file=sys.stderr)
        return 2
    count = misses = 0
    for name, compare in COMPARISONS.items():
        if not recording.has(name):
            continue
        for tensor, difference, tolerance in compare(recording):
            ok = difference <= tolerance  # and so not for NaN
            count, misses = count + 1, misses + (not ok)
            print(f"{tensor:<86} {difference:9.2e}  {tolerance:8.1e}  {'ok' if ok else 'MISS'}", flush=True)
    print(f"{count - misses} ok, {misses} MISS")
    return 1 if misses or not count else 0


if __name__ == "__main__":
    sys.exit(main())
