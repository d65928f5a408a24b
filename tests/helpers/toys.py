"""Networks of the real classes with random weights, small enough for tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.nn.controlnet import SketchControlNet
from lvcd.nn.unet import ColorUNet
from lvcd.pipeline import LineartVideoPipeline
from lvcd.training import FineTuneModule, networks_from_folder
from lvcd.training.checkpoint import AtomicCheckpointIO
from lvcd.training.networks import Networks


def toy_pipeline(window: int = 5, seed: int = 0) -> LineartVideoPipeline:
    """Return a pipeline whose frames have sides of multiples of 16 px, and latents of 4 px."""
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


def toy_networks(seed: int = 0) -> Networks:
    """Return the networks of such a pipeline, with a window of 3 frames, as training takes them."""
    p = toy_pipeline(window=3, seed=seed)
    return Networks(p.unet, p.controlnet, p.vae, p.image_encoder, settings={"window": 3})


def write_run(folder: Path, model: Path) -> None:
    """Write a run's folder, as far as export reads it: whole weights of the model's networks."""
    module = FineTuneModule(networks_from_folder(model))
    checkpoint = {"state_dict": dict(module.state_dict())}
    module.on_save_checkpoint(checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder / "checkpoints" / "best.ckpt")
    (folder / ".hydra").mkdir()
    networks = {"_target_": "lvcd.training.networks_from_folder", "folder": str(model)}
    config = {"module": {"_target_": "lvcd.training.FineTuneModule", "networks": networks}}
    (folder / ".hydra" / "config.yaml").write_text(json.dumps(config))
