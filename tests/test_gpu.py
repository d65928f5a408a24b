"""What only a GPU can show. Skipped without one."""

from __future__ import annotations

import pytest
import torch
from conftest import toy_pipeline

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def paint(pipeline):
    torch.manual_seed(0)
    reference, sketches = torch.rand(3, 32, 48), torch.rand(9, 1, 32, 48).round()
    generator = torch.Generator().manual_seed(1)  # noise is drawn on the CPU, whatever the device
    return pipeline(reference, sketches, overlap=2, reference_frame=0, generator=generator, output_type="pt").frames


@pytest.fixture
def exact():
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_the_gpu_paints_what_the_cpu_does(exact):
    torch.testing.assert_close(paint(toy_pipeline().to("cuda")), paint(toy_pipeline()), atol=2e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_close(dtype):
    full, half = paint(toy_pipeline().to("cuda")), paint(toy_pipeline().to("cuda", dtype))
    assert half.isfinite().all() and (half - full).abs().mean() < 0.05
