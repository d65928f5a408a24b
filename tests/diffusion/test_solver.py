"""Solvers on equations whose solution is known."""

from __future__ import annotations

import math

import pytest
import torch

from lvcd.diffusion.solver import SOLVERS, dpmpp_2m, euler, heun

ORDER = {"euler": 1, "heun": 2, "dpmpp_2m": 2}
each_solver = pytest.mark.parametrize("name", SOLVERS)


def falling(steps: int, high: float = 20.0, low: float = 1e-4) -> torch.Tensor:
    """Smoothly down to a small level, then 0; in double precision."""
    return torch.cat([torch.logspace(math.log10(high), math.log10(low), steps, dtype=torch.float64), torch.zeros(1)])


def gaussian(x, sigma):
    """The best denoiser where clean data are unit normal. Its exact solution is x(s) ~ sqrt(1 + s^2)."""
    return x / (1 + sigma**2)


def error(solver, steps: int) -> float:
    x = torch.tensor([3.0, -1.0, 0.5], dtype=torch.float64)
    sigmas = falling(steps)
    exact = x / (1 + sigmas[0] ** 2) ** 0.5
    return ((solver(gaussian, x, sigmas) - exact) / exact).abs().max().item()


def test_every_solver_has_its_order():
    assert set(SOLVERS) == set(ORDER)


@each_solver
def test_order_of_convergence(name):
    coarse, fine = error(SOLVERS[name], 100), error(SOLVERS[name], 200)
    assert fine < 0.05
    assert math.log2(coarse / fine) == pytest.approx(ORDER[name], abs=0.2)


def test_second_order_is_worth_it():
    assert max(error(heun, 50), error(dpmpp_2m, 50)) < error(euler, 50) / 5


@each_solver
def test_a_straight_line_is_exact(name):
    x, clean = torch.randn(2, 3, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64)
    seen = []

    def denoise(x, sigma):
        seen.append((x, sigma))
        return clean

    sigmas = falling(6)
    torch.testing.assert_close(SOLVERS[name](denoise, x, sigmas), clean)
    for at, sigma in seen:
        torch.testing.assert_close(at, clean + sigma / sigmas[0] * (x - clean))


@each_solver
def test_one_step_to_zero_is_the_estimate(name):
    x = torch.randn(2, 3)
    sigma = torch.tensor(2.5)
    got = SOLVERS[name](gaussian, x, torch.tensor([2.5, 0.0]))
    torch.testing.assert_close(got, gaussian(x, sigma))


@each_solver
def test_float32_stays_float32_and_finite(name):
    got = SOLVERS[name](gaussian, torch.randn(2, 3) * 700, torch.tensor([700.0, 3.0, 0.002, 0.0]))
    assert got.dtype == torch.float32 and got.isfinite().all()


@each_solver
def test_the_input_is_left_alone(name):
    x, sigmas = torch.randn(4), falling(5)
    x_before, sigmas_before = x.clone(), sigmas.clone()
    SOLVERS[name](gaussian, x, sigmas)
    assert torch.equal(x, x_before) and torch.equal(sigmas, sigmas_before)


CALLS = {
    "euler": [0, 1, 2, 3],
    "dpmpp_2m": [0, 1, 2, 3],
    "heun": [0, 0, 1, 1, 2, 2, 3],  # the last step goes to 0, where no network can be asked
}


@each_solver
def test_on_denoised_sees_every_estimate(name):
    made, seen = [], []

    def denoise(x, sigma):
        made.append(gaussian(x, sigma))
        return made[-1]

    def on_denoised(step, denoised):
        seen.append((step, denoised))
        return denoised

    x, sigmas = torch.randn(3, dtype=torch.float64), falling(4)
    got = SOLVERS[name](denoise, x, sigmas, on_denoised)
    assert [step for step, _ in seen] == CALLS[name]
    assert all(a is b for a, (_, b) in zip(made, seen, strict=True))
    assert torch.equal(got, SOLVERS[name](gaussian, x, sigmas))


@each_solver
def test_on_denoised_may_replace_every_estimate(name):
    def bend(denoised):
        return denoised.sin() + 0.3

    x, sigmas = torch.randn(3, dtype=torch.float64), falling(5)
    got = SOLVERS[name](gaussian, x, sigmas, lambda step, denoised: bend(denoised))
    want = SOLVERS[name](lambda x, sigma: bend(gaussian(x, sigma)), x, sigmas)
    assert torch.equal(got, want) and not torch.allclose(got, SOLVERS[name](gaussian, x, sigmas))
