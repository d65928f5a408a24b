"""PSNR, also over the pixels that move alone, and SSIM (Wang et al. 2004, Image Quality Assessment).

letters: b clips, t frames, n frames of all clips, H W pixels
"""

from __future__ import annotations

import functools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.errors import InputError

from .base import ClipMean
from .frame_tensors import Filter, check_resize, in_chunks, pairs_of, resized

PAIRS_PER_CHUNK = 8
"""Pairs of frames that are compared at once on a GPU; on a CPU it is one, which fits into a core's cache."""
ROWS_PER_CHUNK = 32
"""Rows of a frame that are blurred at once."""
WINDOW_SIDE = 11
"""px a side of SSIM's Gaussian window."""
WINDOW_SIGMA = 1.5
"""px"""
C1, C2 = 0.01**2, 0.03**2
"""SSIM's constants for pixel values in [0, 1]: they keep it from dividing by 0 in black and in flat areas."""
VISIBLE = 16 / 255
"""Change of a channel that an eye sees in a flat color and that no rounding makes."""
ROUNDING = 1e-6
"""Less than any difference of two 8-bit values: what exceeds a threshold by less does not exceed it."""


def moving_pixels(frames: Tensor, visible: float = VISIBLE) -> Tensor:
    """Return the mask of pixels where a channel differs by more than `visible` from the frame before.

    (b t 3 H W) -> (b t 1 H W) bool; the first frame has none.
    """
    moves = torch.zeros_like(frames[:, :, :1], dtype=torch.bool)
    moves[:, 1:] = (frames[:, 1:] - frames[:, :-1]).abs().amax(2, keepdim=True) > visible + ROUNDING
    return moves


def _pairs_per_chunk(device: torch.device) -> int:
    return 1 if device.type == "cpu" else PAIRS_PER_CHUNK


