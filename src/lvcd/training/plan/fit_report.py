"""The report of `lvcd plan`: what a run needs, which GPUs it fits, and how to save memory."""

from __future__ import annotations

import torch
from lightning.fabric.utilities.throughput import get_available_flops

from lvcd.errors import InputError

from ..finetune import HALF_DTYPES
from .estimate import TrainingPlan
from .step_config import StepConfig

GIB = 2**30
RESERVE_GIB = 1.5
"""GiB for the CUDA context, the workspaces of kernels and the fragmentation of the allocator."""

CARD_GIB = {
    "T4": 16,
    "V100": 32,
    "RTX 3090": 24,
    "RTX 4090": 24,
    "RTX 5090": 32,
    "A10": 24,
    "L4": 24,
    "A5000": 24,
    "A6000": 48,
    "RTX 6000 Ada": 48,
    "A40": 48,
    "L40S": 48,
    "A100 40GB": 40,
    "A100 80GB": 80,
    "H100": 80,
    "H200": 140,
    "B200": 180,
}
"""Name of a GPU -> its memory in GiB."""
USUAL_GIB = (12, 16, 24, 48, 80)

PEAK_FLOPS = {"RTX 3090": 71e12, "RTX 4090": 165e12, "A10": 125e12, "A6000": 155e12, "L40S": 362e12, "H200": 989e12}
"""Name of a GPU -> dense half-precision FLOP/s of its tensor cores with float32 sums, from NVIDIA's documents: the
GA102 white paper (RTX 3090, A6000), the Ada white paper (RTX 4090), the data sheets (A10, L40S, H200), whose larger
numbers are for sparse weights. Lightning's table has the rate without tensor cores for RTX cards and the A6000, the
sparse one for H200, takes an L40S for an L4 and does not know the A10."""
LIGHTNING_CARDS = {"A100", "A10G", "H100", "L4", "T4", "V100"}
"""GPUs whose peak Lightning's table has right."""
ASSUMED_UTILIZATION = 0.3
"""Fraction of a card's peak that a run is assumed to reach, for GPU-hours: a guess, `speed/mfu` of a run tells."""
RUN_CARDS = {"RTX 4090": PEAK_FLOPS["RTX 4090"], "A100": 312e12, "H100": 989e12}
"""Cards whose GPU-hours are told -> dense half-precision FLOP/s; of A100 and H100 (SXM) from NVIDIA's data sheets."""
CHECKPOINTS = 3
"""Checkpoints of a run: best, last and recent."""
VARIANTS = {"Laptop", "Ti", "SUPER", "D", "MIG", "NVL"}
"""Words in a GPU's name that make it another, slower or faster one."""


def peak_flops(device: torch.device, precision: str) -> float | None:
    """Return the peak FLOP/s of a GPU's tensor cores; None = not known, or not in half precision."""
    dtype = HALF_DTYPES.get(precision)
    if device.type != "cuda" or dtype is None:
        return None
    words = set(torch.cuda.get_device_name(device).replace("-", " ").split())
    if words & VARIANTS:
        return None
    names = [name for name in PEAK_FLOPS if words >= set(name.split())]
    if names:
        return PEAK_FLOPS[max(names, key=len)]
    return get_available_flops(device, dtype) if words & LIGHTNING_CARDS else None


def parse_card(text: str | None) -> list[tuple[str, float]]:
    """Parse --card into (name, GiB); None gives the usual sizes. InputError: neither a size nor a GPU in CARD_GIB."""
    if text is None:
        return [(f"{size} GiB", size) for size in USUAL_GIB]
    plain = _normalized(text)
    cards = {_normalized(name): (name, float(size)) for name, size in CARD_GIB.items()}
    if plain in cards:
        return [cards[plain]]
    matching = [card for name, card in cards.items() if name.endswith(plain)]  # 4090, or 6000 Ada
    if len(matching) == 1 and len(plain) > 2:
        return matching
    try:
        size = float(text.lower().removesuffix("gib").removesuffix("gb"))
    except ValueError:
        size = 0.0
    if not 0 < size < 10_000:
        raise InputError(f"--card {text}: give a size in GiB, like 24, or one of {', '.join(CARD_GIB)}")
    return [(f"{size:g} GiB", size)]


