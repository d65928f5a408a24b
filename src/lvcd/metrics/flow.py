"""Where each pixel comes from: optical flow by OpenCV's DIS, offline, or by RAFT with the user's weights.

A flow is called with two frames (n 3 H W) in [0, 1] and says, for each pixel of the first, how many px to the right
and downward it is found in the second: (n 2 H W) float32.

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
from .inputs import Array, in_threads, levels

Flow = Callable[[Tensor, Tensor], Tensor]

LEAST = 12
"""px a side that OpenCV's search asks for."""
SMALLEST = 128
"""px a side that RAFT's pyramid asks for."""
RAFTS = {
    "22a6c225": "raft_large",
    "1bb1363a": "raft_large",
    "0b8c9e55": "raft_large",
    "ff5fadd5": "raft_large",
    "4a6a5039": "raft_large",
    "b5c70766": "raft_large",
    "ad48884c": "raft_small",
    "01064c6d": "raft_small",
}
"""First digits of the SHA-256 of torchvision's files, which are in the files' names -> their network."""


class DIS:
    """Dense inverse search (Kroeger et al. 2016, arXiv 1603.03590), OpenCV's medium preset, on luminance; on the CPU.

    The same frame twice flows nowhere. InputError: frames of less than 12 px a side.
    """

    name, sha256 = "DIS", None

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        H, W = first.shape[-2:]
        if min(H, W) < LEAST:
            raise InputError(
                f"DIS needs frames of {LEAST} x {LEAST} px, these are {W} x {H}: give larger ones, or a size"
            )
        flows = in_threads(_search, [*zip(first.float().cpu().numpy(), second.float().cpu().numpy())])
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(first.device)


def _search(pairs: list[tuple[Array, Array]]) -> list[Array]:
    """Pairs of frames (3 H W) -> flows (H W 2), by one search, which keeps its memory for the next pair."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    flows = []
    for pair in pairs:
        first, second = (cv2.cvtColor(cv2.merge(levels(frame)), cv2.COLOR_RGB2GRAY) for frame in pair)
        still = np.array_equal(first, second)
        flows.append(np.zeros((*first.shape, 2), np.float32) if still else search.calc(first, second, None))  # type: ignore[call-overload]
    return flows


class RAFT(nn.Module):
    """RAFT (Teed and Deng 2020, arXiv 2003.12039), large or small, as the file says, which is one of torchvision's.

    Frames are at least 128 px a side. InputError: torchvision is missing, or the file is another.
    """

    def __init__(
        self,
        path: str | Path,  # e.g. raft_large_C_T_SKHT_V2-ff5fadd5.pth
        updates: int = 12,  # steps of refinement; 12 is torchvision's, more is finer
    ):
        super().__init__()
        try:
            from torchvision.models import optical_flow
        except ImportError as error:
            raise InputError("RAFT needs torchvision: install lvcd[metrics], or use DIS") from error
        if updates < 1:
            raise InputError(f"RAFT takes one step of refinement or more, not {updates}: its authors take 12 to 32")
        state, self.sha256, builder = _published(path)
        self.net, self.updates = getattr(optical_flow, builder)(), updates
        self.net.load_state_dict(state)
        self.name = f"RAFT[{builder.removeprefix('raft_')}, {updates} updates]"
        self.eval().requires_grad_(False)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        H, W = first.shape[-2:]
        if min(H, W) < SMALLEST:
            raise InputError(f"RAFT needs frames of {SMALLEST} x {SMALLEST} px, these are {W} x {H}: use DIS for them")
        even = (0, -W % 8, 0, -H % 8)
        first, second = (F.pad(x * 2 - 1, even, mode="replicate") for x in (first, second))
        return self.net(first, second, num_flow_updates=self.updates)[-1][..., :H, :W]


def _published(path: str | Path) -> tuple[dict[str, Tensor], str, str]:
    """State, SHA-256 and network of a file whose hash is torchvision's. InputError: unreadable, or another file."""
    text = str(path) if str(path).isprintable() else repr(str(path))
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read RAFT's weights {text} ({error.strerror}): check the path") from error
    found = hashlib.sha256(data).hexdigest()
    if found[:8] not in RAFTS:
        raise InputError(
            f"{text} is none of torchvision's RAFTs: its SHA-256 starts with {found[:8]}: "
            "get raft_large_C_T_SKHT_V2-ff5fadd5.pth"
        )
    return weights.tensors(data, "RAFT's weights"), found, RAFTS[found[:8]]


def warp(frames: Tensor, flow: Tensor) -> Tensor:
    """Frames (n 3 H W) seen through a flow (n 2 H W) in px: at each pixel the color that it points to.

    Bilinear; what lies outside has the color of the nearest edge.
    """
    H, W = frames.shape[-2:]
    y, x = (torch.linspace(-1, 1, size, device=frames.device, dtype=frames.dtype) for size in (H, W))
    pixel = torch.tensor([2 / max(1, W - 1), 2 / max(1, H - 1)], device=frames.device, dtype=frames.dtype)
    here = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1)  # (H W 2)
    at = here + flow.permute(0, 2, 3, 1) * pixel
    return F.grid_sample(frames, at, mode="bilinear", padding_mode="border", align_corners=True)
