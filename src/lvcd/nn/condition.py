"""What the networks are told besides the noisy frames: the reference, in three forms, and a few numbers."""

from __future__ import annotations

from dataclasses import dataclass

import kornia.geometry
import torch
from diffusers import AutoencoderKLTemporalDecoder
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import Encoder
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn
from transformers import CLIPVisionModelWithProjection

# Mean and standard deviation that CLIP was trained with (OpenAI, 2021).
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

FPS, MOTION_BUCKET, COND_AUG = 6.0, 160.0, 0.0
"""What LVCD was trained with and is sampled with (method, section 2)."""

ENCODED = 2**20
"""Pixels of all frames that are encoded at once: SVD's encoder holds 2.6 kB for each, more than training does."""


@dataclass
class Condition:
    """All that a network call needs to know of a clip."""

    token: Tensor
    """(b 1 d) CLIP embedding of the reference."""
    latent: Tensor
    """(b t c h w) joined on channels with the noisy latents; VAE mode of the reference, NOT times the scale factor."""
    numbers: Tensor
    """(b 3) fps, motion bucket, conditioning noise."""

    def dropped(self) -> Condition:
        """The unconditional twin for guidance: no token, no latent (SVD's ucg)."""
        return Condition(torch.zeros_like(self.token), torch.zeros_like(self.latent), self.numbers)

    def dropped_where(self, which: Tensor) -> Condition:
        """The unconditional twin for some clips only: which (b) bool."""
        keep = (~which).to(self.token)
        return Condition(keep.view(-1, 1, 1) * self.token, keep.view(-1, 1, 1, 1, 1) * self.latent, self.numbers)

    def at_reference_where(self, which: Tensor) -> Condition:
        """For some clips, which (b) bool, the latent only beside frame 0, the reference itself, and zeros beside the
        video: then no color is to be had but through reference attention."""
        keep = torch.ones_like(self.latent[:, :, :1, :1, :1])
        keep[which, 1:] = 0
        return Condition(self.token, keep * self.latent, self.numbers)


def numbers(batch: int, device=None, fps: float = FPS, bucket: float = MOTION_BUCKET, aug: float = COND_AUG) -> Tensor:
    """=> (b 3) float32."""
    return torch.tensor([[fps, bucket, aug]], device=device).repeat(batch, 1)


class LatentEncoder(ModelMixin, ConfigMixin):
    """A VAE's encoder alone. The original conditions on one of its own, apart from its autoencoder's."""

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


def encode_mode(vae: AutoencoderKLTemporalDecoder | LatentEncoder, images: Tensor) -> Tensor:
    """images: (n 3 H W) in [-1, 1] => the posterior's mean (n c h w), unscaled, without noise.

    A few frames at a time.
    """
    some = images.split(max(1, ENCODED // images[0, 0].numel()))
    return torch.cat([vae.quant_conv(vae.encoder(part)).chunk(2, dim=1)[0] for part in some])


def clip_token(image_encoder: CLIPVisionModelWithProjection, images: Tensor) -> Tensor:
    """images: (n 3 H W) in [-1, 1] => CLIP embedding (n 1 d).

    Resized like the original does: bicubic with antialiasing to the encoder's square, whatever the aspect.
    """
    size = image_encoder.config.image_size
    small = kornia.geometry.resize(images.float(), (size, size), "bicubic", align_corners=True, antialias=True)
    mean, std = (small.new_tensor(x).view(1, 3, 1, 1) for x in (CLIP_MEAN, CLIP_STD))
    pixels = ((small + 1) / 2 - mean) / std
    return image_encoder(pixels.to(images.dtype)).image_embeds.unsqueeze(1)
