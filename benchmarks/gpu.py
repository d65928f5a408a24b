"""Sampling and training at the full size of Stable Video Diffusion on one GPU, in seconds and bytes, with random
weights, which are as fast and as large as trained ones; beside it what `lvcd plan` says of the same training.

    python benchmarks/gpu.py [--out FILE.json]     four minutes at most, nothing is read but conf/
    python benchmarks/gpu.py --toy                 small networks on the CPU: whether this script works

Each part is a process of its own, so that its peak is its own. One that fails says why, and the others still run. While
a part measures, the next one imports its libraries, and waits.

letters: b clips, t frames (the reference at 0), c latent channels, h w latent size, H W pixels.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
BUDGET = 230.0
"""Seconds for all parts; BUDGET and what is left of it bound each."""
PART = 75.0
"""Seconds for one."""
CARD = 24e9
"""Bytes of the smaller card that a clip, and the sketch branch's training, are to fit."""
STEPS, LONG = 4, 25
"""Denoising steps that are taken, and that times are extrapolated to."""
OUTSIDE = 1e9
"""Bytes for the context and the kernels, before they are measured."""
OVERLAP = 4
"""Frames that the two segments of the clip share; it is as long as two windows are then: 24 frames."""
UPDATES = 3
"""Optimizer steps from latents, and as many from pixels; the first of each is warm-up."""
TRAININGS = {
    "self_attention, 1 clip": ("self_attention", 1),
    "self_attention, 2 clips": ("self_attention", 2),
    "none, 1 clip": ("none", 1),
}
"""Name -> module.unet, clips of a batch."""
TOY: dict[str, dict[str, Any]] = {
    "unet": {
        "block_out_channels": (32, 32, 64),
        "down_block_types": (*["CrossAttnDownBlockSpatioTemporal"] * 2, "DownBlockSpatioTemporal"),
        "up_block_types": ("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 2),
        "layers_per_block": 1,
        "num_attention_heads": 2,
        "cross_attention_dim": 16,
        "addition_time_embed_dim": 8,
        "projection_class_embeddings_input_dim": 24,
    },
    "controlnet": {"stem_widths": (8, 16, 16)},
    "vae": {
        "block_out_channels": (32, 32, 32),
        "down_block_types": ("DownEncoderBlock2D",) * 3,
        "layers_per_block": 1,
        "scaling_factor": 0.18215,
    },
    "image_encoder": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 16,
    },
}
"""Configurations that stand for SVD's in a rehearsal."""


# --- the parts, each in a process of its own --------------------------------------------------------------------------


class Bench:
    """Where a part measures, and of what size its networks are."""

    def __init__(self, folder: str | None, device: str):
        """folder: of small configurations, for a rehearsal; None = SVD's, at full size"""
        import torch

        from lvcd.training.plan.fit_report import peak_flops

        self.folder, self.full = folder or "???", folder is None
        self.device, self.cuda = torch.device(device), device == "cuda"
        self.half = torch.float16 if self.cuda else torch.float32
        self.window = 14 if self.full else 5
        self.found: dict[str, Any] = {}
        """What is printed when the part ends, be it by an error."""
        if self.cuda:
            torch.set_float32_matmul_precision("high")  # as lvcd train
            self.found["device"] = torch.cuda.get_device_name()
            self.found["peak_flops"] = peak_flops(self.device, "bf16-mixed")

    def now(self) -> float:
        """Seconds, when the GPU has done what it was given."""
        import torch

        if self.cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    def forget(self) -> None:
        """What was in use so far: the next peak is that of what follows."""
        import torch

        gc.collect()
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def peak(self) -> dict[str, int]:
        """Bytes, the most since `forget`: of tensors, and with what the allocator kept beside them."""
        import torch

        if not self.cuda:
            return {"allocated": 0, "reserved": 0}
        return {"allocated": torch.cuda.max_memory_allocated(), "reserved": torch.cuda.max_memory_reserved()}

    def outside(self) -> int:
        """Bytes that are in use beside the allocator's: CUDA's context, kernels, and what libraries keep."""
        import torch

        if not self.cuda:
            return 0
        free, total = torch.cuda.mem_get_info()
        return total - free - torch.cuda.memory_reserved()

    def limit(self, outside: float) -> None:
        """As if the card were a smaller one, with so many bytes outside."""
        import torch

        if self.cuda:
            share = (CARD - outside) / torch.cuda.mem_get_info()[1]
            torch.cuda.set_per_process_memory_fraction(min(1.0, share))

    @contextmanager
    def made_here(self, dtype: Any) -> Iterator[None]:
        """Networks are built on the device, in that type."""
        import torch

        before = torch.get_default_dtype()
        torch.manual_seed(0)
        torch.set_default_dtype(dtype)
        try:
            with self.device:
                yield
        finally:
            torch.set_default_dtype(before)


