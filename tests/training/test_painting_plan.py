"""The plan of painting: weights are exact, activations near those of a real run, and ways to save memory save it."""

from __future__ import annotations

import pytest
import torch

from lvcd.errors import InputError
from lvcd.pipeline import load_pipeline
from lvcd.training.plan.cost_counter import CostCounter
from lvcd.training.plan.painting_plan import (
    GIB,
    MEMORY_OPTIONS,
    MemoryOptions,
    PaintingSettings,
    format_painting,
    plan_painting,
)

SMALL = PaintingSettings((96, 160), frames=20, dtype=torch.float32)


@pytest.fixture(scope="module")
def plan():
    return plan_painting("mini", SMALL)


def test_weights_are_those_of_the_model(plan):
    pipeline = load_pipeline("mini", "cpu")
    networks = {n: m for n, m in pipeline.components.items() if isinstance(m, torch.nn.Module)}
    assert plan.weights == {
        name: sum(t.nbytes for t in (*network.parameters(), *network.buffers())) for name, network in networks.items()
    }


def test_a_real_denoising_step_allocates_as_much(plan):
    pipeline = load_pipeline("mini", "cpu")
    networks = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    sampling = pipeline.sampling_config(None, 4).complete(pipeline.config)
    factor = 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    shape = (1, sampling.slots, pipeline.vae.config.latent_channels, 96 // factor, 160 // factor)
    persistent = [t for network in networks for t in (*network.parameters(), *network.buffers())]
    with torch.no_grad(), CostCounter(persistent) as real:
        token = torch.zeros(1, 1, pipeline.image_encoder.config.projection_dim)
        denoise = pipeline._denoiser(token, torch.zeros(shape), torch.zeros(1, sampling.slots, 1, 96, 160), 1.0)
        denoise(torch.zeros(shape), torch.ones(()), sampling.layout(False, 1.0, 1))
    assert plan.denoising == pytest.approx(real.peak, rel=0.02)
    assert plan.steps == 2 * len(sampling.noise_levels[:-1])  # 19 frames after the first segment's 14


def test_ways_save_memory(plan):
    peaks = {str(options): plan.peak(options) for options in MEMORY_OPTIONS}
    assert peaks["--offload model"] < peaks[""] and peaks["--decode-chunk 4"] <= peaks[""]
    assert peaks["--offload sequential --decode-chunk 2"] <= peaks["--offload group --decode-chunk 2"]
    assert plan.peak(MemoryOptions("model", "fp8", 4)) <= plan.peak(MemoryOptions("model", None, 4))


def test_more_references_and_pixels_cost_more(plan):
    more = plan_painting("mini", PaintingSettings((96, 160), 20, references=3, dtype=torch.float32))
    larger = plan_painting("mini", PaintingSettings((128, 224), 20, dtype=torch.float32))
    assert more.denoising > plan.denoising and more.step > plan.step
    assert larger.denoising > plan.denoising and larger.work > plan.work


def test_the_report_names_a_way_for_each_card(plan):
    most, least = plan.peak(MemoryOptions()) / GIB, min(map(plan.peak, MEMORY_OPTIONS)) / GIB
    text = format_painting(plan, [("large", most + 2), ("small", least + 1.5), ("tiny", 1.0)])
    large, small, tiny, _ = text.splitlines()[-4:]
    assert large.startswith("large: fits,") and "small: fits with --" in small and "tiny: does not fit" in tiny


@pytest.mark.parametrize("settings", [{"frames": 0}, {"references": 0}])
def test_what_means_nothing_is_refused(settings):
    with pytest.raises(InputError):
        PaintingSettings(**settings)
