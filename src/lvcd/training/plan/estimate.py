"""The memory and the work of a training step, measured without a GPU.

The step of `lvcd train` runs once on tensors without content (torch's FakeTensorMode). Shapes, types and lifetimes
are the real ones, so weights, gradients and optimizer are exact, and activations are an estimate. The workspaces of
kernels and the fragmentation of the allocator are not included.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, H W pixels.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from lvcd.data.batch import Batch
from lvcd.errors import InputError
from lvcd.nn.condition import encode_mode
from lvcd.nn.lora import has_lora

from ..correspondence import correspondence_loss
from ..finetune import HALF_DTYPES, FineTuneModule, cast_frozen_weights
from ..muon import is_matrix
from .build import build_module
from .cost_counter import CostCounter, cpu_autocast
from .step_config import Config, StepConfig


@dataclass(frozen=True)
class TrainingPlan:
    """The cost of one training step on one GPU; all memory in bytes, all work in FLOP (a multiply-add counts as 2)."""

    step: StepConfig
    trainable: dict[str, int]
    """Parameter group -> number of trainable parameters."""
    frozen: dict[str, int]
    """Network -> number of frozen parameters."""
    weights: int
    """Weights of all networks; the frozen encoders are on the GPU even where shards are encoded."""
    gradients: int
    buckets: int
    """DDP's copy of the gradients; 0 on one GPU."""
    optimizer: int
    """State of the optimizer."""
    average: int
    """Moving average of the trainable weights; 0 without one."""
    activations: int
    """Most that is alive at once in forward and backward besides all the above, measured on latents."""
    correspondence: int
    """The part of the activations that the correspondence loss keeps for backward; 0 without it."""
    encoding: int
    """Most that is alive at once while frames are encoded; not needed with encoded shards."""
    update: int
    """Most that the optimizer's step takes for a moment (AdamW's square roots, one for each weight)."""
    forward: int
    """FLOP of a clip."""
    backward: int
    recompute: int
    """FLOP of repeating forward in backward, by gradient checkpointing."""
    encode: int
    """FLOP of encoding a clip's frames into latents and token."""
    unet: str
    """What is trained of the U-Net: see TrainableUNet."""
    checkpointing: bool
    frozen_half: bool
    optimizer_name: str
    bits: int
    """Bits of a number in the optimizer's state."""

    @property
    def checkpoint(self) -> int:
        """Bytes of a checkpoint: trained weights, their average and the optimizer's state."""
        shards = self.step.ranks if "fsdp" in self.step.strategy else 1
        return 4 * sum(self.trainable.values()) + (self.average + self.optimizer) * shards

    @property
    def model(self) -> int:
        """Bytes of the exported model, which is in half precision."""
        return 2 * sum((*self.trainable.values(), *self.frozen.values()))

    @property
    def run_clips(self) -> int | None:
        """Clips that the whole run trains on; None = it is not limited by steps."""
        s = self.step
        return None if s.steps is None else s.steps * s.clips * s.ranks * s.accumulate

    @property
    def run_flops(self) -> int | None:
        """FLOP of the whole run from pixels, with what checkpointing repeats, without validations; None = no limit."""
        clips = self.run_clips
        return None if clips is None else clips * (self.flops_per_clip + self.recompute + self.encode)

    @property
    def flops_per_clip(self) -> int:
        """FLOP of forward and backward, as MFU counts them: without recomputation and encoders."""
        return self.forward + self.backward

    @property
    def persistent(self) -> int:
        """Bytes that are in use all the time."""
        return self.weights + self.gradients + self.buckets + self.optimizer + self.average

    @property
    def total(self) -> int:
        """Bytes at the worst moment of a step, from pixels."""
        return self.persistent + max(self.activations, self.encoding, self.update)

    @property
    def total_encoded(self) -> int:
        """Bytes at the worst moment of a step, from encoded shards."""
        return self.persistent + max(self.activations, self.update)


def plan_training(config: Config) -> TrainingPlan:
    """Estimate the cost of a step of a composed training configuration, given as plain dicts and lists.

    Values of `data` that are missing ("???") are not needed. InputError: a step of this configuration cannot run.
    """
    step = StepConfig.from_config(config)
    with FakeTensorMode():
        module = build_module(config["module"])
        if module.frozen_half and (dtype := HALF_DTYPES.get(step.precision)):
            cast_frozen_weights(module, dtype)
        return measure_step(module, step)