def open_zeros(controlnet: Any) -> None:
    """As if it had been trained: a GPU is faster at zeros."""
    import torch

    for conv in (*controlnet.zero_convs, controlnet.zero_mid):
        torch.nn.init.normal_(conv.weight, std=0.01)


def painter(bench: Bench) -> Any:
    """The pipeline as `lvcd colorize` has it on a GPU."""
    from lvcd.training.plan.build import build_networks

    with bench.made_here(bench.half):
        parts = build_networks({"_target_": "lvcd.training.networks_from_folder", "folder": bench.folder})
        open_zeros(parts.controlnet)
    for network in (parts.unet, parts.controlnet, *parts.encoders):
        network.cpu()  # so that nothing of their making stays between them
    bench.forget()
    parts.settings["window"] = bench.window
    pipeline = parts.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(bench.device)


def around_steps(pipeline: Any, measure: Callable[[Callable[[], Any]], Any]) -> None:
    """Every denoising step of the pipeline becomes measure(step)."""
    own = type(pipeline)._denoiser

    def denoiser(*told: Any) -> Callable[..., Any]:
        denoise = own(pipeline, *told)
        return lambda *given: measure(lambda: denoise(*given))

    pipeline._denoiser = denoiser


def sampling(bench: Bench, width: int, height: int) -> None:
    """=> found: seconds of steps and decoding, peaks of a whole clip and of its stages, whether a card of CARD does."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    found, pipeline = bench.found, painter(bench)
    rng = torch.Generator().manual_seed(0)
    reference = torch.rand(1, 3, height, width, generator=rng) * 2 - 1
    drawing = (torch.rand(1, 1, height, width, generator=rng) < 0.05).float()
    frames = 2 * bench.window - OVERLAP
    found["frames"], found["window"], found["steps"] = frames, bench.window, STEPS
    found["weights"] = sum(
        p.nbytes for net in pipeline.components.values() if net is not None for p in net.parameters()
    )

    def clip(steps: int, decode: bool = True) -> bool:
        """Paint one; => whether all of it is finite."""
        scheme = pipeline.sampling_config(steps, OVERLAP)
        told = {"generator": torch.Generator().manual_seed(1), "reference_sketch": drawing, "decode": decode}
        pieces = pipeline.stream(reference, lambda frame: drawing, frames, scheme, **told)
        finite = [bool(piece.frames.isfinite().all()) for piece in pieces]
        return all(finite)

    laps: list[float] = []

    def timed(step: Callable[[], Any]) -> Any:
        start = bench.now()
        out = step()
        laps.append(bench.now() - start)
        return out

    around_steps(pipeline, timed)
    clip(2)  # warm-up
    laps.clear()
    bench.forget()
    start = bench.now()
    found["finite"] = clip(STEPS)
    whole = bench.now() - start
    found["peak"] = bench.peak()
    normal, back = statistics.median(laps[1:STEPS]), statistics.median(laps[STEPS + 1 :])
    found["seconds"] = {
        "normal step": normal,
        "prev-reference step": back,
        f"clip of {STEPS} steps": whole,
        f"clip of {LONG} steps, extrapolated": whole - sum(laps) + LONG * (normal + back),
    }
    found["vae"] = str(pipeline.vae.dtype).removeprefix("torch.")

    bench.forget()
    clip(1, decode=False)
    found["peak of a step"] = bench.peak()
    counts: list[int] = []

    def counted(step: Callable[[], Any]) -> Any:
        with FlopCounterMode(display=False) as counter:
            out = step()
        counts.append(counter.get_total_flops())
        return out

    around_steps(pipeline, counted)
    clip(1, decode=False)
    found["operations"] = dict(zip(("normal step", "prev-reference step"), counts))
    around_steps(pipeline, lambda step: step())

    found["decoding"] = {}
    for dtype in (pipeline.vae.dtype, torch.bfloat16, *([torch.float16] if bench.cuda else [])):
        pipeline.vae.to(dtype)
        found["decoding"][str(dtype).removeprefix("torch.")] = decoding(bench, pipeline, width, height)
    pipeline.vae.to(bench.half)

    found["outside"] = bench.outside()
    found["fits"] = found["peak"]["reserved"] + found["outside"] <= CARD
    bench.forget()
    bench.limit(found["outside"])
    try:
        found["fits when limited"] = clip(1)
    except torch.OutOfMemoryError:
        found["fits when limited"] = False


def decoding(bench: Bench, pipeline: Any, width: int, height: int) -> dict[str, Any]:
    """A window's latents to frames, in the pipeline's own chunks: seconds, and the peak."""
    import torch

    from lvcd.sampling.decode import ChunkDecoder

    factor = pipeline._vae_factor
    latents = torch.randn(
        1, 1 + bench.window, pipeline.vae.config.latent_channels, height // factor, width // factor
    ).to(bench.device)
    seconds, finite = [], True
    with torch.no_grad():
        for _ in range(2):
            bench.forget()
            start = bench.now()
            chunks = ChunkDecoder(pipeline._decode, latents[:, 0])
            frames = torch.cat([*chunks.push(latents[:, 1:]), *chunks.flush()], 1)
            seconds.append(bench.now() - start)
            finite = finite and bool(frames.isfinite().all())
            assert frames.shape[1] == latents.shape[1]
            del frames, chunks
    return {"seconds": seconds[-1], "finite": finite, "peak": bench.peak()}


def config(bench: Bench, unet: str, clips: int) -> dict[str, Any]:
    """The paper's recipe as lvcd train gets it, on one GPU, in bfloat16, from whatever shards."""
    from omegaconf import OmegaConf

    from lvcd.cli.hydra_entry import compose_config

    words = ["experiment=lvcd_320p", "trainer.precision=bf16-mixed", f"module.unet={unet}", f"data.batch_size={clips}"]
    words.append("trainer=gpu" if bench.full else "trainer=cpu")
    if not bench.full:
        words += [f"module.networks.folder={bench.folder}", "data.height=32", "data.width=48"]
        words += [f"data.sampling.window={bench.window}", "trainer.accumulate_grad_batches=2"]
    told = OmegaConf.to_container(compose_config("train", words), resolve=True)
    assert isinstance(told, dict)
    return {str(name): part for name, part in told.items()}


