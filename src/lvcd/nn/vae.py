"""The autoencoder: SVD's, and one for small models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from diffusers import AutoencoderKLTemporalDecoder, ModelMixin  # from_pretrained looks here for ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.resnet import TemporalResnetBlock
from torch import nn

from .conv import TemporalConv3d
from .encoder import zero_residual_branches

__all__ = ["ColorVAE", "ModelMixin", "VideoVAE", "vae_class"]

VideoVAE: TypeAlias = AutoencoderKLTemporalDecoder
"""The class of SVD's autoencoder: an image encoder, and a decoder with temporal layers."""


class ColorVAE(AutoencoderKLTemporalDecoder):
    """SVD's autoencoder for narrow widths.

    SVD normalizes in 32 groups. At 32 channels every group is one channel, which takes a flat area's brightness out of
    it; here the number of groups is a setting. Residual branches start at zero: so the network begins nearly linear
    and learns colors within minutes. Names and shapes of the weights are SVD's.
    """

    @register_to_config
    def __init__(
        self,
        block_out_channels: tuple[int, ...] = (32, 32, 64),  # each but the first halves the size
        layers_per_block: int = 1,
        latent_channels: int = 4,
        norm_groups: int = 8,
        in_channels: int = 3,
        out_channels: int = 3,
        scaling_factor: float = 1.0,
        force_upcast: bool = False,
    ):
        # Without the decorator, which would mix the parent's settings into this class's.
        AutoencoderKLTemporalDecoder.__init__.__wrapped__(  # type: ignore[attr-defined]
            self,
            in_channels=in_channels,
            out_channels=out_channels,
            down_block_types=("DownEncoderBlock2D",) * len(block_out_channels),
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            latent_channels=latent_channels,
        )
        for block in [m for m in self.modules() if isinstance(m, TemporalResnetBlock)]:
            block.conv1, block.conv2 = TemporalConv3d(block.conv1), TemporalConv3d(block.conv2)
        self.decoder.time_conv_out = TemporalConv3d(self.decoder.time_conv_out)
        zero_residual_branches(self)
        for module in self.modules():
            if isinstance(module, nn.GroupNorm):
                module.num_groups = norm_groups
        nn.init.constant_(self.quant_conv.bias[latent_channels:], -6.0)  # little noise on the latents at first


def vae_class(config: Mapping[str, Any]) -> type[VideoVAE]:
    """Return the class that an autoencoder's config.json names: ColorVAE, or else SVD's own."""
    return ColorVAE if config.get("_class_name") == ColorVAE.__name__ else VideoVAE
