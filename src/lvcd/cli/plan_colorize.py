"""`lvcd plan colorize`: the memory and the work of painting, before it starts."""

from __future__ import annotations

import argparse

from .colorize import picture_size

HELP = "`lvcd plan colorize`: estimate the memory and work of painting, and with which options it fits which GPUs"


def arguments(c: argparse.ArgumentParser) -> None:
    c.description = "Memory and work of lvcd colorize on a GPU, without a GPU and without weights."
    c.add_argument("--model", metavar="DIR",
                   help="a model folder, or the name of a bundled one (default: networks of SVD's size)")  # fmt: skip
    c.add_argument("--size", type=picture_size, default=(320, 576), metavar="WxH", help="px (default: 576x320)")
    c.add_argument("--frames", type=int, default=24, help="of the clip (default: 24)")
    c.add_argument("--references", type=int, default=1, help="keys, sheets and the reference together (default: 1)")
    c.add_argument("--overlap", type=int, default=4, help="frames that segments share (default: 4)")
    c.add_argument("--steps", type=int, help="denoising steps (default: the model's own)")
    c.add_argument("--dtype", choices=("float16", "bfloat16", "float32"), default="float16", help="(default: float16)")
    c.add_argument("--card", help="24, '24 GiB', 'RTX 4090', A6000, H100, ... (default: 8, 12, 16 and 24 GiB)")


def run(a: argparse.Namespace) -> None:
    import torch

    from lvcd.pipeline import silence_libraries
    from lvcd.training.plan.fit_report import parse_card
    from lvcd.training.plan.painting_plan import USUAL_GIB, PaintingSettings, format_painting, plan_painting

    cards = parse_card(a.card) if a.card else [(f"{size} GiB", float(size)) for size in USUAL_GIB]
    silence_libraries()
    settings = PaintingSettings(a.size, a.frames, a.overlap, a.references, a.steps, getattr(torch, a.dtype))
    print(format_painting(plan_painting(a.model, settings), cards))
