"""The memory and the work of painting a clip, measured without a GPU and without weights.

Encoding, one denoising step and decoding run once on tensors without content, as the step of training does in
`estimate`; the same limits hold. letters: t slots, c latent channels, h w latent size, H W pixels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from lvcd.errors import InputError
from lvcd.nn.condition import encode_mode
from lvcd.pipeline import LineartVideoPipeline
from lvcd.pipeline.inputs import Padding
from lvcd.sampling.segments import plan_segments

from ..networks import networks_from_folder
from .cost_counter import CostCounter
from .fit_report import GIB, RESERVE_GIB

DECODE_CHUNK = 10
"""Frames that are decoded at once where nothing else is asked for, as by the original."""
USUAL_GIB = (8, 12, 16, 24)


@dataclass(frozen=True)
class PaintingSettings:
    """The settings say what is painted. Raises InputError for a value without a meaning."""

    size: tuple[int, int] = (320, 576)
    """(height, width), px."""
    frames: int = 24
    overlap: int = 4
    references: int = 1
    """Keys, sheets and the reference that a segment holds."""
    steps: int | None = None
    """None = the model's own."""
    dtype: torch.dtype = torch.float16

    def __post_init__(self) -> None:
        for name, least in (("frames", 1), ("references", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} {getattr(self, name)}: give at least {least}")


class MemoryOptions(NamedTuple):
    """The options of `lvcd colorize` that save memory."""

    offload: str | None = None
    storage: str | None = None
    decode_chunk: int = DECODE_CHUNK

    def __str__(self) -> str:
        chunk = None if self.decode_chunk == DECODE_CHUNK else self.decode_chunk
        values = {"--offload": self.offload, "--storage": self.storage, "--decode-chunk": chunk}
        return " ".join(f"{name} {value}" for name, value in values.items() if value is not None)


MEMORY_OPTIONS = tuple(
    MemoryOptions(offload, storage, chunk)
    for offload, storage, chunk in (
        (None, None, DECODE_CHUNK), (None, None, 4), ("model", None, DECODE_CHUNK), ("model", None, 4),
        ("model", "fp8", 4), ("group", None, 4), ("group", None, 2), ("sequential", None, 2),
    )
)  # fmt: skip
"""Those that cost least time, or change least, first."""


@dataclass(frozen=True)
class PaintingPlan:
    """The cost of painting one clip; memory in bytes, work in FLOP (a multiply-add counts as 2)."""

    settings: PaintingSettings
    weights: dict[str, int]
    """Network -> its weights."""
    largest_layer: int
    """The weights of the largest layer, which is what sequential and group offload hold at once."""
    encoding: int
    """Most that is alive besides the weights while a reference is encoded."""
    denoising: int
    decoding: dict[int, int]
    """Frames that are decoded at once -> most that is alive meanwhile."""
    step: int
    """FLOP of a denoising step of a segment."""
    ends: int
    """FLOP of encoding the references and decoding all frames, about."""
    steps: int
    """Denoising steps, of all segments."""

    @property
    def work(self) -> int:
        """FLOP of the clip."""
        return self.step * self.steps + self.ends

    def peak(self, options: MemoryOptions) -> int:
        """Return the most bytes that are on the GPU at once."""
        offload, storage, decoding = options.offload, options.storage, self.decoding[options.decode_chunk]
        half = {"unet": 2, "controlnet": 2} if storage == "fp8" else {}
        weights = {name: size // half.get(name, 1) for name, size in self.weights.items()}
        denoiser = weights["unet"] + weights["controlnet"]
        coders = max(size for name, size in weights.items() if name not in ("unet", "controlnet"))
        if offload == "model":
            # ControlNet and U-Net run together; it stays while others run
            rest = weights["controlnet"]
            return max(denoiser + self.denoising, rest + coders + self.encoding, rest + coders + decoding)
        if offload in ("sequential", "group"):
            layers = self.largest_layer * (1 if offload == "sequential" else 2)  # the next one is fetched ahead
            return layers + max(self.denoising, self.encoding, decoding)
        return sum(weights.values()) + max(self.denoising, self.encoding, decoding)


def plan_painting(model: str | Path | None, settings: PaintingSettings | None = None) -> PaintingPlan:
    """Estimate what painting costs with a model folder, or with networks of Stable Video Diffusion's size (None).

    InputError: no model, an overlap that it cannot have, or a size that does not go through its networks.
    """
    s = settings or PaintingSettings()
    with FakeTensorMode(), torch.no_grad():
        networks = networks_from_folder(model, weights=False)
        pipeline = networks.pipeline()
        for network in (pipeline.unet, pipeline.controlnet, *networks.encoders):
            _cast(network, s.dtype)
        try:
            return _measure(pipeline, s)
        except InputError:
            raise
        except (RuntimeError, ValueError) as error:
            height, width = s.size
            reason = str(error).strip().splitlines()[0]
            raise InputError(f"{width}x{height} does not go through these networks ({reason}): try another") from error


def _measure(pipeline: LineartVideoPipeline, s: PaintingSettings) -> PaintingPlan:
    sampling = pipeline.sampling_config(s.steps, s.overlap).complete(pipeline.config)
    with unset_fake_temporarily():  # noise levels are looked at
        steps_each = len(sampling.noise_levels) - 1
    networks = {n: part for n, part in pipeline.components.items() if isinstance(part, nn.Module)}
    weights = {name: _num_bytes(network) for name, network in networks.items()}
    persistent = [t for network in networks.values() for t in (*network.parameters(), *network.buffers())]
    slots = sampling.slots - 1 + s.references
    height, width = s.size
    padding = Padding(height, width, pipeline.size_multiple)

    with CostCounter(persistent) as encoding:
        encoder = pipeline.condition_encoder or pipeline.vae
        upcast = s.dtype == torch.float16 and pipeline.vae.config.force_upcast
        if upcast:  # as the pipeline does: SVD's encoder overflows
            _cast(encoder, torch.float32)
        dtype = torch.float32 if upcast else s.dtype
        latent = encode_mode(encoder, padding.pad(torch.zeros(1, 3, height, width, dtype=dtype), "replicate"))
        _cast(encoder, s.dtype)
        side = pipeline.image_encoder.config.image_size
        token = pipeline.image_encoder(torch.zeros(1, 3, side, side, dtype=s.dtype)).image_embeds[:, None]
    latent = latent.to(s.dtype)
    persistent = [t for network in networks.values() for t in (*network.parameters(), *network.buffers())]
    c, h, w = latent.shape[-3:]
    with CostCounter(persistent) as denoising:
        sketches = padding.pad(torch.zeros(1, slots, 1, height, width, dtype=s.dtype), "constant")
        denoise = pipeline._denoiser(token, torch.zeros(1, slots, c, h, w, dtype=s.dtype), sketches, 1.0)
        before = denoising.flops.total()
        layout = sampling.layout(s.overlap == 0, 1.0, s.references)
        denoise(torch.zeros(1, slots, c, h, w, dtype=s.dtype), torch.ones((), dtype=s.dtype), layout)
        step = denoising.flops.total() - before
    decoded = {}
    for chunk in sorted({options.decode_chunk for options in MEMORY_OPTIONS}):
        with CostCounter(persistent) as decoding:
            pipeline._decode(torch.zeros(1, min(chunk, s.frames + 1), c, h, w, dtype=s.dtype))
        decoded[chunk] = decoding.peak
    segments = plan_segments(s.frames, sampling.slots - 1 - sampling.overlap, sampling.overlap)
    steps = len(segments) * steps_each
    per_frame = decoding.flops.total() // min(chunk, s.frames + 1)
    return PaintingPlan(
        settings=s,
        weights=weights,
        largest_layer=max(sum(p.nbytes for p in m.parameters(recurse=False)) for n in networks.values()
                          for m in n.modules()),
        encoding=encoding.peak,
        denoising=denoising.peak,
        decoding=decoded,
        step=step,
        ends=s.references * encoding.flops.total() + (s.frames + 1) * per_frame,
        steps=steps,
    )  # fmt: skip


def _cast(network: nn.Module, dtype: torch.dtype) -> None:
    """Change the type of all weights in place; `Module.to` cannot, while tensors have no content."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(dtype)


def _num_bytes(network: nn.Module) -> int:
    tensors: Iterable[Tensor] = (*network.parameters(), *network.buffers())
    return sum(t.nbytes for t in tensors)


def format_painting(plan: PaintingPlan, cards: list[tuple[str, float]]) -> str:
    """Format a plan, and how it fits each card, (name, GiB)."""
    s, gib = plan.settings, {name: size / GIB for name, size in plan.weights.items()}
    height, width = s.size
    names = {"unet": "U-Net", "controlnet": "ControlNet", "vae": "VAE", "image_encoder": "CLIP"}
    weights = ", ".join(f"{names.get(name, name)} {size:.2f}" for name, size in gib.items())
    references = "1 reference" if s.references == 1 else f"{s.references} references"
    lines = [
        f"{s.frames} frames of {width}x{height}, {references}, {plan.steps} denoising steps of all segments, "
        f"{str(s.dtype).removeprefix('torch.')}",
        f"weights: {sum(gib.values()):.2f} GiB ({weights})",
        f"besides: {plan.encoding / GIB:.2f} GiB to encode, {plan.denoising / GIB:.2f} to denoise, "
        f"{plan.decoding[DECODE_CHUNK] / GIB:.2f} to decode {DECODE_CHUNK} frames at once, "
        f"{plan.decoding[4] / GIB:.2f} for 4",
        f"work: {plan.work / 1e12:.4g} TFLOP, {plan.step / 1e12:.4g} a denoising step",
        "",
    ]
    for name, size in cards:
        fitting = next((options for options in MEMORY_OPTIONS if plan.peak(options) / GIB + RESERVE_GIB <= size), None)
        if fitting is None:
            least = min(plan.peak(options) for options in MEMORY_OPTIONS) / GIB + RESERVE_GIB
            lines.append(f"{name}: does not fit, it needs {least:.1f} GiB: give a smaller size")
        else:
            needed = plan.peak(fitting) / GIB + RESERVE_GIB
            lines.append(f"{name}: fits{f' with {fitting}' if str(fitting) else ''}, {needed:.1f} GiB")
    lines.append(f"({RESERVE_GIB} GiB of each are CUDA's own. An estimate: nothing was painted.)")
    return "\n".join(lines)