def plans(bench: Bench) -> None:
    """=> found: what `lvcd plan` says of each of TRAININGS."""
    from lvcd.training.plan import plan_training

    for name, which in TRAININGS.items():
        start = time.perf_counter()
        made = plan_training(config(bench, *which))
        names = ["total", "total_encoded", "persistent", "activations", "encoding", "update", "flops_per_clip"]
        names += ["forward", "backward", "recompute", "encode"]
        bench.found[name] = {n: getattr(made, n) for n in names} | {"seconds": time.perf_counter() - start}


def training(bench: Bench, unet: str, clips: int, limited: bool = False) -> None:
    """=> found: seconds and peaks of batches from latents and from pixels, by a real Trainer of the recipe's settings.

    limited: as if on a card of CARD, and from latents alone
    """
    import lightning
    import torch
    from hydra.utils import instantiate

    from lvcd.data.batch import Batch
    from lvcd.training.plan.build import build_module

    warnings.filterwarnings("ignore", module="lightning")
    found, told = bench.found, config(bench, unet, clips)
    with bench.made_here(torch.float32):
        module = build_module(told["module"])
        open_zeros(module.controlnet)
    for network in (module, *module.networks.encoders):
        network.cpu()  # where lvcd train has them when the trainer takes them
    bench.forget()
    if limited:
        bench.limit(OUTSIDE)
    module.networks.fingerprints = {}  # they would take longer than all else
    height, width, t = told["data"]["height"], told["data"]["width"], told["data"]["sampling"]["window"] + 1
    rng = torch.Generator().manual_seed(0)
    sketches = (torch.rand(clips, t, 1, height, width, generator=rng) < 0.05).float()
    frames = torch.rand(clips, t, 3, height, width, generator=rng) * 2 - 1
    vae = module.networks.vae.config
    factor = 2 ** (len(vae.block_out_channels) - 1)
    shape = (clips, t, vae.latent_channels, height // factor, width // factor)
    tokens = torch.randn(clips, 1, module.networks.image_encoder.config.projection_dim, generator=rng)
    fps = torch.full((clips,), 6.0)
    of = {
        "latents": Batch(sketches, fps, latents=torch.randn(shape, generator=rng), tokens=tokens),
        "pixels": Batch(sketches, fps, frames),
    }
    if limited:
        del of["pixels"]
    each = told["trainer"]["accumulate_grad_batches"]
    kinds = [kind for kind in of for _ in range(UPDATES * each)]
    batches = [of[kind].to(bench.device) for kind in of for _ in range(UPDATES * each)]

    class Clock(lightning.Callback):
        """Seconds of each batch from the end of the one before, and of what the optimizer takes of them."""

        def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, index: int) -> None:
            if index == 0 or kinds[index] != kinds[index - 1]:
                bench.forget()
                found[kinds[index]] = {"laps": [], "update": [], "losses": []}
            self.start = bench.now()

        def on_before_optimizer_step(self, trainer: Any, module: Any, optimizer: Any) -> None:
            self.before = bench.now()

        def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, batch: Any, index: int) -> None:
            mine, end = found[kinds[index]], bench.now()
            mine["laps"].append(end - self.start)
            mine["losses"].append(outputs["loss"].item())
            if (index + 1) % each == 0:
                mine["update"].append(end - self.before)
            mine["peak"] = bench.peak()

    told["trainer"].update(max_steps=UPDATES * len(of), limit_val_batches=0, val_check_interval=None)
    with tempfile.TemporaryDirectory() as folder:
        trainer = instantiate(
            told["trainer"], _convert_="all", logger=False, enable_checkpointing=False, callbacks=[Clock()],
            default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))  # type: ignore[arg-type]
    for kind in of:
        mine = found[kind]
        mine["seconds"] = statistics.mean(mine["laps"][each:])  # of a batch, with its share of the updates
        mine["update"] = statistics.mean(mine["update"][1:])
        mine["finite"] = all(abs(x) < float("inf") for x in mine["losses"])
    found["outside"] = bench.outside()
    found["learns"] = sum(p.numel() for p in module.parameters() if p.requires_grad)


