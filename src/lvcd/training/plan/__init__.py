"""What a training run will need on each GPU, from its configuration alone: no weight is read or made.

The step that train.py takes runs once on tensors without content (torch's FakeTensorMode): shapes, types and lifetimes
are the real ones, so weights, gradients and optimizer are exact and activations are an estimate. Not seen are the
workspaces of kernels and what the allocator cannot use.

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

from ..color import HALF, FineTuneModule, halve_frozen
from ..correspondence import gaze_loss
from ..muon import is_matrix
from .build import build
from .setting import Config, Setting
from .tally import Tally, autocast


@dataclass(frozen=True)
class Plan:
    """Of one training step on one GPU; all sizes in bytes."""

    setting: Setting
    learning: dict[str, int]
    """Group -> parameters."""
    frozen: dict[str, int]
    """Network -> parameters."""
    weights: int
    """With the frozen encoders, which are moved to the GPU whether shards are encoded or not."""
    gradients: int
    buckets: int
    """DDP's copy of the gradients; 0 on one GPU."""
    optimizer: int
    average: int
    """The moving average of what learns."""
    activations: int
    """Most that is alive at once in forward and backward, besides all above; as measured on latents."""
    gaze: int
    """Of these, what the lesson of gaze keeps for backward; 0 where it is not taught."""
    encoding: int
    """The same while frames become latents; nothing if shards are encoded."""
    update: int
    """What the optimizer's step takes for a moment (AdamW's square roots, one for each weight)."""
    forward: int
    """Floating-point operations of a clip, a multiply-add counting as two."""
    backward: int
    recompute: int
    """Forward again in backward, by gradient checkpointing."""
    encode: int
    """Of a clip's pixels to latents and token."""
    unet: str
    checkpointing: bool
    frozen_half: bool
    optimized: str
    """By what: AdamW or Muon."""
    bits: int

    @property
    def flops_per_clip(self) -> int:
        """Forward and backward, as MFU counts it: without what checkpointing computes twice, without encoders."""
        return self.forward + self.backward

    @property
    def standing(self) -> int:
        """There all the time."""
        return self.weights + self.gradients + self.buckets + self.optimizer + self.average

    @property
    def total(self) -> int:
        """At the worst moment of a step, from pixels."""
        return self.standing + max(self.activations, self.encoding, self.update)

    @property
    def total_encoded(self) -> int:
        """The same from encoded shards."""
        return self.standing + max(self.activations, self.update)


def plan(config: Config) -> Plan:
    """config: conf/train.yaml composed, as plain dicts and lists; what is missing ("???") in data is not needed.

    InputError: a configuration whose step cannot run.
    """
    setting = Setting.of(config)
    with FakeTensorMode():
        module = build(config["module"])
        if module.frozen_half and (half := HALF.get(setting.precision)):
            halve_frozen(module, half)
        return measure(module, setting)


