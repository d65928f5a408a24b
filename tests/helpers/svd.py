"""Stable Video Diffusion in small, with random weights, in the forms that people have it in."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from lvcd.checkpoints.component import Component, config_of
from lvcd.checkpoints.files import write_safetensors
from lvcd.checkpoints.loading import load_components

FOLDER_FORMS = {
    "whole": {},
    "sharded": {"max_shard_size": "400KB"},
    "fp16": {"variant": "fp16"},
    "fp16_sharded": {"variant": "fp16", "max_shard_size": "200KB"},
}
"""Form -> how diffusers saves it."""
FORMS = (*FOLDER_FORMS, "file")


def tiny_svd() -> StableVideoDiffusionPipeline:
    """Return SVD's own pipeline with tiny networks; heads have 64 channels, as SVD's have."""
    torch.manual_seed(0)
    unet = UNetSpatioTemporalConditionModel(
        block_out_channels=(64, 64),
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        layers_per_block=1,
        num_attention_heads=1,
        cross_attention_dim=16,
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24,
        num_frames=14,
    )
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, layers_per_block=1
    )
    with torch.no_grad():  # SVD's first stage has none: the identity
        vae.quant_conv.weight.copy_(torch.eye(8)[:, :, None, None])
        vae.quant_conv.bias.zero_()
    clip = CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=64,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=1,
            image_size=28,
            patch_size=14,
            projection_dim=16,
            hidden_act="gelu",
        )
    )
    return StableVideoDiffusionPipeline(vae, clip, unet, EulerDiscreteScheduler(), CLIPImageProcessor())


def save_svd(form: str, path: Path) -> Path:
    """Save the same weights in a form, float32, or float16 where the form is fp16 => `path`."""
    if form != "file":
        pipeline = tiny_svd()
        pipeline = pipeline.to(torch.float16) if "fp16" in form else pipeline
        pipeline.save_pretrained(path, safe_serialization=True, **FOLDER_FORMS[form])
        return path
    folder = save_svd("whole", path.with_suffix(".folder"))
    parts = load_components(folder, ("unet", "vae", "image_encoder")).parts
    vae, tensors = parts["vae"]
    encoder = Component.from_config("condition_encoder", config_of(vae.model), folder)
    parts["condition_encoder"] = encoder, {name: tensors[name] for name in encoder.names}
    original = [component.to_original(tensors) for component, tensors in parts.values()]
    write_safetensors({k: v for part in original for k, v in part.items()}, path)
    return path
