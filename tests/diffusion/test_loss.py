"""Preconditioning and the loss, where both are known in closed form."""

from __future__ import annotations

import math

import pytest
import torch

from lvcd.diffusion.loss import denoising_loss
from lvcd.diffusion.precondition import precondition

SHAPE = (2, 3, 4, 5, 6)  # b t c h w


@pytest.fixture
def drawn():
    """x0, sigma, noise; in double precision, so that rounding is no excuse."""
    g = torch.Generator().manual_seed(0)
    x0, noise = (torch.randn(SHAPE, generator=g, dtype=torch.float64) for _ in range(2))
    return x0, torch.tensor([0.3, 40.0], dtype=torch.float64), noise


def frame_means(x):
    return x.flatten(2).mean(2)


def test_perfect_denoiser_has_no_loss(drawn):
    x0, sigma, noise = drawn
    loss = denoising_loss(lambda x, s: x0, x0, sigma, noise)
    assert loss.shape == (2, 3) and (loss == 0).all()


def test_weight(drawn):
    x0, sigma, noise = drawn
    loss = denoising_loss(lambda x, s: torch.zeros_like(x), x0, sigma, noise)
    weight = torch.tensor([(s**2 + 1) / s**2 for s in (0.3, 40.0)], dtype=torch.float64)
    torch.testing.assert_close(loss, weight[:, None] * frame_means(x0**2))


def test_denoiser_that_does_nothing_leaves_the_noise(drawn):
    x0, sigma, noise = drawn
    loss = denoising_loss(lambda x, s: x, x0, sigma, noise)
    torch.testing.assert_close(loss, (sigma[:, None] ** 2 + 1) * frame_means(noise**2))


def test_the_denoiser_is_given_each_clip_at_its_level(drawn):
    x0, sigma, noise = drawn
    seen = []

    def denoise(x, s):
        seen.append((x, s))
        return x0

    denoising_loss(denoise, x0, sigma, noise)
    ((x, s),) = seen
    assert torch.equal(s, sigma)
    for clip in range(2):
        torch.testing.assert_close(x[clip], x0[clip] + s[clip] * noise[clip])


def test_gradient(drawn):
    x0, sigma, noise = drawn
    a = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    denoising_loss(lambda x, s: a * x, x0, sigma, noise).mean().backward()
    s = sigma.view(2, 1, 1, 1, 1)
    x = x0 + s * noise
    want = ((s**2 + 1) / s**2 * 2 * (0.7 * x - x0) * x).mean()
    torch.testing.assert_close(a.grad, want)


def test_huber_is_squares_where_errors_are_small_and_lengths_where_they_are_large(drawn):
    x0, sigma, noise = drawn
    for size, want in ((1e-4, 1e-8), (1e4, 2 * 0.2 * 1e4)):  # of the weighted error of every channel
        off = size * sigma / (sigma**2 + 1).sqrt()
        loss = denoising_loss(lambda x, s, off=off: x0 + off.view(-1, 1, 1, 1, 1), x0, sigma, noise, huber=0.2)
        torch.testing.assert_close(loss, torch.full_like(loss, want), rtol=1e-3, atol=0)


def test_huber_is_drawn_to_the_likeliest_answer():
    """Two colors, one right in 7 of 10 cases: squares want their mean, 3 tenths of the way; huber nearly the one."""
    x0 = torch.zeros(10, 1, 4, 1, 1, dtype=torch.float64)
    x0[7:] = 1
    still, sigma = torch.zeros_like(x0), torch.full((10,), 80.0)

    def best(huber):
        guesses = torch.linspace(0, 1, 101, dtype=torch.float64)
        losses = [denoising_loss(lambda x, s, g=g: still + g, x0, sigma, still, huber).mean() for g in guesses]
        return guesses[torch.stack(losses).argmin()].item()

    assert best(None) == pytest.approx(0.3) and best(0.1) < 0.06


# ------------------------------------------------------------------------------------------------------ preconditioning


@pytest.mark.parametrize("sigma", [0.002, 0.5, 1.0, 30.0, 700.0])
def test_scalings(sigma):
    x = torch.randn(1, 2, 3, 4, 4) * (1 + sigma**2) ** 0.5
    out = torch.randn(1, 2, 3, 4, 4)
    seen = []

    def net(x, c_noise):
        seen.append((x, c_noise))
        return out

    got = precondition(net)(x, torch.tensor([sigma]))
    ((scaled, c_noise),) = seen
    torch.testing.assert_close(scaled, x / math.sqrt(sigma**2 + 1))
    assert c_noise.tolist() == pytest.approx([math.log(sigma) / 4], rel=1e-5)
    torch.testing.assert_close(got, x / (sigma**2 + 1) - sigma / math.sqrt(sigma**2 + 1) * out)


def test_the_right_v_gives_back_the_clean_picture():
    clean, noise = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64), torch.randn(2, 3, 4, 5, 6, dtype=torch.float64)
    sigma = torch.tensor([0.1, 5.0])
    s = sigma.double().view(2, 1, 1, 1, 1)

    def net(x, c_noise):  # v of the unit-variance mixture cos(a) clean + sin(a) noise, tan(a) = sigma
        return ((noise - s * clean) / (s**2 + 1) ** 0.5).double()

    got = precondition(net)(clean + s * noise, sigma)
    torch.testing.assert_close(got, clean, atol=1e-5, rtol=1e-5)


def test_one_level_for_all_clips_or_one_each():
    x = torch.randn(3, 2, 4, 2, 2)
    denoise = precondition(lambda x, c_noise: x + c_noise.view(-1, 1, 1, 1, 1))
    for form in (2.0, torch.tensor(2.0), torch.tensor([2.0])):
        assert torch.equal(denoise(x, form), denoise(x, torch.tensor([2.0] * 3)))
    each = denoise(x, torch.tensor([0.1, 2.0, 30.0]))
    for clip, sigma in enumerate((0.1, 2.0, 30.0)):
        torch.testing.assert_close(each[clip : clip + 1], denoise(x[clip : clip + 1], sigma))


def test_a_network_of_low_precision_is_brought_back_to_float32():
    x = torch.randn(1, 1, 4, 2, 2)
    assert precondition(lambda x, c_noise: x.bfloat16())(x, 3.0).dtype == torch.float32
