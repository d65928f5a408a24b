"""Metrics by other libraries and plain loops: what ours are tested against and timed against."""

from __future__ import annotations

import math

import cv2
import numpy as np
import scipy.ndimage
import torch
from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure


def plain_edmd(pred: torch.Tensor, own: torch.Tensor) -> float:
    """Return the EDMD of two masks (H W), by scipy."""
    maps = [
        scipy.ndimage.distance_transform_edt(~x.numpy()) if x.any() else np.full(x.shape, math.hypot(*x.shape))
        for x in (pred, own)
    ]
    return float(np.sqrt(((maps[0] - maps[1]) ** 2).mean()))


def psnr_of(preds, target) -> list[float]:
    """Return the PSNR of every frame, by torchmetrics."""
    frames = zip(preds.flatten(0, 1).double(), target.flatten(0, 1).double())
    return [peak_signal_noise_ratio(p, t, data_range=1.0).item() for p, t in frames]


def ssim_of(preds, target) -> list[float]:
    """Return the SSIM of every frame, by torchmetrics."""
    generated, original = (x.flatten(0, 1).double() for x in (preds, target))
    found = structural_similarity_index_measure(generated, original, data_range=1.0, reduction="none")
    assert isinstance(found, torch.Tensor)
    return found.tolist()


def flows_of(target) -> list[np.ndarray]:
    """Return the optical flow (H W 2) from each frame (t 3 H W) but the first to the one before, by OpenCV."""
    search = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    grey = [
        cv2.cvtColor((x.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), cv2.COLOR_RGB2GRAY) for x in target
    ]
    return [search.calc(later, earlier, None) for earlier, later in zip(grey, grey[1:])]  # type: ignore[call-overload]


def plain_changes(pred, target, flows: list[np.ndarray] | None = None) -> list[tuple[float, float]]:
    """Return the changes of the generated and of the original frames (t 3 H W), pair by pair, in numpy float64."""
    changes = []
    for i, found in enumerate(flows or flows_of(target)):
        y, x = np.mgrid[: found.shape[0], : found.shape[1]]
        at = [y + found[..., 1], x + found[..., 0]]
        pair = []
        for video in (pred, target):
            old, new = video[i].double().numpy(), video[i + 1].double().numpy()
            moved = np.stack([scipy.ndimage.map_coordinates(c, at, order=1, mode="nearest") for c in old])
            pair.append(float(np.linalg.norm(moved - new) / np.linalg.norm(new)))
        changes.append((pair[0], pair[1]))
    return changes
