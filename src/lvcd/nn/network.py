"""U-Net, ControlNet, condition and layout bound into the one function that preconditioning takes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from lvcd.frames import FrameLayout

from .condition import Condition
from .controlnet import SketchControlNet
from .unet import ColorUNet


def bind(
    unet: ColorUNet,
    controlnet: SketchControlNet,
    condition: Condition,
    sketches: Tensor,  # (b t 1 H W) in [0, 1], line = 1
    fixed: bool = False,  # the weights stay as they are between calls (sampling): compute what is constant only once
) -> Callable[..., Tensor]:
    """=> net(x (b t c h w), c_noise (b), layout) -> F (b t c h w)."""
    features = controlnet.embed_sketches(sketches)
    told = (condition.token, condition.numbers)
    unet_constants, control_constants = (unet.constants(*told), controlnet.constants(*told)) if fixed else (None, None)

    def net(x: Tensor, c_noise: Tensor, layout: FrameLayout) -> Tensor:
        joined = torch.cat([x.to(condition.latent.dtype), condition.latent], dim=2)
        residuals = controlnet(joined, c_noise, *told, features, layout, control_constants)
        return unet(joined, c_noise, *told, layout, residuals, unet_constants)

    return net