def _normalized(name: str) -> str:
    return "".join(c for c in name.lower().removeprefix("nvidia") if c.isalnum() or c == ".")


def format_report(plan: TrainingPlan, cards: list[tuple[str, float]]) -> str:
    """Format a plan and whether it fits each card, (name, GiB)."""
    parts = (_run_lines(plan), _memory_lines(plan), _work_lines(plan), _fit_lines(plan, cards))
    return "\n\n".join("\n".join(lines) for lines in parts)


def _run_lines(plan: TrainingPlan) -> list[str]:
    s = plan.step
    lines = [
        f"{s.clips} x {s.frames} frames (clips x the reference and {s.frames - 1}), {s.width}x{s.height}, "
        f"{s.precision}, on each of {s.ranks} {_devices(s)}; clips of a step: {s.clips * s.ranks * s.accumulate}",
        "",
    ]
    for name in sorted({*plan.trainable, *plan.frozen}):
        trainable, frozen = plan.trainable.get(name, 0), plan.frozen.get(name, 0)
        lines.append(f"{name:<12} {trainable / 1e6:9,.1f} M trainable parameters, {frozen / 1e6:9,.1f} M frozen")
    return lines


def _devices(s: StepConfig) -> str:
    return ("GPU" if s.ranks == 1 else "GPUs") if s.gpu else ("process" if s.ranks == 1 else "processes")


def _memory_lines(plan: TrainingPlan) -> list[str]:
    s = plan.step
    checkpointing = f"{'with' if plan.checkpointing else 'without'} gradient checkpointing"
    correspondence = (
        f"; {plan.correspondence / GIB:.2f} GiB of them for module.correspondence_weight" if plan.correspondence else ""
    )
    frozen = "; frozen ones in half precision" if plan.frozen_half else ""
    rows = [
        ("weights", plan.weights, f"with the encoders{frozen}"),
        ("gradients", plan.gradients, ""),
        ("DDP's buckets", plan.buckets, "a second copy of the gradients"),
        ("optimizer", plan.optimizer, f"{plan.optimizer_name}, {plan.bits} bits"),
        ("average", plan.average, "of the trainable weights"),
        ("activations", plan.activations, f"estimate, {checkpointing}{correspondence}"),
        ("or encoding", plan.encoding, "estimate; none after lvcd encode"),
        ("or the update", plan.update, "of the optimizer, for a moment"),
    ]
    lines = [f"{name:<16} {size / GIB:7.2f} GiB  {note}".rstrip() for name, size, note in rows if size]
    lines.append(f"{'total':<16} {plan.total / GIB:7.2f} GiB  per {'GPU' if s.gpu else 'process'}, "
                 "with the largest of the last three, which are never in use together")  # fmt: skip
    if plan.total_encoded < plan.total:
        lines.append(f"{'':<16} {plan.total_encoded / GIB:7.2f} GiB  from encoded shards")
    if "fsdp" in s.strategy:
        lines.append(f"FSDP: 1/{s.ranks} of weights, gradients and optimizer; without what it gathers for a moment")
    lines += [
        "Weights, gradients and optimizer are exact. Activations are an estimate: the training step was run on tensors",
        "without content, and the bytes alive at once were counted.",
    ]
    return lines


def _work_lines(plan: TrainingPlan) -> list[str]:
    repeated = f", and {plan.recompute / 1e12:.3g} repeated by checkpointing" if plan.recompute else ""
    lines = [
        f"A clip costs {plan.flops_per_clip / 1e12:.3g} TFLOP: {plan.forward / 1e12:.3g} forward, "
        f"{plan.backward / 1e12:.3g} backward{repeated}; to encode it, {plan.encode / 1e12:.3g}."
    ]
    if plan.step.gpu and plan.run_flops is not None:
        hours = ", ".join(
            f"{name} {_rounded(plan.run_flops / (peak * ASSUMED_UTILIZATION) / 3600)}"
            for name, peak in RUN_CARDS.items()
        )
        lines.append(
            f"The run, {plan.step.steps:,} steps of {plan.run_clips:,} clips, costs {plan.run_flops / 1e18:.3g} EFLOP. "
            f"GPU-hours, if cards reach {ASSUMED_UTILIZATION:.0%} of their peak: {hours}."
        )
    lines.append(
        f"On disk: {CHECKPOINTS} checkpoints of {plan.checkpoint / GIB:.1f} GiB, one more while it is written, "
        f"and the model, {plan.model / GIB:.1f} GiB: {_disk(plan) / GIB:.1f} GiB, besides shards and samples."
    )
    return lines


