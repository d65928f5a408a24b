"""The U-Net: Stable Video Diffusion's, with reference attention (paper, section 4.3)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence

from diffusers import ModelMixin, UNetSpatioTemporalConditionModel  # from_pretrained looks here for ModelMixin
from torch import Tensor

from lvcd.frames import FrameLayout

from .encoder import ConditionEmbeddings, LayoutUNet

__all__ = ["ColorUNet", "ModelMixin"]


def _configured(init: Callable) -> Callable:
    """Give a constructor the parent's signature and norm_groups: diffusers reads the configuration's keys off it."""
    signature = inspect.signature(UNetSpatioTemporalConditionModel.__init__)
    norm_groups = inspect.Parameter("norm_groups", inspect.Parameter.KEYWORD_ONLY, default=32)
    init = functools.wraps(UNetSpatioTemporalConditionModel.__init__)(init)
    init.__signature__ = signature.replace(parameters=[*signature.parameters.values(), norm_groups])  # type: ignore[attr-defined]
    return init


class ColorUNet(LayoutUNet):
    """Stable Video Diffusion's U-Net with reference attention, isolated references and room for a ControlNet.

    Configuration and weights are those of diffusers' UNetSpatioTemporalConditionModel. Without layout and residuals
    it computes what that class does, but for the epsilon of some norms (see encoder.py). One setting is added,
    norm_groups, for narrow widths: in SVD's 32 groups, 64 channels lose most of a frame's mean color.
    """

    @_configured  # type: ignore[misc]
    def __init__(self, *args, norm_groups: int = 32, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_to_config(norm_groups=norm_groups)
        self._install_layout(norm_groups)

    def forward(
        self,
        sample: Tensor,  # (b t c h w) noisy latents, scaled by c_in, joined with the reference's on channels
        timestep: Tensor,  # (b) c_noise
        encoder_hidden_states: Tensor,  # (b n d) context of the clip, one image token in practice
        added_time_ids: Tensor,  # (b 3) fps, motion bucket, conditioning noise, as given
        layout: FrameLayout | None = None,  # None = plain SVD
        residuals: Sequence[Tensor] | None = None,  # the ControlNet's, one a skip and the middle's last; None = none
        condition_embeddings: ConditionEmbeddings | None = None,  # from embed_condition(); None = computed here
    ) -> Tensor:
        """Return the raw output F, (b t c h w). h and w must be multiples of 2 ** (levels - 1)."""
        x, arguments = self._embed(
            sample, timestep, encoder_hidden_states, added_time_ids, layout, condition_embeddings
        )
        x, skips = self._encode(x, arguments)
        if residuals is not None:
            *down, middle = residuals
            x, skips = x + middle, [skip + r for skip, r in zip(skips, down, strict=True)]
        for block in self.up_blocks:
            n = len(block.resnets)
            x = self._call(block, x, arguments, res_hidden_states_tuple=tuple(skips[-n:]))
            skips = skips[:-n]
        x = self.conv_out(self.conv_act(self.conv_norm_out(x)))
        return x.unflatten(0, sample.shape[:2])
