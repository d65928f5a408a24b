"""Layers made for a CPU are torch's own, of any size."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.metrics.cpu_kernels import (
    TILE,
    Downsample,
    ThinnedConv,
    Winograd,
    convolution,
    max_pool_dim,
    minimal_filtering,
    same_padding,
)


def random(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def direct(x, weight, bias):
    """In float64, and with the channels where torch has them."""
    inner = x.double().movedim(-1, 1)
    return F.conv3d(inner, weight.double(), bias.double(), padding="same").movedim(1, -1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 2),
    st.integers(1, 5),
    st.integers(1, 21),
    st.integers(1, 21),
    st.sampled_from([(1, 3), (1, 5), (3, 3), (3, 5), (5, 3)]),
)
def test_winograd_is_the_convolution(seed, b, t, H, W, kernel):
    x, weight, bias = random(seed, b, t, H, W, 6), random(seed + 1, 7, 6, kernel[0], kernel[1], kernel[1]), random(2, 7)
    want = direct(x, weight, bias)
    got = Winograd(weight, bias)(x)
    assert got.shape == want.shape and got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * weight[0].norm().item())


@pytest.mark.parametrize("kernel", [3, 5])
def test_rows_that_do_not_fit_at_once_join(kernel):
    """Several stretches of rows, the last one shorter; channels as many as the networks have."""
    x = random(0, 2, 3, 44, 70, 48).relu()
    weight, bias = random(1, 32, 48, 3, kernel, kernel) / (48 * 3 * kernel**2) ** 0.5, random(2, 32)
    want, net = direct(x, weight, bias), Winograd(weight, bias)
    apart = net(x) - want
    assert apart.abs().max() < 5e-5 * want.std() and apart.square().mean().sqrt() < 5e-6 * want.std()
    torch.testing.assert_close(net.by_torch(x).double(), want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [3, 5])
def test_minimal_filtering_is_a_convolution(k):
    out_of, of_kernel, into = minimal_filtering(TILE, k)
    d, g = random(0, TILE + k - 1).double(), random(1, k).double()
    want = F.conv1d(d[None, None], g[None, None])[0, 0]
    torch.testing.assert_close(out_of @ ((of_kernel @ g) * (into @ d)), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (1, 2), (2, 1), (2, 2), (3, 1), (3, 2), (5, 1), (5, 3)])
@pytest.mark.parametrize("size", [5, 6, 13])
def test_max_pool_dim_twice_is_a_pooling(k, stride, size):
    x = random(0, 2, 3, 11, size)
    got = max_pool_dim(max_pool_dim(x, 2, k, stride), 3, k, stride)
    assert torch.equal(got, F.max_pool2d(x, k, stride))
    before, after = (k - 1) // 2, k // 2
    got = max_pool_dim(max_pool_dim(x, 2, k, stride, before, after), 3, k, stride, before, after)
    assert torch.equal(got, F.max_pool2d(F.pad(x, (before, after) * 2, value=-torch.inf), k, stride))


@pytest.mark.parametrize("size", [(24, 24), (25, 24), (24, 25), (25, 27)])
def test_a_thinned_convolution_is_one_and_its_downsampling(size):
    weight, bias, frames = random(0, 5, 3, 11, 11), random(1, 5), random(2, 2, 3, *size)
    want = Downsample()(F.conv2d(frames, weight, bias, padding=2))
    torch.testing.assert_close(ThinnedConv(weight, bias, 2)(frames), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "stride", "padding"), [((6, 3, 11, 11), 4, 2), ((6, 5, 5, 5), 1, 2), ((6, 5, 3, 3), 1, 1)]
)
def test_a_convolution_of_images_is_torchs(shape, stride, padding):
    weight, bias, x = random(0, *shape), random(1, 6), random(2, 2, shape[1], 33, 38)
    want = F.conv2d(x.double(), weight.double(), bias.double(), stride, padding)
    got = convolution(weight, bias, stride, padding)(x)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * weight[0].norm().item())


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 1), (7, 2)])
def test_a_convolution_of_videos_is_torchs(k, stride):
    weight, bias, x = random(0, 6, 4, k, k, k), random(1, 6), random(2, 1, 4, 14, 16, 4)
    pads = [side for size in x.shape[3:0:-1] for side in same_padding(size, k, stride)]
    want = F.conv3d(F.pad(x.double().movedim(-1, 1), pads), weight.double(), bias.double(), stride).movedim(1, -1)
    got = convolution(weight, bias, stride)(x)
    torch.testing.assert_close(got.double(), want, rtol=0, atol=1e-4 * weight[0].norm().item())
