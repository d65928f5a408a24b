"""FID is Inception's and nobody else's; the offline stand-in has its own name and reacts as a distance should."""

import hashlib

import pytest
import torch
import torch.nn.functional as F
from kornia.filters import gaussian_blur2d
from torchmetrics.image.fid import FrechetInceptionDistance

from lvcd.errors import InputError
from lvcd.metrics import FID, FrechetDistance, PooledFeatures, fid
from lvcd.metrics.frechet import frechet_distance

pytestmark = pytest.mark.filterwarnings("ignore:.*too few")


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """A weight file of Inception's names and shapes with random numbers."""
    extractor = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity is missing")
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor.FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        patch.setattr(extractor, "load_state_dict_from_url", lambda *_, **__: None)
        net = extractor.FeatureExtractorInceptionV3("x", ["2048"])
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    torch.save(net.state_dict(), path)
    return path, hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.slow
def test_value_is_torchmetrics_own(inception, monkeypatch):
    path, sha256 = inception
    monkeypatch.setattr(fid, "INCEPTION_SHA256", sha256)
    monkeypatch.setattr(FrechetDistance, "_distance", few_features)
    rng = torch.Generator().manual_seed(1)
    real, fake = torch.rand(2, 3, 2, 3, 32, 48, generator=rng).mul(255).round().div(255)
    ours = FID(path, size=None, groups=1)
    theirs = FrechetInceptionDistance(2048, feature_extractor_weights_path=path, antialias=False)
    for frames, is_real in ((real, True), (fake, False)):
        ours.update(frames, real=is_real)
        theirs.update(frames.flatten(0, 1).mul(255).round().byte(), real=is_real)
    for side in ("real", "fake"):
        sums = getattr(theirs, f"{side}_features_sum"), getattr(theirs, f"{side}_features_cov_sum")
        torch.testing.assert_close(getattr(ours, f"{side}_sum")[0], sums[0], rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(getattr(ours, f"{side}_outer")[0], sums[1], rtol=1e-5, atol=1e-6)
    report = ours.report()
    assert report["name"] == "FID" and report["extractor"] == {"name": "inception-v3-compat", "sha256": sha256}
    assert report["n"] == 6 and report["notes"]


def few_features(self, kept):
    """The distance of the first 8 features: that of all 2048 takes seconds and is tested elsewhere."""
    d = torch.eye(8, dtype=torch.float64)
    return frechet_distance(self.real_sum[0, :8], d, self.fake_sum[0, :8], d)


def test_another_file_is_refused(inception, tmp_path):
    path, sha256 = inception
    with pytest.raises(InputError, match=f"{sha256[:8]}.*6726825d"):
        FID(path)
    with pytest.raises(InputError, match=r"FrechetDistance\(PooledFeatures\(\)\)"):
        FID()


@pytest.fixture(scope="module")
def pooled() -> PooledFeatures:
    try:
        return PooledFeatures()
    except InputError as error:
        pytest.skip(str(error))


def cartoons(n: int, seed: int, size: int = 48) -> torch.Tensor:
    """(n 1 3 H W): a few flat areas in a few colors each."""
    rng = torch.Generator().manual_seed(seed)
    areas = F.interpolate(torch.rand(n, 1, 5, 5, generator=rng), (size, size), mode="bicubic")
    palette = torch.rand(n, 4, 3, generator=rng)
    label = (areas * 4).long().clamp(0, 3)[:, 0]
    return torch.stack([colors[own] for colors, own in zip(palette, label)]).permute(0, 3, 1, 2)[:, None]


def noisy(x, amount):
    return (x + 0.2 * amount * torch.randn(x.shape, generator=torch.Generator().manual_seed(9))).clamp(0, 1)


def blurred(x, amount):
    return gaussian_blur2d(x[:, 0], (13, 13), (3 * amount,) * 2)[:, None]


def tinted(x, amount):
    return x.lerp(torch.tensor([1.0, 0.2, 0.2]).view(3, 1, 1), 0.8 * amount)


def greyed(x, amount):
    return x.lerp(x.mean(2, keepdim=True), amount)


@pytest.mark.slow
@pytest.mark.parametrize("damage", [noisy, blurred, tinted, greyed])
def test_the_offline_distance_grows_with_the_damage(pooled, damage):
    """Against the same frames undamaged: between other frames, so few, their own difference hides slight noise."""
    real = cartoons(24, 1)
    distances = []
    for amount in (0.0, 0.1, 0.3, 0.6, 1.0):
        m = FrechetDistance(pooled, size=None, groups=1)
        m.update(real, real=True)
        m.update(damage(real, amount) if amount else real, real=False)
        distances.append(m.compute().item())
    assert distances[0] < 1e-6 and all(b > 1.5 * a for a, b in zip(distances[1:], distances[2:])), distances
    assert m.name == "FrechetDistance[shift-tolerant-alex]"
    assert m.extractor_identity()["sha256"].startswith("b356b382")
