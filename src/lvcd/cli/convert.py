"""`lvcd convert`: released checkpoints to a model folder, or back."""

from __future__ import annotations

import argparse
from pathlib import Path

from lvcd.errors import InputError

HELP = "turn the released checkpoints into a model folder, or back"


def arguments(c: argparse.ArgumentParser) -> None:
    """Add the options."""
    c.add_argument("--svd", help="SVD: svd.safetensors, its folder, or its hub id")
    c.add_argument("--lvcd", type=Path, help="lvcd.ckpt (default: a folder to train from, of SVD alone)")
    c.add_argument("--out", required=True, type=Path, help="folder of the model")
    c.add_argument("--to-original", action="store_true", help="convert back: read --out, write --svd and --lvcd")
    c.add_argument("--head-channels", type=int, default=64, help="channels of an attention head (default: 64, SVD's)")
    c.add_argument("--ignore", action="append", default=[], metavar="NAME",
                   help="leave out an unknown tensor, or, where NAME ends in a dot, all that begin so")  # fmt: skip
    c.add_argument("--dtype", choices=("float32", "float16", "bfloat16"), help="default: as in the files")


def run(a: argparse.Namespace) -> None:
    """Convert. InputError: a file or folder cannot be used."""
    import torch

    from lvcd.checkpoints.convert import to_diffusers, to_original
    from lvcd.checkpoints.hub import find_model

    if not a.svd:
        raise InputError("give --svd: SVD's file, its folder or its hub id")
    if a.to_original:
        if not a.lvcd:
            raise InputError("give both --svd and --lvcd, which are written")
        to_original(a.out, Path(a.svd), a.lvcd)
        return
    to_diffusers(
        find_model(a.svd), a.lvcd, a.out, a.head_channels, getattr(torch, a.dtype) if a.dtype else None, ignore=a.ignore
    )
