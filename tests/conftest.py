"""Shared fixtures: the recording of the original, unpacked; a toy pipeline of real classes."""

from __future__ import annotations

import lzma
import os
import runpy
import shutil
import signal
import sys
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell starts its background jobs so, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

import torch

torch.set_num_threads(1)  # the suite runs on several processes

GOLDEN = Path(__file__).parent / "data" / "golden" / "A"


@pytest.fixture(scope="session")
def golden(tmp_path_factory) -> Path:
    """The recording as `tools/parity.py` takes it."""
    folder = tmp_path_factory.mktemp("golden")
    for file in GOLDEN.iterdir():
        if file.suffix == ".xz":
            (folder / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, folder)
    return folder


def toy_pipeline(window: int = 5, seed: int = 0):
    """A pipeline of the real classes with random weights, small enough for tests: 16 px multiples, 4 px latents."""
    from diffusers import AutoencoderKLTemporalDecoder
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    from lvcd.nn.controlnet import SketchControlNet
    from lvcd.nn.unet import ColorUNet
    from lvcd.pipeline import LineartVideoPipeline

    torch.manual_seed(seed)
    unet = ColorUNet(
        block_out_channels=(32, 32, 64),
        down_block_types=(*["CrossAttnDownBlockSpatioTemporal"] * 2, "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", *["CrossAttnUpBlockSpatioTemporal"] * 2),
        layers_per_block=1,
        num_attention_heads=2,
        cross_attention_dim=16,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
    )
    controlnet = SketchControlNet.from_unet(unet, stem_widths=(8, 16, 16))
    for conv in (*controlnet.zero_convs, controlnet.zero_mid):  # as if it had been trained
        torch.nn.init.normal_(conv.weight, std=0.1)
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32, 32), down_block_types=("DownEncoderBlock2D",) * 3, layers_per_block=1
    )
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=32,
            patch_size=8,
            projection_dim=16,
        )
    )
    pipeline = LineartVideoPipeline(unet, controlnet, vae, clip, window=window, steps=2, sigma_max=80.0)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="session")
def pipeline():
    return toy_pipeline()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """The toy pipeline as `--model` takes it."""
    folder = tmp_path_factory.mktemp("model")
    toy_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture
def typed(monkeypatch):
    """typed("eval.py", "steps=3", ...): a script of the root with these words, in this process => exit code."""
    root = Path(__file__).parents[1]

    def run(program: str, *words: object) -> int:
        monkeypatch.setattr(sys, "argv", [str(root / program), *map(str, words)])
        monkeypatch.chdir(root)
        try:
            runpy.run_path(str(root / program), run_name="__main__")
        except SystemExit as stop:
            return int(stop.code or 0)
        return 0

    return run


@pytest.fixture
def keyless(tmp_path, monkeypatch) -> None:
    """W&B finds no key, and works offline."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")  # so that what is set in the test is forgotten
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