def _disk(plan: TrainingPlan) -> int:
    return (CHECKPOINTS + 1) * plan.checkpoint + plan.model


def _rounded(hours: float) -> str:
    return f"{float(f'{hours:.2g}'):,.10g}" if hours >= 0.1 else "under 0.1"


def _fit_lines(plan: TrainingPlan, cards: list[tuple[str, float]]) -> list[str]:
    if not plan.step.gpu:
        return ["On a CPU: the computer's memory must hold all processes. For a GPU, add trainer=gpu."]
    lines = []
    for name, size in cards:
        needed, encoded = plan.total / GIB + RESERVE_GIB, plan.total_encoded / GIB + RESERVE_GIB
        if needed <= size:
            lines.append(f"{name}: fits, {size - needed:.1f} GiB to spare besides {RESERVE_GIB} GiB for CUDA itself")
        elif encoded <= size:
            lines.append(f"{name}: fits from encoded shards only (lvcd encode)")
        else:
            lines.append(f"{name}: does not fit, {encoded - size:.1f} GiB too much ({RESERVE_GIB} GiB for CUDA itself)")
    if min(size for _, size in cards) < encoded:
        lines += ["To save memory:", *(f"  {words:<60} saves {saved}" for words, saved in ways_to_save_memory(plan))]
    return lines


def ways_to_save_memory(plan: TrainingPlan) -> list[tuple[str, str]]:
    """Return overrides of the command line and roughly what each saves; first those that change the result least."""
    s, ways = plan.step, []
    if not plan.checkpointing:
        ways.append(("module.gradient_checkpointing=true", "most of the activations, but takes more time"))
    if s.precision == "32-true":
        ways.append(("trainer.precision=bf16-mixed", "up to half of the activations"))
    elif not plan.frozen_half:
        ways.append(("module.frozen_half=true", _about(2 * sum(n for g, n in plan.frozen.items() if g != "encoders"))))
    if plan.correspondence:
        saved = f"{_about(plan.correspondence)}, but attention learns late where to attend"
        ways.append(("module.correspondence_weight=0", saved))
    if s.clips > 1:
        words = f"data.batch_size=1 trainer.accumulate_grad_batches={s.accumulate * s.clips}"
        ways.append((words, _about(plan.activations * (s.clips - 1) // s.clips)))
    if plan.buckets:
        words = "trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy, gradient_as_bucket_view: true}"
        ways.append((f"'{words}'", _about(plan.buckets)))
    if plan.bits == 32 and plan.optimizer_name == "AdamW":
        ways.append(("module.optimization.bits=8", _about(plan.optimizer * 3 // 4)))
    each = 8 + (8 if plan.bits == 32 else 2) + (4 if plan.buckets else 0)  # bytes: weight, gradient, state, bucket
    if plan.unet in ("self_attention", "all"):
        ways.append(
            ("module.unet=lora", f"about {each * sum(plan.trainable.values()) / GIB:.1f} GiB, but trains adapters")
        )
        ways.append(("module.unet=none", f"{_about(plan.trainable['unet'] * each)}, but trains the ControlNet alone"))
    if s.width * s.height > 576 * 320:
        ways.append(("stage=320p", "memory in proportion to the pixels"))
    return ways


def out_of_memory_message(plan: TrainingPlan) -> str:
    """Return one line for a step that ran out of memory: its estimated need, and how to save memory."""
    ways = "; or ".join(f"{words} (saves {saved})" for words, saved in ways_to_save_memory(plan))
    return (
        f"there is too little memory for a step, which is estimated to need {plan.total / GIB + RESERVE_GIB:.1f} GiB: "
        f"{ways or 'use a larger GPU'}"
    )


def _about(size: int) -> str:
    return f"about {size / GIB:.1f} GiB"
