"""LPIPS is torchmetrics' value; ST-LPIPS that of its authors' own code; both name their weights."""

import hashlib
import importlib
import pickle
import sys
import types

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import lpips as reference

from lvcd.errors import InputError
from lvcd.metrics import LPIPS, ShiftTolerantLPIPS, backbones

pytestmark = pytest.mark.filterwarnings("ignore:The ``compute`` method")

CONVOLUTIONS = [0, 3, 6, 8, 10]
"""Numbers of the convolutions in torchvision's `features`."""


def pairs(seed: int, b: int = 2, t: int = 2, size: int = 64) -> torch.Tensor:
    """(2 b t 3 H W)"""
    return torch.rand(2, b, t, 3, size, size, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def lpips(tmp_path, monkeypatch):
    """Our metric and torchmetrics' network, both with the same random backbone."""
    torch.manual_seed(0)
    theirs = reference._LPIPS(net="alex", pnet_rand=True)
    tensors = {k: v for k, v in theirs.net.state_dict().items()}
    state = {f"features.{k.split('.', 1)[1]}": v for k, v in tensors.items()} | {"classifier.6.bias": torch.zeros(1000)}
    assert sorted({int(k.split(".")[1]) for k in state if k.startswith("features")}) == CONVOLUTIONS
    path = tmp_path / "random.pth"
    torch.save(state, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(backbones, "TORCHVISION_SHA256", sha256)
    return LPIPS(path, size=None), theirs, sha256


def test_lpips_is_torchmetrics_own_per_batch_and_together(lpips):
    ours, theirs, sha256 = lpips
    want = []
    for seed in (0, 1):
        preds, target = pairs(seed, b=1)
        want.append(theirs(preds.flatten(0, 1), target.flatten(0, 1), normalize=True).mean().item())
        assert ours(preds, target).item() == pytest.approx(want[-1], rel=1e-4)
    assert ours.compute().item() == pytest.approx(np.mean(want), rel=1e-4)
    np.testing.assert_allclose(ours.per_clip(), want, rtol=1e-4)
    report = ours.report()
    assert report["name"] == "LPIPS" and report["extractor"]["sha256"] == sha256


def original(monkeypatch):
    """The authors' network, from their package, whose unused imports are stood in for."""
    pytest.importorskip("stlpips_pytorch", reason="pip install stlpips_pytorch")
    for name, attribute in (("IPython", "embed"), ("torchsummary", "summary")):
        module = types.ModuleType(name)
        setattr(module, attribute, None)
        monkeypatch.setitem(sys.modules, name, module)
    module = importlib.import_module("stlpips_pytorch.stlpips")
    return module.LPIPS(net="alex", variant="shift_tolerant", verbose=False)


@pytest.mark.parametrize("size", [49, 64])  # pads and pools at the edge
def test_shift_tolerant_is_its_authors_own(size, monkeypatch):
    theirs = original(monkeypatch)
    preds, target = pairs(3, b=1, size=size)
    ours = ShiftTolerantLPIPS(size=None)
    with torch.no_grad():
        want = theirs(preds.flatten(0, 1), target.flatten(0, 1), normalize=True).mean().item()
    assert ours(preds, target).item() == pytest.approx(want, rel=1e-4)
    assert ours.report()["name"] == "ShiftTolerantLPIPS"


@pytest.fixture(scope="module")
def tolerant() -> ShiftTolerantLPIPS:
    try:
        return ShiftTolerantLPIPS(size=64)
    except InputError as error:
        pytest.skip(str(error))


def test_zero_for_equal_and_more_for_more_noise(tolerant):
    metric = tolerant.clone()
    target = pairs(0, b=1, t=1)[0]
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(5))
    values = [metric((target + a * noise).clamp(0, 1), target).item() for a in (0, 0.02, 0.1, 0.4)]
    assert values[0] == 0 and values == sorted(values) and len({*values}) == 4


def test_pickle_clone_reset_half(tolerant):
    metric = tolerant.clone().half()
    preds, target = pairs(0)
    metric.update(preds.half(), target.half())
    value = metric.compute()
    assert value.dtype == torch.float64
    for copy in (pickle.loads(pickle.dumps(metric)), metric.clone()):
        assert torch.equal(copy.compute(), value)
    full = tolerant.clone()
    full.update(preds.half().float(), target.half().float())
    assert torch.equal(full.compute(), value)
    assert not metric.state_dict()
    metric.reset()
    with pytest.raises(InputError, match="no clips"):
        metric.compute()


def test_bad_input(tolerant, tmp_path):
    metric = tolerant.clone()
    preds, target = pairs(0)
    for wrong, message in (
        (preds[:, :1], "as many frames"),
        (preds * torch.nan, "not numbers"),
        (preds * 2, "rescale"),
        (preds[:, 0], "b t 3 H W"),
    ):
        with pytest.raises(InputError, match=message) as error:
            metric.update(wrong, target)
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="ShiftTolerantLPIPS"):
        LPIPS()
    (tmp_path / "w.pth").write_bytes(b"x")
    with pytest.raises(InputError, match="alexnet-owt-7be5be79.pth"):
        LPIPS(weights=tmp_path / "w.pth")
