"""The U-Net and the ControlNet under one condition, as the single function that preconditioning takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvcd.frames import FrameLayout

from .condition import Condition
from .controlnet import SketchControlNet
from .unet import ColorUNet


def conditioned_network(
    unet: ColorUNet,
    controlnet: SketchControlNet,
    condition: Condition,
    sketches: Tensor,  # (b t 1 H W) in [0, 1], line = 1
    embed_once: bool = False,  # embed the condition now, for all calls: for sampling, where the weights do not change
) -> Callable[..., Tensor]:
    """Return the network F of one batch of clips: net(x (b t c h w), c_noise (b), layout) -> F (b t c h w)."""
    features = controlnet.embed_sketches(sketches)
    context = (condition.token, condition.added_time_ids)
    unet_embeddings, control_embeddings = (
        (unet.embed_condition(*context), controlnet.embed_condition(*context)) if embed_once else (None, None)
    )

    def net(x: Tensor, c_noise: Tensor, layout: FrameLayout) -> Tensor:
        joined = torch.cat([x.to(condition.latent.dtype), condition.latent], dim=2)
        residuals = controlnet(joined, c_noise, *context, features, layout, control_embeddings)
        return unet(joined, c_noise, *context, layout, residuals, unet_embeddings)

    return net