def squared_error(preds: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Return the sum of squared differences of frames (n 3 H W) over the pixels `counted` (n 1 H W): (n) float64.

    Sums along a row are in float32, those over rows in float64.
    """
    return (preds - target).square_().mul_(counted).sum(-1).double().flatten(1).sum(1)


class PSNR(ClipMean):
    r"""Peak signal-to-noise ratio in dB, mean over frames; higher is better.

    .. math:: PSNR = 10 \log_{10} \frac{1}{MSE}

    for pixel values in [0, 1]. moving: the mean square error is over the pixels that move in the original, frames
    without one are left out, and the column is PSNR[moving]. Equal frames, whose ratio is infinite, and nearly equal
    ones count as `ceiling`; the report counts them.

    >>> psnr = PSNR()
    >>> psnr.update(torch.full((1, 1, 3, 4, 4), 0.6), torch.full((1, 1, 3, 4, 4), 0.5))
    >>> psnr.compute().round(decimals=3)
    tensor(20., dtype=torch.float64)
    """

    higher_is_better = True
    capped: Tensor

    def __init__(
        self,
        moving: bool = False,
        visible: float = VISIBLE,  # a pixel moves where a channel changes by more
        ceiling: float = 100.0,  # dB, about one wrong level of one pixel at 256 x 256
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        check_resize(size, filter)
        self.moving, self.visible, self.ceiling, self.size, self.filter = moving, visible, ceiling, size, filter
        self.add_state("capped", torch.zeros((), dtype=torch.long), "sum")

    @property
    def name(self) -> str:
        return "PSNR[moving]" if self.moving else "PSNR"

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and original frames, both (b t 3 H W) in [0, 1]."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        counted = moving_pixels(target, self.visible) if self.moving else torch.ones_like(target[:, :, :1]).bool()
        pixels = counted.flatten(2).sum(2)
        flat = (x.flatten(0, 1) for x in (preds, target, counted))  # (b t c H W) => (n c H W)
        error = in_chunks(squared_error, _pairs_per_chunk(preds.device), *flat).view_as(pixels) / (3 * pixels)
        scored = pixels > 0
        ratio = -10 * error.log10()  # infinite for equal frames
        self.capped += (scored & (ratio > self.ceiling)).sum()
        self.add(ratio.clamp(max=self.ceiling).where(scored, 0.0).sum(1) / scored.sum(1), scored.sum(1))

    def settings(self) -> dict[str, Any]:
        moving = {"moving": True, "visible": self.visible} if self.moving else {"moving": False}
        return {**moving, "ceiling": self.ceiling, "size": self.size, "filter": self.filter}

    def notes(self) -> list[str]:
        capped = int(self.capped)
        return [f"{capped} frames are equal to the original, or nearly: counted as {self.ceiling:g} dB"] * bool(capped)


class SSIM(ClipMean):
    r"""Structural similarity, mean over frames, in [-1, 1]: 1 for equal frames, higher is better.

    .. math:: SSIM = \frac{(2 \mu_x \mu_y + c_1)(2 \sigma_{xy} + c_2)}
                          {(\mu_x^2 + \mu_y^2 + c_1)(\sigma_x^2 + \sigma_y^2 + c_2)}

    with a Gaussian window of 11 px and sigma 1.5, c1 = 0.01^2 and c2 = 0.03^2, mean of the three channels (Wang et al.
    2004, equation 13). It is torchmetrics' value.

    >>> ssim = SSIM(size=None)
    >>> frames = torch.linspace(0, 1, 3 * 16 * 16).view(1, 1, 3, 16, 16)
    >>> ssim.update(frames, frames)
    >>> ssim.compute()
    tensor(1., dtype=torch.float64)
    """

    higher_is_better = True
    bounds = (-1.0, 1.0)

    def __init__(self, size: int | None = 256, filter: Filter = "bilinear_antialias", **kwargs: Any):
        super().__init__(**kwargs)
        check_resize(size, filter)
        self.size, self.filter = size, filter

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add generated and original frames, both (b t 3 H W) in [0, 1]."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        if min(preds.shape[-2:]) < WINDOW_SIDE:
            raise InputError(
                f"SSIM's window is {WINDOW_SIDE} px wide, these frames are {tuple(preds.shape[-2:])}: "
                "give larger ones, or a size"
            )
        flat = (x.flatten(0, 1) for x in (preds, target))  # (b t 3 H W) => (n 3 H W)
        values = in_chunks(ssim, _pairs_per_chunk(preds.device), *flat)
        self.add(values.unflatten(0, preds.shape[:2]).mean(1), preds.shape[1])

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter}


def ssim(preds: Tensor, target: Tensor) -> Tensor:
    """Return the SSIM of generated and original frames, both (n 3 H W) in [0, 1]: (n) float64.

    Frames are mirrored beyond their edges. Both passes of the blur are matrix products, which in float64 take a small
    part of the time of the convolution in torchmetrics.
    """
    x, y = preds.double(), target.double()
    H, W = x.shape[-2:]
    moments = torch.stack([x, y, x * x + y * y, x * y])
    x, y, both, product = _blurred(_blurred(moments, _blur(H, x.device)).mT, _blur(W, x.device)).mT
    squares, means = x * x + y * y, x * y
    alike = (2 * means + C1).mul_((product - means).mul_(2).add_(C2))
    return alike.div_((squares + C1).mul_((both - squares).add_(C2))).mean((1, 2, 3))


def _blurred(x: Tensor, blur: Tensor) -> Tensor:
    """Return blur @ x, computed some rows at a time: blur (H H) is 0 beyond the window, x (... H W)."""
    reach, parts = WINDOW_SIDE // 2, []
    for start in range(0, len(blur), ROWS_PER_CHUNK):
        stop = start + ROWS_PER_CHUNK
        near = slice(max(0, start - reach), stop + reach)
        parts.append(blur[start:stop, near] @ x[..., near, :])
    return torch.cat(parts, -2)


@functools.lru_cache(4)
def _blur(size: int, device: torch.device) -> Tensor:
    """Return the Gaussian window around each pixel of a row that is mirrored beyond its ends: (size size) float64."""
    reach = WINDOW_SIDE // 2
    window = (-0.5 * (torch.arange(-reach, reach + 1, device=device, dtype=torch.float64) / WINDOW_SIGMA) ** 2).exp()
    each = torch.eye(size, device=device, dtype=torch.float64)  # a row with one lit pixel, for each pixel
    return (F.pad(each[None], (reach, reach), mode="reflect")[0].unfold(1, WINDOW_SIDE, 1) @ (window / window.sum())).T
