"""A plan in words: what it needs, which cards it fits, what to lower."""

from __future__ import annotations

from lvcd.errors import InputError

from . import HALF, Plan, Setting

GIB = 2**30
RESERVE = 1.5
"""GiB for the CUDA context, the workspaces of kernels and what the allocator cannot use."""

CARDS = {
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
"""Name -> GiB."""
USUAL = (24, 48, 80)

PEAKS = {
    "RTX 3090": 71e12,
    "RTX 4090": 165e12,
    "A10": 125e12,
    "A6000": 155e12,
    "L40S": 362e12,
    "A100": 312e12,
    "H100": 989e12,
    "H100 PCIe": 756e12,
    "H200": 989e12,
}
"""Name -> operations a second in half precision, dense, of the tensor cores, summed in float32. NVIDIA's documents: the
GA102 white paper (RTX 3090, A6000), the Ada white paper (RTX 4090), and the data sheets of A10, L40S, A100, H100, H200,
whose larger numbers with a star are for sparse weights: half of them is here."""
OTHERS = {"Laptop", "Ti", "D", "MIG", "NVL"}
"""Words that make another card of a name."""


def peak(gpu: str, precision: str) -> float | None:
    """Operations a second. gpu: as the driver calls it, like NVIDIA A100-SXM4-80GB. None: not known, or float32."""
    words = set(gpu.replace("-", " ").split())
    named = [name for name in PEAKS if words >= set(name.split())]
    if not named or words & OTHERS or precision not in HALF:
        return None
    return PEAKS[max(named, key=len)]


def card(text: str | None) -> list[tuple[str, float]]:
    """What --card says => (name, GiB); nothing said: the usual sizes. InputError: an unknown card."""
    if text is None:
        return [(f"{size} GiB", size) for size in USUAL]
    plain = _plain(text)
    named = {_plain(name): (name, float(size)) for name, size in CARDS.items()}
    if plain in named:
        return [named[plain]]
    ending = [both for name, both in named.items() if name.endswith(plain)]  # 4090, or 6000 Ada
    if len(ending) == 1 and len(plain) > 2:
        return ending
    try:
        size = float(text.lower().removesuffix("gib").removesuffix("gb"))
    except ValueError:
        size = 0.0
    if not 0 < size < 10_000:
        raise InputError(f"--card {text}: give a size in GiB, like 24, or one of {', '.join(CARDS)}")
    return [(f"{size:g} GiB", size)]


def _plain(name: str) -> str:
    return "".join(c for c in name.lower().removeprefix("nvidia") if c.isalnum() or c == ".")


def text(plan: Plan, cards: list[tuple[str, float]]) -> str:
    return "\n".join([*_what(plan), "", *_memory(plan), "", *_work(plan), "", *_verdict(plan, cards)])


def _what(plan: Plan) -> list[str]:
    s = plan.setting
    lines = [
        f"{s.clips} x {s.frames} frames (clips x the reference and {s.frames - 1}), {s.width}x{s.height}, "
        f"{s.precision}, on each of {s.ranks} {_places(s)}; clips a step: {s.clips * s.ranks * s.accumulate}",
        "",
    ]
    for name in sorted({*plan.learning, *plan.frozen}):
        learns, frozen = plan.learning.get(name, 0), plan.frozen.get(name, 0)
        lines.append(f"{name:<12} {learns / 1e6:9,.1f} M parameters learn, {frozen / 1e6:9,.1f} M are frozen")
    return lines


def _places(s: Setting) -> str:
    return ("GPU" if s.ranks == 1 else "GPUs") if s.gpu else ("process" if s.ranks == 1 else "processes")


def _memory(plan: Plan) -> list[str]:
    s = plan.setting
    kept = f"{'with' if plan.checkpointing else 'without'} gradient checkpointing"
    gaze = f"; {plan.gaze / GIB:.2f} GiB of them for module.gaze" if plan.gaze else ""
    rows = [
        ("weights", plan.weights, "encoders included" + ("; frozen ones in half" if plan.frozen_half else "")),
        ("gradients", plan.gradients, ""),
        ("buckets of DDP", plan.buckets, "a second copy of the gradients"),
        ("optimizer", plan.optimizer, f"{plan.optimized}, {plan.bits} bits"),
        ("average", plan.average, "of the weights that learn"),
        ("activations", plan.activations, f"estimate, {kept}{gaze}"),
        ("or encoding", plan.encoding, "estimate; none where lvcd encode has been used"),
        ("or the update", plan.update, "of the optimizer, for a moment"),
    ]
    lines = [f"{name:<16} {size / GIB:7.2f} GiB  {note}".rstrip() for name, size, note in rows if size]
    lines.append(f"{'together':<16} {plan.total / GIB:7.2f} GiB  per {'GPU' if s.gpu else 'process'}, "
                 "with the largest of the last three, which never meet")  # fmt: skip
    if plan.total_encoded < plan.total:
        lines.append(f"{'':<16} {plan.total_encoded / GIB:7.2f} GiB  from encoded shards")
    if "fsdp" in s.strategy:
        lines.append(f"FSDP: a {s.ranks}th of weights, gradients and optimizer; not what it gathers for a moment")
    lines += [
        "Weights, gradients and optimizer are exact. Activations are an estimate: the training step was run on tensors",
        "without content, and the bytes alive at once counted.",
    ]
    return lines


def _work(plan: Plan) -> list[str]:
    again = f", and {plan.recompute / 1e12:.3g} again by checkpointing" if plan.recompute else ""
    return [
        f"A clip costs {plan.flops_per_clip / 1e12:.3g} TFLOP: {plan.forward / 1e12:.3g} forward, "
        f"{plan.backward / 1e12:.3g} backward{again}; to encode it, {plan.encode / 1e12:.3g}."
    ]


def _verdict(plan: Plan, cards: list[tuple[str, float]]) -> list[str]:
    if not plan.setting.gpu:
        return ["On a CPU: the memory of the machine must hold all processes. For a card, add trainer=gpu."]
    lines = []
    for name, size in cards:
        need, encoded = plan.total / GIB + RESERVE, plan.total_encoded / GIB + RESERVE
        if need <= size:
            lines.append(f"{name}: fits, {size - need:.1f} GiB to spare beside {RESERVE} GiB for CUDA itself")
        elif encoded <= size:
            lines.append(f"{name}: fits from encoded shards only (lvcd encode)")
        else:
            lines.append(f"{name}: does not fit, {encoded - size:.1f} GiB too much ({RESERVE} GiB for CUDA itself)")
    if min(size for _, size in cards) < encoded:
        lines += ["To lower it:", *(f"  {words:<60} saves {saved}" for words, saved in lower(plan))]
    return lines


def lower(plan: Plan) -> list[tuple[str, str]]:
    """What to change => (words of the command line, what that saves, roughly), cheapest for the result first."""
    s, steps = plan.setting, []
    if not plan.checkpointing:
        steps.append(("module.gradient_checkpointing=true", "most of the activations, for more time"))
    if s.precision == "32-true":
        steps.append(("trainer.precision=bf16-mixed", "up to half of the activations"))
    elif not plan.frozen_half:
        steps.append(("module.frozen_half=true", _about(2 * sum(n for g, n in plan.frozen.items() if g != "encoders"))))
    if plan.gaze:
        steps.append(("module.gaze=0", _about(plan.gaze) + ", but where to look is learned late"))
    if s.clips > 1:
        words = f"data.batch_size=1 trainer.accumulate_grad_batches={s.accumulate * s.clips}"
        steps.append((words, _about(plan.activations * (s.clips - 1) // s.clips)))
    if plan.buckets:
        words = "trainer.strategy={_target_: lightning.pytorch.strategies.DDPStrategy, gradient_as_bucket_view: true}"
        steps.append((f"'{words}'", _about(plan.buckets)))
    if plan.bits == 32 and plan.optimized == "AdamW":
        steps.append(("module.optimization.bits=8", _about(plan.optimizer * 3 // 4)))
    if plan.unet != "none":
        each = 8 + (8 if plan.bits == 32 else 2) + (4 if plan.buckets else 0)  # bytes: weight, gradient, state, bucket
        steps.append(("module.unet=none", _about(plan.learning["unet"] * each) + ", but another method"))
    if s.width * s.height > 576 * 320:
        steps.append(("stage=320p", "memory in proportion to the pixels"))
    return steps


def too_large(plan: Plan) -> str:
    """For a step that ran out of memory: what it was thought to need, and what to change."""
    steps = "; or ".join(f"{words} (saves {saved})" for words, saved in lower(plan))
    return (
        f"there is too little memory for a step, which is estimated to need {plan.total / GIB + RESERVE:.1f} GiB: "
        f"{steps or 'take a larger GPU'}"
    )


def _about(size: int) -> str:
    return f"about {size / GIB:.1f} GiB"
