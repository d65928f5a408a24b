"""Frechet Inception Distance: Heusel et al. 2017 (arXiv 1706.08500).

letters: n frames, H W pixels
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvcd.errors import InputError

from . import weight_files as weights
from .frame_tensors import Filter
from .frechet import FrechetDistance

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"
INCEPTION_SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"


class Inception(nn.Module):
    """Frames (n 3 H W) in [0, 1] -> the 2048 pool features of FID's Inception-v3 (n 2048), by torch-fidelity.

    The frames are rounded to 8 bits, as images in files are, and resized to 299 x 299 px as TensorFlow 1 does it.
    InputError: torch-fidelity is not installed, or the file is not the published one.
    """

    name = "inception-v3-compat"
    features = 2048

    def __init__(self, path: str | Path):
        super().__init__()
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError as error:
            raise InputError("FID needs torch-fidelity: pip install torch-fidelity==0.4.0") from error
        data, self.sha256 = weights.read(path, INCEPTION_SHA256, f"Inception's {INCEPTION_FILE}")
        copy = io.BytesIO()  # torch-fidelity unpickles anything: it is given tensors only
        torch.save(weights.tensors(data, f"Inception's {INCEPTION_FILE}"), copy)
        copy.seek(0)
        self.net = FeatureExtractorInceptionV3(self.name, ["2048"], feature_extractor_weights_path=copy)

    def forward(self, frames: Tensor) -> Tensor:
        return self.net((frames * 255).round().to(torch.uint8))[0]


class FID(FrechetDistance):
    """Frechet distance of Inception-v3 pool features over all frames. From 0 up, lower is better.

    `weights` is torch-fidelity's file weights-inception-2015-12-05-6726825d.pth, which no package ships. Without it use
    FrechetDistance(PooledFeatures()), which is another measure and has another name. InputError: none, or another file.

    >>> fid = FID("weights-inception-2015-12-05-6726825d.pth")  # doctest: +SKIP
    >>> fid.update(original, real=True)  # doctest: +SKIP
    >>> fid.update(generated, real=False)  # doctest: +SKIP
    >>> fid.compute()  # doctest: +SKIP
    tensor(8.8423, dtype=torch.float64)
    """

    def __init__(
        self,
        weights: str | Path | None = None,
        size: int | None = 256,
        filter: Filter = "bilinear_antialias",
        groups: int = 10,
        **kwargs: Any,
    ):
        if weights is None:
            raise InputError(
                f"FID needs {INCEPTION_FILE} of torch-fidelity: give its path as weights=, "
                "or use FrechetDistance(PooledFeatures()), which runs offline under its own name"
            )
        super().__init__(Inception(weights), size, filter, groups, **kwargs)

    @property
    def name(self) -> str:
        return "FID"
