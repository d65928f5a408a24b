"""What the docstrings show is what happens, and every metric shows something."""

import doctest
import importlib
import pkgutil

import pytest
import torch

import lvcd.metrics

MODULES = [module.name for module in pkgutil.iter_modules(lvcd.metrics.__path__)]


@pytest.mark.filterwarnings("ignore:.*too few")
@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    module = importlib.import_module(f"lvcd.metrics.{name}")
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.failed == 0


@pytest.mark.parametrize("name", ["FID", "FVD", "EDMD", "TC", "LPIPS", "PSNR", "SSIM", "SegmentAccuracy"])
def test_every_metric_has_one(name):
    text = getattr(lvcd.metrics, name).__doc__
    assert ".update(" in text and ".compute()" in text
