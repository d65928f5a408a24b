"""`lvcd convert`: released checkpoints to a model folder, or back."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "turn the released checkpoints into a model folder, or back"


def arguments(c: argparse.ArgumentParser) -> None:
    """Add the options."""
    c.add_argument("--svd", type=Path, help="svd.safetensors, or a diffusers-style SVD folder")
    c.add_argument("--lvcd", type=Path, help="lvcd.ckpt")
    c.add_argument("--out", required=True, type=Path, help="folder of the model")
    c.add_argument("--to-original", action="store_true", help="convert back: read --out, write --svd and --lvcd")
    c.add_argument("--head-channels", type=int, default=64, help="channels of an attention head (default: 64, SVD's)")
    c.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="default: as in the files")


def run(a: argparse.Namespace) -> None:
    """Convert. InputError: a file or folder cannot be used."""
    import torch

    from lvcd.checkpoints.convert import to_diffusers, to_original

    if not (a.svd and a.lvcd):
        raise InputError("give both --svd and --lvcd")
    if a.to_original:
        to_original(a.out, a.svd, a.lvcd)
        return
    to_diffusers(a.svd, a.lvcd, a.out, a.head_channels, getattr(torch, a.dtype) if a.dtype else None)
