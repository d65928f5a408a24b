"""The condition of a network call: the reference's CLIP embedding, its latent, and three numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook  # offloading moves weights for such methods, too
from torch import Tensor, nn

if TYPE_CHECKING:
    from transformers import CLIPVisionModelWithProjection

    from .vae import VideoVAE

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
"""Mean and standard deviation of RGB in [0, 1] that CLIP was trained with (OpenAI, 2021)."""

CONDITION_FPS, MOTION_BUCKET, COND_AUG = 6.0, 160.0, 0.0
"""The numbers that LVCD was trained with and is sampled with, whatever the clip (method, section 2)."""

ENCODER_BATCH_PIXELS = 2**20
"""Pixels of all frames that are encoded at once: SVD's encoder holds 2.6 kB for each, more than training does."""


@dataclass
class Condition:
    """The condition of b clips of t frames each."""

    token: Tensor
    """(b 1 d) CLIP embedding of the reference."""
    latent: Tensor
    """(b t c h w) joined on channels with the noisy latents; VAE mode of the reference, NOT times the scale factor."""
    added_time_ids: Tensor
    """(b 3) fps, motion bucket, conditioning noise."""

    def unconditional(self) -> Condition:
        """Return the condition without token and latent, for classifier-free guidance (SVD's ucg)."""
        return Condition(torch.zeros_like(self.token), torch.zeros_like(self.latent), self.added_time_ids)

    def unconditional_where(self, which: Tensor) -> Condition:
        """Return the condition with token and latent dropped for some clips: which (b) bool, True where dropped."""
        keep = (~which).to(self.token)
        return Condition(keep.view(-1, 1, 1) * self.token, keep.view(-1, 1, 1, 1, 1) * self.latent, self.added_time_ids)

    def reference_only_where(self, which: Tensor) -> Condition:
        """Return the condition with the latent given to frame 0 only, the reference, for some clips: which (b) bool.

        Their video frames get zeros, so that color must come through reference attention.
        """
        keep = torch.ones_like(self.latent[:, :, :1, :1, :1])
        keep[which, 1:] = 0
        return Condition(self.token, keep * self.latent, self.added_time_ids)


def added_time_ids(
    batch: int,
    device=None,
    fps: float = CONDITION_FPS,
    motion_bucket: float = MOTION_BUCKET,
    cond_aug: float = COND_AUG,
) -> Tensor:
    """Return the three numbers of each of b clips => (b 3) float32."""
    return torch.tensor([[fps, motion_bucket, cond_aug]], device=device).repeat(batch, 1)


class LatentEncoder(ModelMixin, ConfigMixin):
    """A VAE's encoder alone. The original has one for the condition, apart from its autoencoder."""

    @register_to_config
    def __init__(
        self,
        in_channels: int = 3,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (128, 256, 512, 512),
        layers_per_block: int = 2,
    ):
        super().__init__()
        self.encoder = Encoder(
            in_channels,
            latent_channels,
            ("DownEncoderBlock2D",) * len(block_out_channels),
            tuple(block_out_channels),
            layers_per_block,
        )
        self.quant_conv = nn.Conv2d(2 * latent_channels, 2 * latent_channels, 1)


@apply_forward_hook
def encode_mode(vae: VideoVAE | LatentEncoder, images: Tensor) -> Tensor:
    """Encode images (n 3 H W) in [-1, 1] => the posterior's mean (n c h w), not scaled. A few are encoded at once."""
    parts = images.split(max(1, ENCODER_BATCH_PIXELS // images[0, 0].numel()))
    return torch.cat([vae.quant_conv(vae.encoder(part)).chunk(2, dim=1)[0] for part in parts])


def clip_token(image_encoder: CLIPVisionModelWithProjection, images: Tensor) -> Tensor:
    """Embed images (n 3 H W) in [-1, 1] with CLIP => (n 1 d).

    They are resized as in the original: bicubic with antialiasing to the encoder's square, whatever the aspect.
    """
    import kornia.geometry

    size = image_encoder.config.image_size
    small = kornia.geometry.resize(images.float(), (size, size), "bicubic", align_corners=True, antialias=True)
    mean, std = (small.new_tensor(x).view(1, 3, 1, 1) for x in (CLIP_MEAN, CLIP_STD))
    pixels = ((small + 1) / 2 - mean) / std
    return image_encoder(pixels.to(images.dtype)).image_embeds.unsqueeze(1)
