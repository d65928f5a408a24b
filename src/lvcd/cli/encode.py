"""`lvcd encode`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from lvcd.errors import InputError
from lvcd.system import DEVICES, choose_device
from lvcd.weights import model_folder

HELP = "add latents and image embeddings to shards, for training at one size"


def arguments(c: argparse.ArgumentParser) -> None:
    c.add_argument("shards", type=Path, metavar="SHARDS", help="folder that lvcd prepare made")
    c.add_argument("--model", required=True, type=model_folder,
                   help="folder of the model whose VAE and image encoder are used, or mini (bundled)")  # fmt: skip
    c.add_argument("--stage", required=True, help="320p (576x320), 576p (1024x576), or WIDTHxHEIGHT")
    c.add_argument("--device", default="auto", help=DEVICES)
    c.add_argument("--batch", type=int, default=8, help="frames encoded at once (default: 8)")


def run(a: argparse.Namespace) -> None:
    from lvcd.data.resolutions import stage_size

    stage = stage_size(a.stage)
    if a.batch < 1:
        raise InputError(f"--batch {a.batch}: at least 1 frame is needed")

    from lvcd.prepare.encode import Encoders, encode

    start = time.monotonic()
    encoders = Encoders.load(a.model, stage, choose_device(a.device), a.batch)
    try:
        done = encode(a.shards, encoders)
    except KeyboardInterrupt:
        print("the same command goes on where this one stopped", file=sys.stderr)
        raise
    reused = f" ({done.reused} shards were there already)" if done.reused else ""
    seconds = time.monotonic() - start
    print(f"{done.folder}: {done.clips} clips, {done.frames} frames encoded in {seconds:.0f} s{reused}; "
          f"{done.megabytes:.1f} MB in all")  # fmt: skip
    if done.unreadable:
        print(f"{done.unreadable} clips of {a.shards} cannot be read: prepare them again, then encode again",
              file=sys.stderr)  # fmt: skip
