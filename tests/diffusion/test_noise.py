"""How much noise: schedules against plain doubles and published lists, and the law of training."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lvcd.diffusion.noise import SCHEDULES, align_your_steps, karras, log_normal_sigma
from tests.helpers import oracles
from tests.helpers.paths import GOLDEN

# Sabour et al. 2024, for Stable Video Diffusion, as its authors print it.
PUBLISHED = [700.00, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034, 0.002]


@settings(deadline=None)
@given(st.integers(1, 200), st.floats(1e-3, 0.5), st.floats(1.0, 1000.0), st.floats(3.0, 10.0))
def test_karras_in_plain_doubles(steps, low, high, rho):
    want = oracles.distance_walk(steps, low, high, rho)
    assert karras(steps, low, high, rho).tolist() == pytest.approx(want, rel=3e-5)


def test_karras_as_the_original_recorded_it():
    recorded = json.loads((GOLDEN / "manifest.json").read_text())["sigma_schedule"]
    assert recorded
    for steps, levels in recorded.items():
        assert karras(int(steps)).tolist() == pytest.approx(levels, rel=1e-6)


def test_align_your_steps_is_the_published_list():
    assert align_your_steps(10).tolist() == pytest.approx([*PUBLISHED[:-1], 0.0], rel=1e-6)


@settings(deadline=None)
@given(st.integers(1, 120))
def test_align_your_steps_between_the_published_levels(steps):
    at = np.arange(steps) * 10 / steps
    want = [*np.exp(np.interp(at, np.arange(11), np.log(PUBLISHED))), 0.0]
    assert align_your_steps(steps).tolist() == pytest.approx(want, rel=1e-5)


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(1e-4, 0.1), st.floats(1.0, 900.0))
def test_align_your_steps_keeps_its_shape_between_other_ends(steps, low, high):
    stretched, published = align_your_steps(steps, low, high), align_your_steps(steps)
    share = (math.log(high) - math.log(low)) / (math.log(700) - math.log(0.002))
    want = [math.exp(math.log(low) + share * (math.log(s) - math.log(0.002))) for s in published[:-1].tolist()]
    assert stretched[:-1].tolist() == pytest.approx(want, rel=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@settings(deadline=None)
@given(st.integers(1, 5000))
def test_levels_fall_from_the_largest_to_zero(schedule, steps):
    levels = schedule(steps)
    assert levels.shape == (steps + 1,) and levels.dtype == torch.float32
    assert levels[0].item() == pytest.approx(700, rel=1e-5) and levels[-1] == 0
    assert (levels.diff() < 0).all()


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize("settings", [(0,), (-3,), (5, 0.0), (5, -1.0), (5, 3.0, 3.0), (5, 3.0, 2.0)])
def test_settings_without_a_schedule(schedule, settings):
    with pytest.raises(ValueError, match="steps >= 1 and 0 < sigma_min < sigma_max"):
        schedule(*settings)


def test_law_of_training():
    sigma = log_normal_sigma(200_000, generator=torch.Generator().manual_seed(0))
    assert sigma.shape == (200_000,) and sigma.dtype == torch.float32 and sigma.device.type == "cpu"
    log = sigma.double().log()
    z = (log - 1.0) / 1.6
    # mean, variance, skew and kurtosis of a unit normal, within five standard errors
    for power, moment, error in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert (z**power).mean().item() == pytest.approx(moment, abs=5 * math.sqrt(error / len(z)))


def test_law_of_training_obeys_its_settings_and_generator():
    def draw(seed, *law):
        return log_normal_sigma(5, *law, generator=torch.Generator().manual_seed(seed))

    assert torch.equal(draw(1), draw(1)) and not torch.equal(draw(1), draw(2))
    torch.testing.assert_close(draw(1, -2.0, 0.5).log(), (draw(1).log() - 1) / 1.6 * 0.5 - 2)
