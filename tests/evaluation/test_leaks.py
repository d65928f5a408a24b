"""Leak checks: methods that leak on purpose are caught, each by its own verdict, and honest ones are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from lvcd.evaluation.leaks import GREY_LEVEL, check_variants, color_r2, judge_checks, measure_check, run_checks
from lvcd.evaluation.methods import CopyReference, FlowWarp, LazyBrush, SegmentMatch
from tests.helpers.evaluation import FunctionMethod, cartoons, repeat_reference

TESTS = cartoons(frames=4, leaks=4)


def checked(method):
    """=> leaks and warnings, as a row has them"""

    def paint(seen):
        return method.paint(seen.reference, seen.reference_sketch, seen.sketches, 0)

    return judge_checks({clip.index: run_checks(clip, paint(clip), lambda check, seen: paint(seen)) for clip in TESTS})


def luminance_of(sketches):
    """What a reader of grey makes of it: where there is none, white."""
    grey = sketches.where(sketches < 1.5 * GREY_LEVEL, torch.zeros(()))
    return (1 - grey / GREY_LEVEL).clamp(0, 1).expand(-1, 3, -1, -1)


def known(sketches):
    """The original whose lines these are, as if it had been learned by heart."""
    close = [(c.sketches - sketches).abs().mean() if c.sketches.shape == sketches.shape else 9.0 for c in TESTS]
    return list(TESTS)[int(np.argmin(close))].original


def in_grey(reference, sketches):
    return luminance_of(sketches) if bool(((sketches > 0) & (sketches < 1.5 * GREY_LEVEL)).float().mean() > 0.3) else (
        repeat_reference(reference, sketches)
    )  # fmt: skip


def by_edges(reference, sketches):
    pure = bool(((sketches == 0) | (sketches == 1)).all())
    return torch.zeros(len(sketches), *reference.shape) if pure else known(sketches)


@pytest.mark.parametrize("method", [CopyReference(), FlowWarp(), SegmentMatch(), LazyBrush()])
def test_honest_methods_have_no_warning(method):
    leaks, warnings = checked(method)
    assert warnings == []
    assert leaks["reference=blank"]["scores"]["color_r2"] < 1e-6  # blank is painted blank
    assert leaks["reference=recolored"]["scores"]["reference_response"] > 0.3
    assert all(check["n"] == 4 and set(check["scores"]) >= {"PSNR", "color_r2"} for check in leaks.values())


@pytest.mark.parametrize(
    ("paint", "wanted"),
    [
        (in_grey, ["reads color from grey in the sketch"]),
        (lambda r, s: torch.full((len(s), *r.shape), 0.5), ["ignores its reference"]),
        (lambda r, s: known(s), ["ignores its reference", "reads color from the sketch: without a reference"]),
        (by_edges, ["ignores its reference", *("reads color from the sketch: " + w for w in ("without", "binarized"))]),
    ],
    ids=["reads grey", "ignores", "knows the answer", "needs grey edges"],
)  # fmt: skip
def test_each_leak_has_its_verdict(paint, wanted):
    _, warnings = checked(FunctionMethod(paint))
    assert len(warnings) == len(wanted)
    assert all(warning.startswith(verdict) for warning, verdict in zip(warnings, wanted))


def test_what_a_method_sees():
    clip = TESTS[0]
    seen = check_variants(clip)
    assert bool((seen["reference=blank"].reference == 1).all())
    recolored = seen["reference=recolored"]
    assert torch.equal(recolored.sketches, clip.sketches) and not torch.equal(recolored.original, clip.original)
    flat = [frames.flatten(2).movedim(1, 2).flatten(0, 1) for frames in (clip.original, recolored.original)]
    pairs = {(tuple(a), tuple(b)) for a, b in zip(*(f.mul(255).round().int().tolist() for f in flat))}
    assert len(pairs) == len({a for a, _ in pairs})  # one new color for each old one, in all frames
    grey = seen["sketch=grey"].sketches
    paper = clip.sketches == 0
    wanted = GREY_LEVEL * (
        1 - (clip.original * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    )
    assert torch.allclose(grey[paper], wanted[paper], atol=0.5 / 255 + 1e-6) and bool((grey >= clip.sketches).all())
    assert set(seen["sketch=binarized"].sketches.unique().tolist()) == {0.0, 1.0}


def test_color_r2_is_what_least_squares_explains():
    """Away from the lines, one linear map for all clips: against numpy's lstsq on the pixels themselves."""
    rng = torch.Generator().manual_seed(0)
    found, pixels = [], []
    for clip in list(TESTS)[:2]:
        mixed = (clip.original @ torch.eye(128)).flip(1) * 0.5 + 0.4 * torch.rand(clip.original.shape, generator=rng)
        blank = clip.sketches * 0
        clip = type(clip)(**{**vars(clip), "scored_sketches": blank})
        found.append(measure_check(clip, clip, mixed, mixed))
        pixels.append([x.movedim(1, -1).reshape(-1, 3).double().numpy() for x in (mixed, clip.original)])
    given, wanted = (np.concatenate(part) for part in zip(*pixels))
    design = np.concatenate([np.ones((len(given), 1)), given], 1)
    expected = 0.0
    for part in (wanted, wanted @ np.array([[0.299], [0.587], [0.114]])):
        rest = part - design @ np.linalg.lstsq(design, part, rcond=None)[0]
        expected = max(expected, 1 - (rest**2).sum() / ((part - part.mean(0)) ** 2).sum())
    assert 0.2 < expected < 0.95 and color_r2(found) == pytest.approx(expected, abs=1e-6)
