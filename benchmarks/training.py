"""Training: Lightning and all that is around a step against a plain loop of the same steps; what gradient checkpointing
costs and saves; how long a step waits for its batch. One thread; ratios within one run.

    python -m benchmarks.training [--toy]    --toy: small networks, to try the script
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import torch
from hydra.utils import instantiate

from benchmarks.painting import forget_peak, resident
from lvcd.data.batch import Batch
from tests.helpers.configs import composed
from tests.helpers.paths import ROOT

TOY = "--toy" in sys.argv
STEPS, REPEATS = (2, 1) if TOY else (4, 3)
SIZE, FRAMES, CLIPS = (8, 8) if TOY else (24, 40), 5, 1  # of latents
CHANNELS = (32, 32, 64) if TOY else (128, 128, 192)


def config(*words: str) -> Any:
    return composed("train", "experiment=mini_cpu", *words)


def middle(checkpointing: bool = False) -> Any:
    """Return the mini model with layers of CHANNELS."""
    wider = [
        f"module.networks.unet.block_out_channels={list(CHANNELS)}",
        f"module.networks.unet.num_attention_heads={[width // 32 for width in CHANNELS]}",
    ]
    told = config(*wider, f"module.gradient_checkpointing={checkpointing}")
    return instantiate(told.module, _convert_="all").train()


def batch() -> Batch:
    h, w = SIZE
    latents = torch.randn(CLIPS, FRAMES, 8, h, w)
    sketches, tokens = torch.rand(CLIPS, FRAMES, 1, 4 * h, 4 * w), torch.randn(CLIPS, 1, 64)
    return Batch(sketches, torch.full((CLIPS,), 6.0), latents=latents, tokens=tokens)


def plain(module: Any, steps: int) -> float:
    """Seconds of a step, without Lightning."""
    learning = [p for p in module.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, 1e-4)
    data = batch()
    times = []
    for step in range(steps + 1):
        start = time.perf_counter()
        module.losses(data, [step])[0].mean().backward()
        torch.nn.utils.clip_grad_norm_(learning, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return min(times[1:])  # the first makes the optimizer's state


def ours(module: Any, steps: int, folder: str) -> float:
    """Seconds of a step as lvcd train takes it: from the end of one to the end of the next."""
    ends: list[float] = []

    class Clock(lightning.Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            ends.append(time.perf_counter())

    told = config(f"run_dir={folder}", f"trainer.max_steps={steps + 1}", "trainer.precision=32-true", "callbacks=paint",
                  "callbacks.scores=null", "callbacks.samples=null", "trainer.limit_val_batches=0")  # fmt: skip
    told.callbacks.checkpoint.monitor = None
    callbacks = [instantiate(callback) for callback in told.callbacks.values() if callback]
    loggers = [instantiate(logger) for logger in told.logger.values()]
    trainer = instantiate(told.trainer, logger=loggers, callbacks=[*callbacks, Clock()])
    module._trainer = None
    trainer.fit(module, torch.utils.data.DataLoader([batch()] * (steps + 1), batch_size=None))  # type: ignore[arg-type]
    return min(b - a for a, b in zip(ends, ends[1:]))


def overhead() -> dict[str, float]:
    torch.set_num_threads(1)
    module, found = middle(), {"plain": float("inf"), "ours": float("inf")}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(REPEATS):
            found["plain"] = min(found["plain"], plain(module, STEPS))
            found["ours"] = min(found["ours"], ours(module, STEPS, f"{folder}/{turn}"))
    count = sum(p.numel() for p in module.parameters())
    return found | {"ratio": found["ours"] / found["plain"], "parameters": count}


def checkpointing(state: str) -> dict[str, float]:
    """on or off, in a process of its own: seconds of forward and backward, and MB above weights and gradients."""
    torch.set_num_threads(1)
    module, data = middle(state == "on"), batch()
    for p in module.parameters():
        p.grad = torch.zeros_like(p) if p.requires_grad else None
    before, seconds = forget_peak(), []
    for step in range(STEPS):
        start = time.perf_counter()
        module.losses(data, [step])[0].mean().backward()
        seconds.append(time.perf_counter() - start)
    return {"seconds": min(seconds), "MB": resident("VmHWM") - before}


def waiting() -> float:
    """Share of the time that the mini model waits for clips of shards, augmented, read by one process."""
    from lvcd.cli.train import train

    with tempfile.TemporaryDirectory() as folder:
        alone = ["callbacks.scores=null", "callbacks.samples=null", "callbacks.checkpoint=null"]
        short = [
            f"trainer.max_steps={6 if TOY else 24}",
            "trainer.limit_val_batches=0",
            f"trainer.log_every_n_steps={2 if TOY else 8}",
        ]
        train(config(f"run_dir={folder}", *alone, *short))
        with Path(folder, "csv", "version_0", "metrics.csv").open() as file:
            shares = [float(row["speed/wait"]) for row in csv.DictReader(file) if row.get("speed/wait")]
    return sum(shares[1:]) / len(shares[1:])  # the first has the start of the reader


def report() -> None:
    found = {name: measure(*name.split()) for name in ("overhead", "checkpointing off", "checkpointing on", "waiting")}
    times, off, on = (found[name] for name in ("overhead", "checkpointing off", "checkpointing on"))
    print(
        f"a training step, {times['parameters'] / 1e6:.1f} M parameters, 5 frames of 160x96 px as latents, one thread"
    )
    print(
        f"  lvcd train {times['ours']:.2f} s, a plain loop {times['plain']:.2f} s: x {times['ratio']:.2f} (target 1.05)"
    )
    time_ratio, memory_ratio = on["seconds"] / off["seconds"], on["MB"] / off["MB"]
    print(f"  gradient checkpointing: time x {time_ratio:.2f}, memory x {memory_ratio:.2f} (of {off['MB']:.0f} MB)")
    print(f"  experiment=mini_cpu waits {found['waiting']:.1%} of its time for clips (target 3 %)")


def measure(*what: str) -> Any:
    """Return what one of the above finds in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", *what, *(["--toy"] if TOY else [])]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, cwd=ROOT)
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", help="overhead, checkpointing on|off, or waiting; nothing: all")
    parser.add_argument("--toy", action="store_true", help="small networks, to try the script")
    what = parser.parse_args().what
    if what:
        measures: dict[str, Callable[..., Any]] = {
            "overhead": overhead, "checkpointing": checkpointing, "waiting": waiting,
        }  # fmt: skip
        print(json.dumps(measures[what[0]](*what[1:])))
    else:
        report()
