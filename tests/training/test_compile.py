"""Compiled blocks compute what they compute uncompiled, and their weights keep their names."""

from __future__ import annotations

import pytest
import torch

from lvcd.errors import InputError
from lvcd.nn.blocks import large_blocks
from lvcd.training import FineTuneModule, finetune
from tests.helpers.fitting import clips, fit
from tests.helpers.toys import toy_networks


def first_of_each_class(network) -> list:
    return [*{type(block): block for block in reversed(large_blocks(network))}.values()]


@pytest.mark.slow
def test_compiled_is_uncompiled(monkeypatch, tmp_path):
    """Bit for bit, where one goes on with the other's run, with its average, and with checkpoints of gradients.

    One block of each class is traced and run again by PyTorch, without the machine code that takes minutes to make.
    """
    compile, compiled = torch.nn.Module.compile, []
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **how: (compiled.append(self), compile(self, backend="eager", **how))
    )
    monkeypatch.setattr(finetune, "large_blocks", first_of_each_class)
    whole = fit(tmp_path / "whole", toy_networks(), 4)
    assert not compiled
    fit(tmp_path / "compiled", toy_networks(), 2, compile=True, gradient_checkpointing=True)
    assert len(compiled) >= 6 and all(block._compiled_call_impl is not None for block in compiled)
    plain = fit(tmp_path / "plain", toy_networks(), 4, resume=tmp_path / "compiled" / "last.ckpt")
    again = fit(tmp_path / "again", toy_networks(), 4, resume=tmp_path / "compiled" / "last.ckpt", compile=True)
    saved = [torch.load(tmp_path / run / "last.ckpt", weights_only=True) for run in ("whole", "plain", "again")]
    for other in saved[1:]:
        assert list(other["state_dict"]) == list(saved[0]["state_dict"])
        assert all(torch.equal(x, other["state_dict"][name]) for name, x in saved[0]["state_dict"].items())
    pictures = []
    for module in (whole, plain, again):  # with another layout, as samples are painted in the middle of a training
        clip = clips(1)
        pictures.append(
            module.networks.pipeline()(
                clip.frames[0, 0] / 2 + 0.5, clip.sketches[0, 1:], reference_sketch=clip.sketches[0, 0],
                num_inference_steps=1, overlap=2, generator=torch.Generator().manual_seed(5), output_type="pt",
            ).frames[0]
        )  # fmt: skip
    assert torch.equal(pictures[0], pictures[1]) and torch.equal(pictures[0], pictures[2])


def test_what_reads_the_inside_of_blocks_is_refused():
    with pytest.raises(InputError, match="module.compile=false"):
        FineTuneModule(toy_networks(), compile=True, correspondence_weight=0.1)