def measure_step(module: FineTuneModule, step: StepConfig) -> TrainingPlan:
    """Measure one step of a module, with real or fake weights, on the CPU. The module keeps the step's gradients."""
    encoders = nn.ModuleList(module.networks.encoders)
    networks: dict[str, nn.Module] = {"unet": module.unet, "controlnet": module.controlnet, "encoders": encoders}
    counts = {name: _count_parameters(network) for name, network in networks.items()}
    trainable = [p for p in module.parameters() if p.requires_grad]
    for p in trainable:
        p.grad = torch.zeros_like(p)  # as after the first of several accumulated batches
    weights = [t for network in networks.values() for t in (*network.parameters(), *network.buffers())]
    persistent = [*weights, *(p.grad for p in trainable if p.grad is not None)]
    encoding, activations, correspondence, flops, encode = _run_step(module, step, persistent)
    bits, muon = module.optimization.bits, module.optimization.muon is not None
    shards = step.ranks if "fsdp" in step.strategy else 1
    gradients = _num_bytes(p.grad for p in trainable if p.grad is not None)
    has_buckets = step.strategy == "ddp" and step.ranks > 1 and not step.bucket_view
    unsharded = _num_bytes([*encoders.parameters(), *encoders.buffers()])
    return TrainingPlan(
        step=step,
        trainable={name: trained for name, (trained, _) in counts.items() if trained},
        frozen={name: frozen for name, (_, frozen) in counts.items() if frozen},
        weights=(_num_bytes(weights) - unsharded) // shards + unsharded,
        gradients=gradients // shards,
        buckets=gradients if has_buckets else 0,
        optimizer=sum(optimizer_state_bytes(p, bits, muon) for p in trainable) // shards,
        average=_num_bytes(trainable) // shards if step.average else 0,
        activations=activations,
        correspondence=correspondence,
        encoding=encoding,
        update=_num_bytes(trainable) // shards if bits == 32 and step.gpu else 0,
        **{part: flops[part] // step.clips for part in ("forward", "backward", "recompute")},
        encode=encode // step.clips,
        unet=_trained_part(module.unet),
        checkpointing=bool(module.unet.is_gradient_checkpointing),
        frozen_half=module.frozen_half,
        optimizer_name="Muon and AdamW" if muon else "AdamW",
        bits=bits,
    )


def _run_step(
    module: FineTuneModule, s: StepConfig, persistent: list[Tensor]
) -> tuple[int, int, int, Mapping[str, int], int]:
    """Return bytes of encoding, of forward and backward, and of the correspondence loss; FLOP of each part, and of
    encoding."""
    fake_tensor_log = logging.getLogger("torch._subclasses.fake_tensor")
    fake_tensor_log.disabled = True  # it prints a traceback of an error that the InputError below says in one line
    try:
        with CostCounter(persistent) as encoding:
            shapes = _encoded_shapes(module, s)
        with cpu_autocast(module, HALF_DTYPES.get(s.precision), s.gpu) as mixed, CostCounter(persistent) as step:
            sketches = torch.zeros(s.clips, s.frames, 1, s.height, s.width)
            latents, tokens = (torch.zeros(shape) for shape in shapes)
            batch = Batch(sketches, torch.full((s.clips,), 6.0), latents=latents, tokens=tokens)
            seeds = list(range(s.clips))
            with mixed():
                with module.attention_inputs() as inputs:
                    losses, _, x0 = module.losses(batch, seeds)
                loss, before = losses.mean(), step.live
                if module.correspondence_weight:
                    loss = loss + module.correspondence_weight * correspondence_loss(inputs, x0, seeds).mean()
                correspondence = step.live - before
            loss.backward()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{s.width}x{s.height} does not go through these networks ({reason}): try another") from error
    finally:
        fake_tensor_log.disabled = False
    return encoding.peak, step.peak, correspondence, step.flops, encoding.flops["forward"]


@torch.no_grad()
def _encoded_shapes(module: FineTuneModule, s: StepConfig) -> tuple[torch.Size, torch.Size]:
    """Encode as module.encode does, but resize nothing for CLIP; return the shapes of latents and tokens."""
    networks = module.networks
    frames = torch.zeros(s.clips, s.frames, 3, s.height, s.width)
    latents = encode_mode(networks.vae, frames.flatten(0, 1)).unflatten(0, (s.clips, s.frames))
    if networks.condition_encoder is not None:
        encode_mode(networks.condition_encoder, frames[:, 0])
    side = networks.image_encoder.config.image_size
    tokens = networks.image_encoder(torch.zeros(s.clips, 3, side, side)).image_embeds.unsqueeze(1)
    return latents.shape, tokens.shape


def optimizer_state_bytes(p: Tensor, bits: int, muon: bool = False) -> int:
    """Return the bytes of a weight's optimizer state: AdamW's two moments, or Muon's one, and a step count.

    In 8 bits (bitsandbytes) a moment is one byte, with a float32 scale for each block of 256; small weights stay in 32.
    """
    if muon and is_matrix(p):
        return p.nbytes + 4
    if bits == 8 and p.numel() >= 4096:
        return 2 * (p.numel() + 4 * -(-p.numel() // 256))
    return 2 * p.nbytes + 4


def _count_parameters(network: nn.Module) -> tuple[int, int]:
    """Return the numbers of trainable and of frozen parameters."""
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    return trained, sum(p.numel() for p in network.parameters()) - trained


def _trained_part(unet: nn.Module) -> str:
    trained, frozen = _count_parameters(unet)
    if has_lora(unet):
        return "lora"
    return "none" if not trained else "all" if trained > frozen else "self_attention"


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.nbytes for t in tensors)
