"""One name for the same weights, and another for others."""

from __future__ import annotations

import copy
import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from lvcd.checkpoints.fingerprint import fingerprint


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


def test_what_is_hashed():
    """Written out by hand for one layer."""
    layer = nn.Linear(2, 1)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5]]))
        layer.bias.copy_(torch.tensor([0.1]))
    content = b"bias (1,)\n" + np.float16([0.1]).tobytes() + b"weight (1, 2)\n" + np.float16([1, -0.5]).tobytes()
    assert fingerprint(layer) == hashlib.sha256(content).hexdigest()


def test_precisions_agree(network):
    half = copy.deepcopy(network).half()
    assert fingerprint(half) == fingerprint(network)
    assert fingerprint(copy.deepcopy(half).float()) == fingerprint(network)
    assert next(network.parameters()).dtype == torch.float32  # it is left as it was


def test_a_saved_model_agrees(pipeline, tmp_path):
    pipeline.vae.save_pretrained(tmp_path / "full")
    copy.deepcopy(pipeline.vae).half().save_pretrained(tmp_path / "half")
    loaded = [type(pipeline.vae).from_pretrained(tmp_path / name) for name in ("full", "half")]
    assert {fingerprint(vae) for vae in loaded} == {fingerprint(pipeline.vae)}


def test_memory_order_and_the_sign_of_zero_do_not_matter(network):
    before = fingerprint(network)
    assert fingerprint(copy.deepcopy(network).to(memory_format=torch.channels_last)) == before
    zero, minus = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, value in ((zero, 0.0), (minus, -0.0)):
        for parameter in layer.parameters():
            nn.init.constant_(parameter, value)
    assert fingerprint(zero) == fingerprint(minus)


@pytest.mark.parametrize("name", ["0.weight", "1.running_var", "1.num_batches_tracked", "2.bias"])
def test_any_value_matters(network, name):
    before = fingerprint(network)
    network.state_dict()[name].view(-1)[0] += 1
    assert fingerprint(network) != before


def test_names_and_shapes_matter():
    layers = [
        nn.Linear(2, 3, bias=False),
        nn.Linear(3, 2, bias=False),
        nn.ModuleDict({"a": nn.Linear(2, 3, bias=False)}),
    ]
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.constant_(parameter, 1.0)
    assert len({fingerprint(layer) for layer in layers}) == 3