PARTS: dict[str, Callable[[Bench], None]] = {
    "sampling 576x320": lambda bench: sampling(bench, *((576, 320) if bench.full else (48, 32))),
    "sampling 1024x576": lambda bench: sampling(bench, *((1024, 576) if bench.full else (64, 48))),
    **{
        f"training {name}": lambda bench, which=which: training(bench, *which)  # type: ignore[misc]
        for name, which in TRAININGS.items()
    },
    "training none, 1 clip, limited": lambda bench: training(bench, "none", 1, limited=True),
    "plan": plans,
}


def run_part(name: str, folder: str | None) -> None:
    """Import, wait for a line on standard input, measure, and print what was found as one line of JSON."""
    import lightning  # noqa: F401

    import lvcd.training.plan.build  # noqa: F401
    from lvcd.pipeline import silence_libraries

    silence_libraries()
    sys.stdin.readline()
    bench = Bench(folder, "cpu" if folder or name == "plan" else "cuda")
    try:
        PARTS[name](bench)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        bench.found["error"] = f"{type(error).__name__}: {reason}"
        raise
    finally:
        print(f"\n{json.dumps(bench.found)}", flush=True)


# --- all of them ------------------------------------------------------------------------------------------------------


def start(name: str, folder: str | None) -> subprocess.Popen:
    """A part that imports, and then waits."""
    words = [sys.executable, __file__, "--part", name, *(["--folder", folder] if folder else [])]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    if folder:
        environment["OMP_NUM_THREADS"] = "1"
    if name == "plan":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # or it would take some of the memory that others measure
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen(words, env=environment, text=True, **pipes)  # type: ignore[call-overload]


def result(process: subprocess.Popen, seconds: float, told: bool = False) -> dict[str, Any]:
    """What a part found, or an `error`. told: that it may begin"""
    began = time.perf_counter()
    try:
        out, err = process.communicate(None if told else "go\n", timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"error": f"not done after {seconds:.0f} s"}
    took = {"took": time.perf_counter() - began}
    try:
        return json.loads(out.splitlines()[-1]) | took
    except (IndexError, ValueError):
        said = [line for line in err.splitlines() if line.strip()]
        return {"error": said[-1] if said else f"ended with {process.returncode}"} | took


def measure(toy: bool, save: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """All parts, one after the other; the plans, for which no GPU is needed, beside them."""
    end = time.monotonic() + (1800 if toy else BUDGET)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = toy_folder(Path(name)) if toy else None
        names = [n for n in PARTS if toy or n != "plan"]
        planning = waiting = None
        if not toy:
            planning = start("plan", folder)
            assert planning.stdin is not None
            planning.stdin.write("go\n")
            planning.stdin.flush()
        for i, part in enumerate(names):
            process = waiting or start(part, folder)
            waiting = start(names[i + 1], folder) if not toy and i + 1 < len(names) else None
            left = end - time.monotonic()
            found[part] = result(process, max(1.0, min(left, 900.0 if toy else PART)))
            print(f"{part}: {found[part].get('error') or 'done'}, {found[part].get('took', 0):.0f} s", flush=True)
            save(found)
        if planning is not None:
            found["plan"] = result(planning, max(5.0, end - time.monotonic()), told=True)
    for part in found:
        add_utilization(part, found)
    save(found)
    return found


def toy_folder(folder: Path) -> str:
    for name, told in TOY.items():
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(told))
    unet = {n: v for n, v in TOY["unet"].items() if n != "up_block_types"}
    (folder / "controlnet" / "config.json").write_text(json.dumps(unet | TOY["controlnet"]))
    return str(folder)


