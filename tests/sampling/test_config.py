"""SamplingConfig: what is refused, what a model fills in, and what a leaderboard row keeps of it."""

from __future__ import annotations

import pytest
import torch

from lvcd.errors import InputError
from lvcd.sampling.config import PAPER_MODEL, SamplingConfig


def test_a_model_fills_in_what_is_not_given():
    model = {**PAPER_MODEL, "steps": 3, "window": 6, "sigma_max": 80.0}
    config = SamplingConfig(steps=5, overlap=2).complete(model)
    assert (config.steps, config.window, config.sigma_max, config.overlap, config.slots) == (5, 6, 80.0, 2, 9)
    assert len(config.noise_levels) == 6 and config.noise_levels[0].item() == pytest.approx(80)
    assert config.complete(PAPER_MODEL) == config


def test_noise_levels_of_ones_own():
    config = SamplingConfig(sigmas=[5.0, 1.0, 0.0]).complete()
    assert torch.equal(config.noise_levels, torch.tensor([5.0, 1.0, 0.0]))
    for wrong in ([5.0], [5.0, 1.0], [1.0, 5.0, 0.0], [1.0, 1.0, 0.0]):
        with pytest.raises(InputError, match="sigmas"):
            SamplingConfig(sigmas=wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 0},
        {"solver": "eule"},
        {"schedule": "linear"},
        {"overlap": -1},
        {"overlap": 1.5},
        {"blend_steps": -1},
        {"sigma_min": 0.0},
        {"guidance": float("nan")},
        {"guidance": "2"},
        {"prev_sample": 1},
    ],
)
def test_values_without_a_meaning(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SamplingConfig(**wrong)


@pytest.mark.parametrize("wrong", [{"overlap": 14}, {"sigma_min": 700.0}])
def test_values_that_do_not_fit_the_model(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        SamplingConfig(**wrong).complete()


def test_what_is_not_the_paper_is_named_and_kept():
    config = SamplingConfig(steps=3, gain=2.0)
    assert config.changes() == ["steps=3", "gain=2.0"]
    record = config.complete().record()
    assert record["steps"] == 3 and record["gain"] == 2.0 and record["overlap"] == 4
    assert "reach" not in record and "window" not in record