def measure(module: FineTuneModule, setting: Setting) -> Plan:
    """A plan from one step of a module, real or fake, on the CPU; its gradients are left behind."""
    encoders = nn.ModuleList(module.networks.encoders)
    parts: dict[str, nn.Module] = {"unet": module.unet, "controlnet": module.controlnet, "encoders": encoders}
    counts = {name: _counts(part) for name, part in parts.items()}
    learning = [p for p in module.parameters() if p.requires_grad]
    for p in learning:
        p.grad = torch.zeros_like(p)  # as after the first of several accumulated batches
    weights = [t for part in parts.values() for t in (*part.parameters(), *part.buffers())]
    standing = [*weights, *(p.grad for p in learning if p.grad is not None)]
    encoding, activations, gaze, flops, encode = _step(module, setting, standing)
    bits, muon = module.optimization.bits, module.optimization.muon is not None
    share = setting.ranks if "fsdp" in setting.strategy else 1
    gradients = _bytes(p.grad for p in learning if p.grad is not None)
    copies = setting.strategy == "ddp" and setting.ranks > 1 and not setting.bucket_view
    whole = _bytes([*encoders.parameters(), *encoders.buffers()])  # on every rank
    return Plan(
        setting=setting,
        learning={name: learns for name, (learns, _) in counts.items() if learns},
        frozen={name: frozen for name, (_, frozen) in counts.items() if frozen},
        weights=(_bytes(weights) - whole) // share + whole,
        gradients=gradients // share,
        buckets=gradients if copies else 0,
        optimizer=sum(state_bytes(p, bits, muon) for p in learning) // share,
        average=_bytes(learning) if setting.average else 0,
        activations=activations,
        gaze=gaze,
        encoding=encoding,
        update=_bytes(learning) // share if bits == 32 and setting.gpu else 0,
        **{part: flops[part] // setting.clips for part in ("forward", "backward", "recompute")},
        encode=encode // setting.clips,
        unet=_learns(module.unet),
        checkpointing=bool(module.unet.is_gradient_checkpointing),
        frozen_half=module.frozen_half,
        optimized="Muon and AdamW" if muon else "AdamW",
        bits=bits,
    )


def _step(module: FineTuneModule, s: Setting, standing: list[Tensor]) -> tuple[int, int, int, Mapping[str, int], int]:
    """=> peak of encoding, peak of forward and backward, what gaze keeps between them (bytes), their operations, those
    of encoding"""
    told = logging.getLogger("torch._subclasses.fake_tensor")
    told.disabled = True  # it would print the whole way to what is said below in a line
    try:
        with Tally(standing) as encoding:
            shapes = _encode(module, s)
        with autocast(module, HALF.get(s.precision), s.gpu) as mixed, Tally(standing) as step:
            sketches = torch.zeros(s.clips, s.frames, 1, s.height, s.width)
            latents, tokens = (torch.zeros(shape) for shape in shapes)
            batch = Batch(sketches, torch.full((s.clips,), 6.0), latents=latents, tokens=tokens)
            seeds = list(range(s.clips))
            with mixed():
                with module.listen() as seen:
                    losses, _, x0 = module.losses(batch, seeds)
                loss, before = losses.mean(), step.live
                if module.gaze:
                    loss = loss + module.gaze * gaze_loss(seen, x0, seeds).mean()
                gaze = step.live - before
            loss.backward()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{s.width}x{s.height} does not go through these networks ({reason}): try another") from error
    finally:
        told.disabled = False
    return encoding.peak, step.peak, gaze, step.flops, encoding.flops["forward"]


@torch.no_grad()
def _encode(module: FineTuneModule, s: Setting) -> tuple[torch.Size, torch.Size]:
    """Like module.encode, but that the reference comes to CLIP at its size; => shapes of latents and tokens."""
    parts = module.networks
    frames = torch.zeros(s.clips, s.frames, 3, s.height, s.width)
    latents = encode_mode(parts.vae, frames.flatten(0, 1)).unflatten(0, (s.clips, s.frames))
    if parts.condition_encoder is not None:
        encode_mode(parts.condition_encoder, frames[:, 0])
    side = parts.image_encoder.config.image_size
    tokens = parts.image_encoder(torch.zeros(s.clips, 3, side, side)).image_embeds.unsqueeze(1)
    return latents.shape, tokens.shape


def state_bytes(p: Tensor, bits: int, muon: bool = False) -> int:
    """AdamW's two moments of a weight and its count of steps; with Muon matrices have one moment.

    In 8 bits (bitsandbytes): one byte each and a float32 scale for each block of 256; small weights stay in 32 bits.
    """
    if muon and is_matrix(p):
        return p.nbytes + 4
    if bits == 8 and p.numel() >= 4096:
        return 2 * (p.numel() + 4 * -(-p.numel() // 256))
    return 2 * p.nbytes + 4


def _counts(part: nn.Module) -> tuple[int, int]:
    """=> parameters that learn, that do not"""
    learns = sum(p.numel() for p in part.parameters() if p.requires_grad)
    return learns, sum(p.numel() for p in part.parameters()) - learns


def _learns(unet: nn.Module) -> str:
    learns, frozen = _counts(unet)
    return "none" if not learns else "all" if learns > frozen else "self_attention"


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.nbytes for t in tensors)
