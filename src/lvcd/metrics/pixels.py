"""Pixel against pixel: PSNR, and SSIM (Wang et al. 2004); PSNR also where the original moves.

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
from .inputs import Filter, check_resize, in_chunks, pairs_of, resized

CHUNK = 8
"""Pairs of frames that are compared at once on a GPU; on a CPU one, which fits near a core."""
ROWS = 32
"""Of the frames, blurred at once."""
WINDOW = 11
"""px a side of SSIM's window."""
SIGMA = 1.5
"""px, of the Gaussian in it."""
C1, C2 = 0.01**2, 0.03**2
"""What keeps SSIM from dividing by nothing in black and in flat areas."""
VISIBLE = 16 / 255
"""A change of a channel that an eye sees in a flat color, and that no rounding makes."""
ROUNDING = 1e-6
"""Below any difference of two 8-bit colors; what lies at a threshold to this much is not over it."""


def moving_pixels(frames: Tensor, visible: float = VISIBLE) -> Tensor:
    """Pixels in which some channel differs by more than `visible` from the frame before: (b t 3 H W) -> (b t 1 H W).

    Bool; the first frame has none.
    """
    moves = torch.zeros_like(frames[:, :, :1], dtype=torch.bool)
    moves[:, 1:] = (frames[:, 1:] - frames[:, :-1]).abs().amax(2, keepdim=True) > visible + ROUNDING
    return moves


def _at_once(device: torch.device) -> int:
    return 1 if device.type == "cpu" else CHUNK


def squares(preds: Tensor, target: Tensor, counted: Tensor) -> Tensor:
    """Sum of squared differences in the pixels counted (n 1 H W): frames (n 3 H W) -> (n) float64.

    Summed along a row in float32, and the rows in float64.
    """
    return (preds - target).square_().mul_(counted).sum(-1).double().flatten(1).sum(1)


class PSNR(ClipMean):
    """Peak signal-to-noise ratio in dB, mean over frames: 10 log10(1 / mean square error); higher is better.

    moving: over the pixels that move in the original, frames without one left out; it is shown as PSNR[moving]. Equal
    frames, whose ratio is infinite, and nearly equal ones count as `ceiling`; the report says how many.

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
        """Generated and original frames, both (b t 3 H W) in [0, 1]."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        counted = moving_pixels(target, self.visible) if self.moving else torch.ones_like(target[:, :, :1]).bool()
        pixels = counted.flatten(2).sum(2)
        flat = (x.flatten(0, 1) for x in (preds, target, counted))  # (b t c H W) => (n c H W)
        error = in_chunks(squares, _at_once(preds.device), *flat).view_as(pixels) / (3 * pixels)
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
    """Structural similarity, mean over frames, in [-1, 1]: 1 for equal frames, higher is better.

    Window of 11 px, sigma 1.5, k1 0.01, k2 0.03, mean of the three channels: the paper's, and torchmetrics' value.

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
        """Generated and original frames, both (b t 3 H W) in [0, 1]."""
        preds, target = (resized(x, self.size, self.filter) for x in pairs_of(preds, target))
        if min(preds.shape[-2:]) < WINDOW:
            raise InputError(
                f"SSIM's window is {WINDOW} px wide, these frames are {tuple(preds.shape[-2:])}: "
                "give larger ones, or a size"
            )
        flat = (x.flatten(0, 1) for x in (preds, target))  # (b t 3 H W) => (n 3 H W)
        values = in_chunks(similarity, _at_once(preds.device), *flat)
        self.add(values.unflatten(0, preds.shape[:2]).mean(1), preds.shape[1])

    def settings(self) -> dict[str, Any]:
        return {"size": self.size, "filter": self.filter}


def similarity(preds: Tensor, target: Tensor) -> Tensor:
    """SSIM of generated and original frames, both (n 3 H W) in [0, 1] -> (n) float64.

    Frames are mirrored beyond their edges. Both passes of the blur are matrix products: in float64 they take a
    small part of the time of the convolution in torchmetrics, whose value this is.
    """
    x, y = preds.double(), target.double()
    H, W = x.shape[-2:]
    moments = torch.stack([x, y, x * x + y * y, x * y])
    x, y, both, product = _blurred(_blurred(moments, _blur(H, x.device)).mT, _blur(W, x.device)).mT
    squares, means = x * x + y * y, x * y
    alike = (2 * means + C1).mul_((product - means).mul_(2).add_(C2))
    return alike.div_((squares + C1).mul_((both - squares).add_(C2))).mean((1, 2, 3))


def _blurred(x: Tensor, blur: Tensor) -> Tensor:
    """blur @ x, some rows at a time: blur (H H) is 0 beyond the window, x (... H W)."""
    reach, parts = WINDOW // 2, []
    for start in range(0, len(blur), ROWS):
        stop = start + ROWS
        near = slice(max(0, start - reach), stop + reach)
        parts.append(blur[start:stop, near] @ x[..., near, :])
    return torch.cat(parts, -2)


@functools.lru_cache(4)
def _blur(size: int, device: torch.device) -> Tensor:
    """The Gaussian around each pixel of a line that is mirrored beyond its ends: (size size) float64."""
    reach = WINDOW // 2
    window = (-0.5 * (torch.arange(-reach, reach + 1, device=device, dtype=torch.float64) / SIGMA) ** 2).exp()
    each = torch.eye(size, device=device, dtype=torch.float64)  # a line with one lit pixel, for each pixel
    return (F.pad(each[None], (reach, reach), mode="reflect")[0].unfold(1, WINDOW, 1) @ (window / window.sum())).T