def add_utilization(part: str, found: dict[str, Any]) -> None:
    """Share of the card's peak in half precision, if that is known: `mfu` of training, by the plan's operations
    without what checkpointing computes twice; `utilization` of denoising steps."""
    mine = found[part]
    most = mine.get("peak_flops")
    if most and "operations" in mine:
        times = mine["seconds"]
        mine["utilization"] = {n: flops / times[n] / most for n, flops in mine["operations"].items()}
    planned = found.get("plan", {}).get(part.removeprefix("training ").removesuffix(", limited"))
    for kind in ("latents", "pixels"):
        if kind in mine and "seconds" in mine[kind] and planned and part.startswith("training"):
            clips = TRAININGS[part.removeprefix("training ").removesuffix(", limited")][1]
            mine[kind]["mfu"] = planned["flops_per_clip"] * clips / mine[kind]["seconds"] / most if most else None
            mine[kind]["planned"] = planned["total" if kind == "pixels" else "total_encoded"]


def report(found: dict[str, Any]) -> str:
    """A short table. GB are 1e9 bytes."""
    lines = [f"{next((p['device'] for p in found.values() if 'device' in p), 'CPU, toy sizes')}, GB = 1e9 bytes", ""]
    for part, mine in found.items():
        lines.append(f"{part}{': ' + mine['error'] if 'error' in mine else ''}")
        if "seconds" in mine:
            lines += _of_sampling(mine)
        for kind in ("latents", "pixels"):
            if "seconds" in mine.get(kind, {}):
                lines.append(_of_training(kind, mine[kind]))
    return "\n".join(lines)


def _gb(peak: dict[str, int]) -> str:
    return f"{peak['allocated'] / 1e9:.2f} GB, {peak['reserved'] / 1e9:.2f} reserved"


def _of_sampling(mine: dict[str, Any]) -> list[str]:
    share = mine.get("utilization", {})
    lines = [
        f"  {name:<34} {seconds:8.3f} s{f'  {share[name]:.0%} of the peak' if name in share else ''}"
        for name, seconds in mine["seconds"].items()
    ]
    lines.append(f"  {'peak of the clip':<34} {_gb(mine['peak'])}; all finite: {mine['finite']}")
    if "peak of a step" in mine:
        lines.append(f"  {'peak of its denoising':<34} {_gb(mine['peak of a step'])}")
    for dtype, decoded in mine.get("decoding", {}).items():
        used = ", the pipeline's own" if dtype == mine["vae"] else ""
        name = f"{mine['window']} frames decoded in {dtype}"
        lines.append(
            f"  {name:<34} {decoded['seconds']:8.3f} s  {_gb(decoded['peak'])}; finite: {decoded['finite']}{used}"
        )
    if "fits" in mine:
        beside = f"with {mine['outside'] / 1e9:.2f} GB outside of the allocator"
        limited = mine.get("fits when limited")
        lines.append(f"  a card of {CARD / 1e9:.0f} GB {beside}: fits: {mine['fits']}, when limited to it: {limited}")
    return lines


def _of_training(kind: str, mine: dict[str, Any]) -> str:
    planned = f", planned {mine['planned'] / 1e9:.2f}" if "planned" in mine else ""
    mfu = f", MFU {mine['mfu']:.1%}" if mine.get("mfu") else ""
    return (
        f"  from {kind:<8} {mine['seconds']:7.3f} s a batch, update {mine['update']:.3f} s{mfu}; "
        f"{_gb(mine['peak'])}{planned}; finite: {mine['finite']}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON of all numbers, written anew after each part")
    parser.add_argument("--toy", action="store_true", help="small networks on the CPU, to try the script")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    a = parser.parse_args()
    if a.part:
        run_part(a.part, a.folder)
        return

    def save(found: dict[str, Any]) -> None:
        if a.out:
            a.out.write_text(json.dumps(found, indent=1))

    print(f"\n{report(measure(a.toy, save))}")


if __name__ == "__main__":
    main()
