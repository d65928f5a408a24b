"""Timings and memory, as ratios within one run: `make bench`.

    python -m benchmarks.painting          the denoising step, `lvcd colorize`, and the benchmarks beside this one
    python -m benchmarks.painting --toy    small sizes and no other benchmark: whether this script works

Each measurement runs in a process of its own, on one thread, so that its peak memory is its own.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOY = "--toy" in sys.argv
REPEATS = 1 if TOY else 5
SHORT, LONG = ("4", "8") if TOY else ("60", "1000")
"""Sketches of the two clips whose peak memory is compared."""
ROOT = Path(__file__).parents[1]


def resident(what: str) -> float:
    """This process's memory, MB: what = "VmRSS" is now, "VmHWM" the highest since `forget_peak`."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith(what)).split()[1]) / 1024


def forget_peak() -> float:
    """=> memory now, MB."""
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def step(which: str) -> dict[str, dict[str, float]]:
    """A denoising step of 19 frames at 24x40 latents (model_channels 64, 1 2 4 4), the two modes in turn: seconds, and
    MB above what was there before."""
    import torch

    from lvcd.frames import FrameLayout
    from lvcd.nn.condition import Condition, added_time_ids
    from lvcd.nn.controlnet import SketchControlNet
    from lvcd.nn.network import conditioned_network
    from lvcd.nn.unet import ColorUNet
    from tests.helpers import oracles

    torch.set_num_threads(1)
    torch.manual_seed(0)
    unet = ColorUNet(block_out_channels=(64, 128, 256, 256), num_attention_heads=(1, 2, 4, 4)).eval()
    controlnet = SketchControlNet.from_unet(unet).eval()
    for conv in (*controlnet.zero_convs, controlnet.zero_mid):
        torch.nn.init.normal_(conv.weight, std=0.1)
    if which == "dense":
        oracles.densify(unet)
        oracles.densify(controlnet)
    window, overlap, h, w = (3, 1, 8, 8) if TOY else (14, 4, 24, 40)
    t = 1 + overlap + window
    layouts = {
        "normal": FrameLayout.referenced(window, 1 + overlap),
        "prev-reference": FrameLayout.prev_referenced(window, overlap),
    }
    condition = Condition(torch.randn(1, 1, 1024), torch.randn(1, t, 4, h, w), added_time_ids(1))
    sketches, x, c_noise = torch.rand(1, t, 1, 8 * h, 8 * w), torch.randn(1, t, 4, h, w), torch.tensor([0.3])
    results = {mode: {"seconds": float("inf"), "MB": 0.0} for mode in layouts}
    with torch.no_grad():
        bound = conditioned_network(unet, controlnet, condition, sketches, embed_once=True) if which == "ours" else None
        for _ in range(REPEATS):
            for mode, layout in layouts.items():
                before, start = forget_peak(), time.perf_counter()
                out = (bound or conditioned_network(unet, controlnet, condition, sketches))(x, c_noise, layout)
                r = results[mode]
                r["seconds"] = min(r["seconds"], time.perf_counter() - start)
                r["MB"] = max(r["MB"], resident("VmHWM") - before)
                r["check"] = out.double().abs().sum().item()
                r["parameters"] = sum(p.numel() for net in (unet, controlnet) for p in net.parameters())
    return results


def clip(frames: str) -> dict[str, float]:
    """`lvcd colorize` on so many sketches: peak MB of the process, and above what loading the libraries took."""
    import numpy as np
    import torch

    from lvcd.cli import main
    from lvcd.data.cartoons import draw
    from lvcd.io.images import write_png
    from lvcd.lineart.sketch import png_from_ink
    from tests.helpers.toys import toy_pipeline

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        toy_pipeline(window=14).save_pretrained(folder / "model")
        (folder / "sketches").mkdir()
        drawn = draw(0, 60, 64, 96)
        for i in range(int(frames)):
            write_png(folder / "sketches" / f"{i}.png", np.repeat(png_from_ink(drawn.lines[i % 60, ..., None]), 3, -1))
        write_png(folder / "reference.png", drawn.frames[0])
        before = forget_peak()
        arguments = ["--model", "model", "--sketches", "sketches", "--reference", "reference.png", "--output", "out"]
        os.chdir(folder)
        assert main(["colorize", "--steps", "2", "--device", "cpu", *arguments]) == 0
        assert len(list((folder / "out").iterdir())) == int(frames)
        return {"MB": resident("VmHWM"), "above": resident("VmHWM") - before}


def measure(*what: str) -> dict:
    """Run one of the above in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.painting", *what, *(["--toy"] if TOY else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=environment, cwd=ROOT
    )
    return json.loads(done.stdout.splitlines()[-1])


def report() -> None:
    size = "toy sizes" if TOY else "19 frames, 24x40 latents"
    print(f"one denoising step, {size}, one thread, best of {REPEATS}")
    ours, dense = measure("step", "ours"), measure("step", "dense")
    print(f"  {ours['normal']['parameters'] / 1e6:.1f} M parameters, ControlNet included")
    for mode, mine in ours.items():
        other = dense[mode]
        time_ratio, memory_ratio = mine["seconds"] / other["seconds"], mine["MB"] / other["MB"]
        print(f"  {mode}: {mine['seconds']:.2f} s, {mine['MB']:.0f} MB")
        print(f"    dense oracle: {other['seconds']:.2f} s, {other['MB']:.0f} MB")
        print(f"    time x {time_ratio:.2f} (target 0.85), memory x {memory_ratio:.2f}")
        print(f"    sums of the outputs differ by {abs(mine['check'] / other['check'] - 1):.0e}")
    ratio = ours["prev-reference"]["seconds"] / ours["normal"]["seconds"]
    print(f"  prev-reference against normal: x {ratio:.2f} (target 1.03)")
    short, long = measure("clip", SHORT), measure("clip", LONG)
    print("lvcd colorize, toy model, 64x96, peak memory (and above that of a loaded process)")
    for name, run in ((SHORT, short), (LONG, long)):
        print(f"  {name:>4} sketches {run['MB']:.0f} MB ({run['above']:.0f} MB)")
    print(f"  {LONG} against {SHORT}: x {long['MB'] / short['MB']:.3f} (target 1.10)")


def others() -> None:
    """The benchmarks of data, metrics and training, each a program of its own."""
    for name in ("prepare", "stream", "metrics", "training", "flats"):
        print(flush=True)
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True, cwd=ROOT)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="step ours|dense, or clip FRAMES; nothing: all")
    parser.add_argument("--toy", action="store_true", help="small sizes, to try the script")
    what = parser.parse_args().what
    if not what:
        report()
        if not TOY:
            others()
    else:
        print(json.dumps({"step": step, "clip": clip}[what[0]](*what[1:])))
