"""Muon against torch's own, which takes matrices only, and AdamW against torch's own."""

import copy

import pytest
import torch
from torch import nn

from lvcd.errors import InputError
from lvcd.training.muon import MuonAdamW, orthogonalize
from lvcd.training.optimizer import Optimization


def network(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(12, 24), nn.SiLU(), nn.Linear(24, 12), nn.SiLU(), nn.Linear(12, 12))


def train(net: nn.Module, optimizers: list[torch.optim.Optimizer], steps: int = 6) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(16, 12, generator=generator)
        net.zero_grad()
        (net(x) - x.roll(1, -1)).square().mean().backward()
        for optimizer in optimizers:
            optimizer.step()


def test_steps_are_those_of_torch():
    ours, plain = network(0), network(0)
    settings = Optimization(lr=1e-2, muon=2.0, weight_decay=0.1)
    train(ours, [settings.build({"unet": [*ours.parameters()]}, 10**9)["optimizer"]])
    matrices, vectors = ([p for p in plain.parameters() if (p.ndim == 2) is kind] for kind in (True, False))
    train(
        plain,
        [
            torch.optim.Muon(matrices, lr=2e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(vectors, lr=1e-2, weight_decay=0.1),
        ],
    )
    start = network(0)
    for mine, own, first in zip(ours.parameters(), plain.parameters(), start.parameters()):
        moved = (own - first).norm()
        assert moved > 0
        assert (mine - own).norm() < 0.02 * moved  # both round to bfloat16, in another order


def test_a_convolution_is_a_matrix_of_as_many_rows_as_it_has_outputs():
    linear = nn.Linear(18, 5, bias=False)
    conv = nn.Conv2d(2, 5, 3, bias=False)
    conv.weight.data = linear.weight.data.clone().view(5, 2, 3, 3)
    gradient = torch.randn(5, 18, generator=torch.Generator().manual_seed(0))
    for layer in (linear, conv):
        layer.weight.grad = gradient.view_as(layer.weight)
        MuonAdamW([{"params": [layer.weight], "matrices": True}], lr=0.1).step()
    torch.testing.assert_close(conv.weight.view(5, 18), linear.weight)


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 20), (2, 20, 6)])
def test_singular_values_come_near_one(shape):
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalize(x).float())
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(x, full_matrices=False)  # the nearest orthogonal matrix is u v
    along = (orthogonalize(x).float() * (u @ v)).sum((1, 2)) / min(shape[1:])
    assert (along > 0.7).all()


def test_equal_shapes_are_stepped_together_and_each_by_itself():
    nets = [network(s) for s in (3, 4)]
    apart = copy.deepcopy(nets)
    train(nn.Sequential(*nets), [MuonAdamW([{"params": [*nets[0].parameters()][::2], "matrices": True}], lr=0.01)], 1)
    train(
        nn.Sequential(*apart),
        [MuonAdamW([{"params": [p], "matrices": True}], lr=0.01) for p in [*apart[0].parameters()][::2]],
        1,
    )
    for one, other in zip(nets[0].parameters(), apart[0].parameters()):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-4)


def test_its_state_is_kept():
    uninterrupted, parts = network(5), network(5)
    optimizer = Optimization(lr=1e-2, muon=1.0)
    built = optimizer.build({"a": [*uninterrupted.parameters()]}, 100)["optimizer"]
    train(uninterrupted, [built], 3)
    train(uninterrupted, [built], 3)
    first = optimizer.build({"a": [*parts.parameters()]}, 100)["optimizer"]
    train(parts, [first], 3)
    second = optimizer.build({"a": [*parts.parameters()]}, 100)["optimizer"]
    second.load_state_dict(first.state_dict())
    train(parts, [second], 3)
    for one, other in zip(uninterrupted.parameters(), parts.parameters()):
        assert torch.equal(one, other)


def test_a_state_of_one_optimizer_for_all_is_taken():
    """As earlier versions saved it: AdamW, whose groups of matrices had all of AdamW's settings too."""
    uninterrupted, parts, optimization = network(5), network(5), Optimization(lr=1e-2, muon=2.0)
    first = optimization.build({"a": [*uninterrupted.parameters()]}, 100)["optimizer"]
    train(uninterrupted, [first], 3)
    state = copy.deepcopy(first.state_dict())
    settings = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))]).state_dict()["param_groups"][0]
    state["param_groups"] = [{**settings, **group} for group in state["param_groups"]]
    parts.load_state_dict(uninterrupted.state_dict())
    second = optimization.build({"a": [*parts.parameters()]}, 100)["optimizer"]
    second.load_state_dict(state)
    assert [group["lr"] for group in second.param_groups] == [2e-2 / 1, 1e-2] and second.muon.state is second.state
    for net, optimizer in ((uninterrupted, first), (parts, second)):
        second.param_groups[0]["lr"] = first.param_groups[0]["lr"] = 5e-3  # as a schedule does
        train(net, [optimizer], 3)
    assert all(torch.equal(a, b) for a, b in zip(uninterrupted.parameters(), parts.parameters()))


@pytest.mark.parametrize("settings", [{"muon": 0.0}, {"muon": -1.0}, {"muon": 2.0, "bits": 8}])
def test_settings_without_a_meaning(settings):
    with pytest.raises(InputError, match="muon="):
        Optimization(**settings)
