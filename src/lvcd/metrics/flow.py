"""Optical flow by OpenCV's DIS, offline, or by RAFT with the user's weights, and the warp along it.

A `Flow` takes two frames (n 3 H W) in [0, 1] and returns for each pixel of the first one how many px to the right and
downward it is found in the second: (n 2 H W) float32.

letters: n pairs of frames, H W pixels
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .frame_tensors import Array, in_threads, levels

Flow = Callable[[Tensor, Tensor], Tensor]

MIN_DIS_SIDE = 12
"""Smallest side in px that OpenCV's search takes."""
MIN_RAFT_SIDE = 128
"""Smallest side in px that RAFT's pyramid takes."""
RAFT_NETWORKS = {
    "22a6c225": "raft_large",
    "1bb1363a": "raft_large",
    "0b8c9e55": "raft_large",
    "ff5fadd5": "raft_large",
    "4a6a5039": "raft_large",
    "b5c70766": "raft_large",
    "ad48884c": "raft_small",
    "01064c6d": "raft_small",
}
"""First digits of the SHA-256 of torchvision's files, as in their names -> the function that builds their network."""


class DIS:
    """Dense inverse search (Kroeger et al. 2016, arXiv 1603.03590), OpenCV's medium preset, on luminance and the CPU.

    Two equal frames have a flow of 0. InputError: frames of less than 12 px a side.
    """

    name, sha256 = "DIS", None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        H, W = first.shape[-2:]
        if min(H, W) < MIN_DIS_SIDE:
            raise InputError(
                f"DIS needs frames of {MIN_DIS_SIDE} x {MIN_DIS_SIDE} px, these are {W} x {H}: "
                "give larger ones, or a size"
            )
        flows = in_threads(_search, [*zip(first.float().cpu().numpy(), second.float().cpu().numpy())])
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(first.device)


def _search(pairs: list[tuple[Array, Array]]) -> list[Array]:
    """Return the flow (H W 2) of each pair of frames (3 H W), by one search that reuses its memory."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = []
    for pair in pairs:
        first, second = (cv2.cvtColor(cv2.merge(levels(frame)), cv2.COLOR_RGB2GRAY) for frame in pair)
        still = np.array_equal(first, second)
        flows.append(np.zeros((*first.shape, 2), np.float32) if still else search.calc(first, second, None))  # type: ignore[call-overload]
    return flows


class RAFT(nn.Module):
    """RAFT (Teed and Deng 2020, arXiv 2003.12039), large or small, with weights in one of torchvision's files.

    Frames are at least 128 px a side. InputError: torchvision is not installed, or another file.
    """

    def __init__(
        self,
        path: str | Path,  # e.g. raft_large_C_T_SKHT_V2-ff5fadd5.pth
        updates: int = 12,  # steps of refinement: 12 is torchvision's default, more is finer
    ):
        super().__init__()
        try:
            from torchvision.models import optical_flow
        except ImportError as error:
            raise InputError("RAFT needs torchvision: install lvcd[metrics], or use DIS") from error
        if updates < 1:
            raise InputError(f"RAFT takes one step of refinement or more, not {updates}: its authors take 12 to 32")
        state, self.sha256, builder = _published_raft(path)
        self.net, self.updates = getattr(optical_flow, builder)(), updates
        self.net.load_state_dict(state)
        self.name = f"RAFT[{builder.removeprefix('raft_')}, {updates} updates]"
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        H, W = first.shape[-2:]
        if min(H, W) < MIN_RAFT_SIDE:
            raise InputError(
                f"RAFT needs frames of {MIN_RAFT_SIDE} x {MIN_RAFT_SIDE} px, these are {W} x {H}: use DIS for them"
            )
        to_eights = (0, -W % 8, 0, -H % 8)
        first, second = (F.pad(x * 2 - 1, to_eights, mode="replicate") for x in (first, second))
        return self.net(first, second, num_flow_updates=self.updates)[-1][..., :H, :W]


def _published_raft(path: str | Path) -> tuple[dict[str, Tensor], str, str]:
    """Return state dict, SHA-256 and name of the builder of torchvision's file. InputError: unreadable, or another."""
    text = str(path) if str(path).isprintable() else repr(str(path))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read RAFT's weights {text} ({error.strerror}): check the path") from error
    found = hashlib.sha256(data).hexdigest()
    if found[:8] not in RAFT_NETWORKS:
        raise InputError(
            f"{text} is none of torchvision's RAFTs: its SHA-256 starts with {found[:8]}: "
            "get raft_large_C_T_SKHT_V2-ff5fadd5.pth"
        )
    return weights.tensors(data, "RAFT's weights"), found, RAFT_NETWORKS[found[:8]]


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Warp frames (n c H W) along a flow (n 2 H W) in px: each pixel takes the color of the place that it points to.

    It interpolates bilinearly, and repeats the nearest edge outside the frame.
    """
    H, W = frames.shape[-2:]
    y, x = (torch.linspace(-1, 1, size, device=frames.device, dtype=frames.dtype) for size in (H, W))
    pixel = torch.tensor([2 / max(1, W - 1), 2 / max(1, H - 1)], device=frames.device, dtype=frames.dtype)
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H W 2)
    at = here + flow.permute(0, 2, 3, 1) * pixel
    return F.grid_sample(frames, at, mode="bilinear", padding_mode="border", align_corners=True)
