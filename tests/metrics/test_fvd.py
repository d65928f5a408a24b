"""FVD is the Frechet distance of I3D's logits, and only that is called FVD."""

import numpy as np
import pytest
import torch

from lvcd.errors import InputError
from lvcd.metrics import FVD, I3D

pytestmark = pytest.mark.filterwarnings("ignore:.*too few")


class Motion:
    """Clips (b t 3 H W) -> (b 3): mean change from frame to frame."""

    name, features = "motion", 3

    def __call__(self, clips):
        return clips.diff(dim=1).abs().mean((1, 3, 4))


def clips(seed: int, b: int, t: int, size: int = 8) -> torch.Tensor:
    return torch.rand(b, t, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_published_value_through_the_metric():
    """metrics.md: 569.23 by the TorchScript port, 569.8 with these weights, for 10 frames."""
    try:
        fvd = FVD(size=None)
    except InputError as error:
        pytest.skip(str(error))
    fvd.update(torch.zeros(2, 10, 3, 64, 64), real=True)
    fvd.update(torch.ones(2, 10, 3, 64, 64), real=False)
    report = fvd.report()
    assert report["value"] == fvd.compute().item() == pytest.approx(569.8, abs=0.7)
    assert report["name"] == "FVD" and report["extractor"]["sha256"].startswith("af5c50f0")
    assert report["settings"]["to_224"] == "bilinear" and report["n"] == 2
    assert "biased upward" in report["notes"][0]


def test_value_is_that_of_the_logits():
    try:
        net = I3D()
    except InputError as error:
        pytest.skip(str(error))
    real, fake = clips(0, 3, 9), clips(1, 2, 9) ** 2
    logits = []
    net.register_forward_hook(lambda *call: logits.append(call[-1].double().numpy()))
    fvd = FVD(net, size=None)
    fvd.update(real, real=True)
    fvd.update(fake, real=False)
    a, b = logits
    assert (len(a), len(b)) == (3, 2)
    centered = [(x - x.mean(0)) / np.sqrt(len(x) - 1) for x in (a, b)]
    root = np.linalg.svd(centered[0] @ centered[1].T, compute_uv=False).sum()
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + sum((x**2).sum() for x in centered) - 2 * root
    assert fvd.compute().item() == pytest.approx(want, rel=1e-4)


def test_another_network_is_not_called_fvd():
    fvd = FVD(Motion(), size=None)
    real = clips(0, 4, 12)
    fvd.update(real, real=True)
    fvd.update(real**2, real=False)
    report = fvd.report()
    assert report["name"] == "FrechetDistance[motion]" and (report["n"], report["clips"]) == (4, 4)
    assert (report["settings"]["length"], report["settings"]["stride"]) == (None, None)  # boards are keyed by these


def test_frames_are_resized_first():
    seen = []

    class Size(Motion):
        def __call__(self, clips):
            seen.append(tuple(clips.shape))
            return super().__call__(clips)

    FVD(Size(), size=24).update(clips(0, 2, 9, 40), real=True)
    assert seen == [(2, 9, 3, 24, 24)]


def test_bad_clips():
    fvd = FVD(Motion())
    with pytest.raises(InputError, match="NaN"):
        fvd.update(clips(0, 2, 9) / 0 * 0, real=True)
