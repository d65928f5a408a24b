"""Attention is taught where the right color is, and colors can be made to be had in no other way."""

from __future__ import annotations

import math

import pytest
import torch

from lvcd.errors import InputError
from lvcd.nn.attention_maps import spatial_self_attentions
from lvcd.training import ControlNetModule, FineTuneModule, Optimization
from lvcd.training.correspondence import color_matches, correspondence_loss, record_attention_inputs
from lvcd.training.finetune import cast_frozen_weights
from tests.helpers.fitting import clips
from tests.helpers.toys import toy_networks


class Attention(torch.nn.Module):
    """Two heads; queries and keys are what is given."""

    heads = 2
    to_q = to_k = torch.nn.Identity()


def moved(places: int = 12, colors: float = 10.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Latents (1 3 4 3 4): every place of the reference has its own color, and frames 1 and 2 have them in another
    order; => also the order, (2 n)."""
    generator = torch.Generator().manual_seed(0)
    reference = colors * torch.randn(places, 4, generator=generator)
    order = torch.stack([torch.randperm(places, generator=generator) for _ in range(2)])
    frames = torch.stack([reference, *(reference[o] for o in order)])
    return frames.mT.reshape(1, 3, 4, 3, 4), order


def test_a_look_at_everything_costs_the_log_of_the_places():
    x0, _ = moved()
    alike = correspondence_loss([(Attention(), torch.zeros(3, 12, 8))], x0, [0])
    assert alike.tolist() == pytest.approx([math.log(12)], rel=1e-5)


def test_a_look_at_the_right_place_costs_nothing_and_at_a_wrong_one_much():
    x0, order = moved()
    code = 100 * torch.eye(12)
    code = torch.cat([code, code], dim=1)  # each head has a whole one
    right = torch.stack([code, *(code[o] for o in order)])
    assert correspondence_loss([(Attention(), right)], x0, [0]).item() == pytest.approx(0, abs=1e-5)
    wrong = torch.stack([code, *(code[o.roll(1)] for o in order)])
    assert correspondence_loss([(Attention(), wrong)], x0, [0]).item() > 8


def test_some_places_speak_for_all(monkeypatch):
    x0, _ = moved()
    x = torch.randn(3, 12, 8, generator=torch.Generator().manual_seed(1))
    all_queries = correspondence_loss([(Attention(), x)], x0, [0]).item()
    monkeypatch.setattr("lvcd.training.correspondence.QUERIES_PER_FRAME", 4)
    some = torch.stack([correspondence_loss([(Attention(), x)], x0, [seed])[0] for seed in range(400)])
    assert some.std() > 0.1
    assert some.mean().item() == pytest.approx(all_queries, abs=4 * some.std().item() / 20)


def test_which_places_are_asked_is_the_clips_own(monkeypatch):
    """Or a run that was stopped would not go on as one that was not, nor two ranks learn what one does."""
    monkeypatch.setattr("lvcd.training.correspondence.QUERIES_PER_FRAME", 5)
    module = FineTuneModule(toy_networks(), "all", correspondence_weight=0.3)
    with record_attention_inputs(module.unet, module.controlnet) as seen:
        _, _, x0 = module.losses(clips(2), [1, 2])
    x0 = 10 * torch.randn(x0.shape, generator=torch.Generator().manual_seed(0))  # of many colors
    before = torch.get_rng_state()
    both = correspondence_loss(seen, x0, [1, 2])
    assert torch.equal(torch.get_rng_state(), before)
    for i, seed in enumerate((1, 2)):
        alone = [(attn, x.unflatten(0, x0.shape[:2])[i]) for attn, x in seen]
        assert correspondence_loss(alone, x0[i : i + 1], [seed]).item() == pytest.approx(both[i].item(), rel=1e-5)
    assert correspondence_loss(seen, x0, [3, 4]).sub(both).abs().min() > 1e-3


def test_the_same_color_counts_wherever_it_is():
    flat = torch.ones(1, 2, 4, 6, 8)
    every = torch.arange(48)[None]
    assert color_matches(flat, every, 48).eq(1).all() and color_matches(flat, every[:, :12], 12).shape == (1, 1, 12, 12)
    flat[:, 0, :, :, :4] = -1  # half of the reference has another color
    half = color_matches(flat, every, 48).view(48, 6, 8)
    assert half[..., 4:].eq(1).all() and half[..., :4].max() < 1e-3


def test_who_has_seen_the_sketches_is_heard_and_the_hooks_go():
    module = FineTuneModule(toy_networks(), "all")
    with record_attention_inputs(module.unet, module.controlnet) as seen:
        _, _, x0 = module.losses(clips(2), [1, 2])
    branch, unet = spatial_self_attentions(module.controlnet), spatial_self_attentions(module.unet)
    output = [attn for name, attn in unet.items() if name.startswith("up")]
    assert [attn for attn, _ in seen] == [*branch.values(), *output] and 0 < len(output) < len(unet)
    loss = correspondence_loss(seen, x0, [1, 2])
    assert loss.shape == (2,)
    loss.mean().backward()
    assert all(p.grad.abs().sum() > 0 for attn, _ in seen for p in (attn.to_q.weight, attn.to_k.weight))
    module.losses(clips(1), [1])
    assert len(seen) == len(branch) + len(output)


def test_frozen_weights_in_half_can_be_heard():
    """As in mixed precision with frozen_half: the branch learns, and the U-Net's layers are bfloat16."""
    module, batch = ControlNetModule(toy_networks(), correspondence_weight=1.0), clips(1)
    cast_frozen_weights(module, torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        loss = module.training_step(batch, 0)["loss"]
    loss.backward()
    assert loss.isfinite() and all(
        a.to_q.weight.grad is not None for a in spatial_self_attentions(module.controlnet).values()
    )


@pytest.mark.slow
def test_a_taught_network_looks_better():
    torch.manual_seed(0)
    module, batch = (
        FineTuneModule(toy_networks(), "all", correspondence_weight=1.0, optimization=Optimization(lr=1e-3)),
        clips(2),
    )
    learn = torch.optim.Adam([p for p in module.parameters() if p.requires_grad], 3e-3)
    course = []
    for _ in range(12):
        with record_attention_inputs(module.unet, module.controlnet) as seen:
            x0 = module.losses(batch, [1, 2])[2]
        loss = correspondence_loss(seen, x0, [1]).mean()
        course.append(loss.item())
        learn.zero_grad()
        loss.backward()
        learn.step()
    assert course[-1] < 0.8 * course[0]


def test_looked_up_clips_have_the_reference_beside_itself_alone():
    module, batch = FineTuneModule(toy_networks()), clips(2)
    _, condition = module.encode(batch)
    changed = condition.reference_only_where(torch.tensor([True, False]))
    assert changed.latent[0, 1:].eq(0).all() and torch.equal(changed.latent[0, 0], condition.latent[0, 0])
    assert torch.equal(changed.latent[1], condition.latent[1]) and torch.equal(changed.token, condition.token)


def test_reference_only_is_a_share_of_the_clips():
    module, batch = FineTuneModule(toy_networks()), clips(1)

    def loss(seed: int, probability: float) -> float:
        return module.losses(batch, [seed], reference_only_prob=probability)[0].item()

    plain, all_ = [loss(s, 0) for s in range(12)], [loss(s, 1) for s in range(12)]
    assert all(a != b for a, b in zip(plain, all_))
    half = [loss(s, 0.5) for s in range(12)]
    assert all(h in (a, b) for h, a, b in zip(half, plain, all_))
    assert 2 <= sum(h == a for h, a in zip(half, plain)) <= 10


NOT_WITHOUT = {"correspondence_weight": 0.1, "reference_attention": False}


@pytest.mark.parametrize(
    "wrong", [{"reference_only_prob": 1.1}, {"reference_only_prob": -0.1}, {"correspondence_weight": -1.0}, NOT_WITHOUT]
)
def test_what_makes_no_sense_is_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        FineTuneModule(toy_networks(), **wrong)
