"""The sketch ControlNet: the branch that reads the line art (paper, section 4.2)."""

from __future__ import annotations

from diffusers import ModelMixin, UNetSpatioTemporalConditionModel  # from_pretrained looks here for ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook  # offloading moves weights for such methods, too
from torch import Tensor, nn

from lvcd.frames import FrameLayout

from .encoder import ConditionEmbeddings, LayoutUNet

__all__ = ["SketchControlNet", "ModelMixin"]


def sketch_stem(widths: tuple[int, ...], out_channels: int) -> nn.Sequential:
    """Build the convolutions from sketches to features; each width after the first halves the size (method, 4)."""
    steps = [(3, widths[0], 1)]
    for narrow, wide in zip(widths, widths[1:]):
        steps += [(narrow, narrow, 1), (narrow, wide, 2)]
    steps += [(widths[-1], out_channels, 1)]
    layers: list[nn.Module] = []
    for c_in, c_out, stride in steps:
        layers += [nn.Conv2d(c_in, c_out, 3, stride, 1), nn.SiLU()]
    return nn.Sequential(*layers[:-1])


class SketchControlNet(LayoutUNet):
    """A copy of the U-Net's encoder, temporal layers included, that is also fed with sketches (paper, section 4.2).

    Its outputs are added to the U-Net's skips through 1x1 convolutions that start at zero: at first it changes nothing.
    """

    @register_to_config
    def __init__(
        self,
        in_channels: int = 8,
        down_block_types: tuple[str, ...] = (*["CrossAttnDownBlockSpatioTemporal"] * 3, "DownBlockSpatioTemporal"),
        block_out_channels: tuple[int, ...] = (320, 640, 1280, 1280),
        addition_time_embed_dim: int = 256,
        projection_class_embeddings_input_dim: int = 768,
        layers_per_block: int | tuple[int, ...] = 2,
        cross_attention_dim: int | tuple[int, ...] = 1024,
        transformer_layers_per_block: int | tuple[int, ...] = 1,
        num_attention_heads: int | tuple[int, ...] = (5, 10, 20, 20),
        stem_widths: tuple[int, ...] = (16, 32, 96, 256),  # each but the first halves the size: the VAE's factor
        temporal: bool = True,  # False: its temporal layers are passed by (ablation)
        norm_groups: int = 32,  # as the U-Net's
    ):
        # The U-Net's constructor, so that the encoder is the U-Net's own; its decoder goes at once. Taken without the
        # decorator, which would mix the U-Net's settings into this class's.
        UNetSpatioTemporalConditionModel.__init__.__wrapped__(  # type: ignore[attr-defined]
            self,
            in_channels=in_channels,
            down_block_types=down_block_types,
            up_block_types=tuple(t.replace("Down", "Up") for t in reversed(down_block_types)),
            block_out_channels=block_out_channels,
            addition_time_embed_dim=addition_time_embed_dim,
            projection_class_embeddings_input_dim=projection_class_embeddings_input_dim,
            layers_per_block=layers_per_block,
            cross_attention_dim=cross_attention_dim,
            transformer_layers_per_block=transformer_layers_per_block,
            num_attention_heads=num_attention_heads,
        )
        self.up_blocks = nn.ModuleList()
        del self.conv_norm_out, self.conv_act, self.conv_out
        self._install_layout(norm_groups)

        self.stem = sketch_stem(tuple(stem_widths), block_out_channels[0])
        skips = [block_out_channels[0]]
        for block in self.down_blocks:
            skips += [block.resnets[-1].spatial_res_block.out_channels] * len(block.resnets)
            skips += skips[-1:] if block.downsamplers else []
        self.zero_convs = nn.ModuleList(nn.Conv2d(c, c, 1) for c in skips)
        self.zero_mid = nn.Conv2d(block_out_channels[-1], block_out_channels[-1], 1)
        for conv in (*self.zero_convs, self.zero_mid):
            nn.init.zeros_(conv.weight)
            nn.init.zeros_(conv.bias)

    @classmethod
    def from_unet(cls, unet: UNetSpatioTemporalConditionModel, **config) -> SketchControlNet:
        """Build the ControlNet that training starts from: the U-Net's encoder copied, a new stem, outputs zero.

        config: settings that replace the U-Net's, or that it lacks. TypeError: there is no such setting.
        """
        keys = cls._get_init_keys(cls) - {"self", "stem_widths", "temporal"}
        net = cls(**{k: unet.config[k] for k in keys if k in unet.config}, **config)
        names = net.state_dict().keys()
        net.load_state_dict({k: v for k, v in unet.state_dict().items() if k in names}, strict=False)
        return net

    def with_config(self, **config) -> SketchControlNet:
        """Build a ControlNet with some settings changed: it has these weights where they fit, elsewhere new ones.

        TypeError: there is no such setting.
        """
        names = self._get_init_keys(type(self)) - {"self"}
        net = type(self)(**{name: self.config[name] for name in names} | config)
        new = net.state_dict()
        fits = {k: v for k, v in self.state_dict().items() if k in new and v.shape == new[k].shape}
        net.load_state_dict(fits, strict=False)
        return net

    @apply_forward_hook
    def embed_sketches(self, sketches: Tensor) -> Tensor:
        """Compute features (b t c h w) of sketches (b t 1 H W) in [0, 1], 1 on a line. They depend on nothing else."""
        return self.stem(sketches.flatten(0, 1).expand(-1, 3, -1, -1)).unflatten(0, sketches.shape[:2])

    def forward(  # type: ignore[override]
        self,
        sample: Tensor,  # (b t c h w) as for the U-Net
        timestep: Tensor,  # (b) c_noise
        encoder_hidden_states: Tensor,  # (b n d)
        added_time_ids: Tensor,  # (b 3)
        sketch_features: Tensor,  # (b t c h w) from embed_sketches
        layout: FrameLayout | None = None,
        condition_embeddings: ConditionEmbeddings | None = None,  # from embed_condition(); None = computed here
    ) -> list[Tensor]:
        """Return what is added to each skip of the U-Net, (b t) c h w, and as the last one to its middle."""
        x, arguments = self._embed(
            sample, timestep, encoder_hidden_states, added_time_ids, layout, condition_embeddings
        )
        if not self.config.temporal:
            arguments["image_only_indicator"] = sample.new_ones(sample.shape[:2])
        middle, skips = self._encode(x + sketch_features.flatten(0, 1), arguments)
        return [conv(skip) for conv, skip in zip(self.zero_convs, skips, strict=True)] + [self.zero_mid(middle)]
