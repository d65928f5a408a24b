"""Protocols that give several frames, or a sheet: what methods see, what is scored, and what the leak checks change."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from lvcd.errors import InputError
from lvcd.evaluation import Protocol, evaluate
from lvcd.evaluation.leaks import check_variants, judge_checks, run_checks
from lvcd.evaluation.methods import CopyReference, SegmentMatch
from lvcd.metrics import PSNR, TC, Suite
from tests.helpers.evaluation import FunctionMethod, cartoons, repeat_reference


class CopyGiven:
    """A method that shows its keys where they are, and noise elsewhere."""

    name, heeds_keys = "copy_given", True

    def __init__(self, elsewhere: float = 0.5):
        self.settings, self.elsewhere = {"kind": self.name}, elsewhere

    def paint(self, reference, reference_sketch, sketches, seed, keys=None):
        painted = torch.full((len(sketches), *reference.shape), self.elsewhere)
        for place, frame in (keys or {}).items():
            painted[place] = frame
        return painted


def test_keys_are_frames_of_the_clip_at_their_places():
    clip, plain = cartoons(frames=5, keys=[1, 0.5])[1], cartoons(frames=5)[1]
    assert list(clip.keys) == [4, 1] and clip.scored == [0, 2, 3]  # round(0.5 * 5) - 1 = 1
    assert all(torch.equal(frame, plain.original[place]) for place, frame in clip.keys.items())
    assert torch.equal(clip.original, plain.original) and torch.equal(clip.reference, plain.reference)


def test_given_frames_bring_no_score_but_count_in_time(tmp_path):
    tests = cartoons(frames=4, keys=[1])
    row = evaluate(CopyGiven(), tests, Suite([PSNR(size=None), TC(size=None)]), tmp_path)
    grey = [(0.5 - clip.original[:3]).square().mean((1, 2, 3)).log10().mul(-10).mean().item() for clip in tests]
    assert row.metrics["PSNR"]["value"] == pytest.approx(np.mean(grey), abs=0.1)  # 128 of 255, not 0.5
    without = evaluate(CopyGiven(), cartoons(frames=3), Suite([TC(size=None)]), tmp_path)
    assert row.metrics["TC"]["value"] > 2 * without.metrics["TC"]["value"]  # the step to the key is seen
    assert row.protocol["reference"] == "first+1" and without.protocol["reference"] == "first"


def test_who_knows_one_reference_gets_the_first(tmp_path):
    one = evaluate(FunctionMethod(repeat_reference), cartoons(frames=3, keys=[1]), Suite([PSNR()]), tmp_path)
    plain = evaluate(FunctionMethod(repeat_reference), cartoons(frames=2), Suite([PSNR()]), tmp_path)
    assert one.metrics["PSNR"]["value"] == pytest.approx(plain.metrics["PSNR"]["value"])


def test_regions_of_all_keys_are_matched():
    clip = cartoons(frames=12, keys=[1])[0]
    given = (clip.reference, clip.reference_sketch, clip.sketches, 0)
    one, both = (SegmentMatch().paint(*given, **more) for more in ({}, {"keys": clip.keys}))
    errors = [(painted - clip.original)[clip.scored].abs().mean() for painted in (one, both)]
    assert errors[1] < errors[0]


def test_a_sheet_is_another_crop_of_a_frame_that_is_not_painted():
    clip, plain = cartoons(frames=4, sheet=True)[0], cartoons(frames=4)[0]
    assert torch.equal(clip.original[1:], plain.original[:3]) and torch.equal(clip.original[0], plain.reference)
    last, (H, W) = plain.original[3], plain.original.shape[-2:]
    shown = interpolate(clip.reference.flip(-1)[None], (round(0.75 * H), round(0.75 * W)), mode="area")[0]
    h, w = shown.shape[-2:]
    errors = [
        (last[:, y : y + h, x : x + w] - shown).abs().mean().item() for y in range(H - h + 1) for x in range(W - w + 1)
    ]
    assert min(errors) < 0.03 < np.median(errors)
    assert clip.keys == {} and len(clip.scored) == 4


def test_the_checks_change_every_reference():
    clip = cartoons(frames=4, keys=[1, 0.5])[0]
    seen = check_variants(clip)
    for check in ("reference=blank", "sketch=grey"):
        assert list(seen[check].keys) == [3, 1]
        assert all(bool((frame == 1).all()) for frame in (seen[check].reference, *seen[check].keys.values()))
    recolored = seen["reference=recolored"]
    assert all(torch.equal(frame, recolored.original[place]) for place, frame in recolored.keys.items())
    assert not torch.equal(recolored.keys[3], clip.keys[3])


@pytest.mark.parametrize("elsewhere", [0.5, 1.0])
def test_copying_the_keys_is_no_use_of_them(elsewhere):
    method, tests = CopyGiven(elsewhere), cartoons(frames=4, keys=[1], leaks=4)

    def paint(seen):
        return method.paint(seen.reference, seen.reference_sketch, seen.sketches, 0, seen.keys)

    found = {clip.index: run_checks(clip, paint(clip), lambda _, seen: paint(seen)) for clip in tests}
    _, warnings = judge_checks(found)
    assert [warning.split(":")[0] for warning in warnings] == ["ignores its reference"]


def test_a_leak_of_the_original_is_found_beside_keys():
    tests = cartoons(frames=4, keys=[1], leaks=4)
    known = {clip.index: clip.original for clip in tests}
    found = {clip.index: run_checks(clip, clip.original, lambda _, seen: known[seen.index]) for clip in tests}
    _, warnings = judge_checks(found)
    assert any("reads color from the sketch" in warning for warning in warnings)


@pytest.mark.parametrize("settings", [{"keys": [0]}, {"keys": [1.5]}, {"keys": ["last"]}, {"keys": [1], "sheet": True}])
def test_refused(settings):
    with pytest.raises(InputError):
        Protocol("test", "shards", **settings)


def test_all_frames_given_leave_nothing():
    with pytest.raises(InputError, match="nothing is left"):
        cartoons(frames=1, keys=[1])


def test_copying_the_sheet_runs(tmp_path):
    row = evaluate(CopyReference(), cartoons(frames=2, sheet=True, leaks=1), Suite([PSNR()]), tmp_path)
    assert row.protocol["reference"] == "sheet" and row.leaks
