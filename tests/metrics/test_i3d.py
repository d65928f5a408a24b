"""I3D with the packaged weights gives the published logits; its file is read without running anything."""

import hashlib
import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lvcd.errors import InputError
from lvcd.metrics import I3D, ScriptedI3D
from lvcd.metrics import weight_files as weights
from lvcd.metrics.cpu_kernels import same_padding
from lvcd.metrics.i3d import i3d_input, max_pool


@pytest.fixture(scope="module")
def i3d() -> I3D:
    try:
        return I3D()
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize(("t", "published", "within"), [(30, 151.392, 0.3), (16, 152.9, 0.3), (10, 569.8, 0.7)])
def test_zeros_against_ones_as_published(i3d, t, published, within):
    """metrics.md: TensorFlow's 151.392 and the TorchScript port's 152.92 and 569.23. Uniform, so at the logits' own
    distance: clips that are all alike have no covariance."""
    with torch.no_grad():
        zeros, ones = i3d(torch.zeros(1, t, 3, 64, 64)), i3d(torch.ones(1, t, 3, 64, 64))
    assert zeros.shape == (1, 400)
    assert (zeros - ones).square().sum().item() == pytest.approx(published, abs=within)


def test_each_clip_for_itself(i3d):
    clips = torch.rand(2, 9, 3, 24, 40, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        both = i3d(clips)
        torch.testing.assert_close(both[1:], i3d(clips[1:]), rtol=1e-4, atol=1e-4)
    assert (both[0] - both[1]).abs().max() > 0.01


@pytest.mark.parametrize(("size", "k", "s"), [(7, 3, 2), (8, 3, 2), (8, 7, 2), (5, 3, 1), (9, 2, 2), (10, 2, 2)])
def test_padding_is_tensorflows(size, k, s):
    """Its definition: ceil(size / s) windows; the window around the middle leans to the end by the odd pixel."""
    before, after = same_padding(size, k, s)
    assert (before + size + after - k) // s + 1 == -(-size // s)
    assert after - before in (0, 1)


@pytest.mark.parametrize(("kernel", "stride"), [((3, 3, 3), (1, 1, 1)), ((3, 3, 3), (2, 2, 2)), ((1, 3, 3), (1, 2, 2))])
def test_pooling_is_torchs(kernel, stride):
    x = torch.rand(1, 9, 13, 14, 3)
    pads = [side for dim in (3, 2, 1) for side in same_padding(x.shape[dim], kernel[dim - 1], stride[dim - 1])]
    want = F.max_pool3d(F.pad(x.movedim(-1, 1), pads), kernel, stride)
    assert torch.equal(max_pool(x, kernel, stride).movedim(-1, 1), want)


def test_tensorflows_resize_takes_corners():
    row = torch.tensor([0.0, 1.0])
    clips = row.expand(1, 9, 3, 2, 2)
    got = i3d_input(clips, "tf1")[0, 0, 0, 0]
    want = 2 * np.interp(np.arange(224) * 2 / 224, [0, 1], [0, 1]) - 1
    np.testing.assert_allclose(got, want, atol=1e-6)
    centers = 2 * np.interp((np.arange(224) + 0.5) * 2 / 224 - 0.5, [0, 1], [0, 1]) - 1
    np.testing.assert_allclose(i3d_input(clips, "bilinear")[0, 0, 0, 0], centers, atol=1e-6)


def test_short_clips_are_refused():
    with pytest.raises(InputError, match="9 .*8"):
        i3d_input(torch.zeros(1, 8, 3, 8, 8), "bilinear")


class Evil:
    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('ran').touch()",)


@pytest.mark.parametrize("payload", [Evil(), {"params": np.array([Evil()], object)}])
def test_a_pickle_cannot_run_code(tmp_path, monkeypatch, payload):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="builtins.eval"):
        weights.arrays(pickle.dumps(payload), "the file")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back(protocol):
    data = pickle.dumps({"a": {"b": np.arange(6.0).reshape(2, 3).T}}, protocol)
    np.testing.assert_array_equal(weights.arrays(data, "it")["a"]["b"], np.arange(6.0).reshape(2, 3).T)
    old = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray") if protocol == 3 else data
    np.testing.assert_array_equal(weights.arrays(old, "it")["a"]["b"], np.arange(6.0).reshape(2, 3).T)


def test_a_changed_or_missing_file_is_refused(tmp_path):
    (tmp_path / "w").write_bytes(b"not the weights")
    with pytest.raises(InputError, match="SHA-256 starts with"):
        I3D(tmp_path / "w")
    with pytest.raises(InputError, match="cannot read"):
        I3D(tmp_path / "none")
    with pytest.raises(InputError, match="not installed"):
        weights.in_package("no_such_package_at_all", "w", "do this")


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor, rescale: bool, resize: bool, return_features: bool):
        assert not rescale and not resize and return_features
        return x.mean((2, 3, 4)).repeat(1, 134)[:, :400]


def test_a_scripted_network_needs_its_hash(tmp_path):
    path = tmp_path / "i3d.pt"
    torch.jit.script(Scripted()).save(path)
    with pytest.raises(InputError, match="starts with"):
        ScriptedI3D(path)
    with pytest.raises(InputError, match="whole SHA-256"):
        ScriptedI3D(path, "ab")
    net = ScriptedI3D(path, hashlib.sha256(path.read_bytes()).hexdigest())
    clips = torch.rand(2, 9, 3, 16, 16)
    got = pickle.loads(pickle.dumps(net))(clips)
    torch.testing.assert_close(got[:, :3], i3d_input(clips, "bilinear").mean((2, 3, 4)))
