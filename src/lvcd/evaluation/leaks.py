"""Leak checks: does a method follow its reference, and do its colors come from nothing else?

Some clips are painted again under changed conditions:

reference=blank       a white reference, with the protocol's sketches; keys are white, too
reference=recolored   the clip in other colors, with all that is given of it
sketch=grey           a blank reference and keys, and faint grey of the original's luminance in the paper of the
                      sketches
sketch=binarized      sketches of pure black and white

Two numbers judge. `color_r2`: the fraction of the variance of the original's colors, or of its luminance, that a linear
map predicts from the painted frames, away from lines, with one map for all clips. Keys do not count.
`reference_response`: how much the painted frames change with the reference's palette, relative to the original.

letters: n frames, H W pixels
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.data.augment.palette import recolor
from lvcd.lineart.color_leak import LUMINANCE, paper_mask
from lvcd.lineart.sketch import png_from_sketch, sketch_from_png
from lvcd.metrics import PSNR, SegmentAccuracy
from lvcd.metrics.frame_tensors import ClipBatch

from .testset import TestClip, binarized, clip_seed

GREY_LEVEL = 0.1
"""Darkness of black in the paper of `sketch=grey`, where a line is 1. Extractors leave about as much; a method that
follows lines alone does not react."""
MAX_COLOR_R2 = 0.5
"""Of paintings without a reference. Chance gives about 0.15, with three numbers fitted to the 20 or more regions of a
few clips; methods that copy or match paint a blank reference blank, which gives 0."""
MIN_REFERENCE_RESPONSE = 0.2
"""Copying the reference, the weakest way to use it, responds by as much as the clip stands still, about a half in
moving cartoons; a method that ignores it has 0."""
MAX_R2_CHANGE = 0.25
"""By so much `color_r2` may differ between sketches: half of MAX_COLOR_R2. Binarized lines have other edges, but paper
is judged, not lines."""


@dataclass
class CheckStats:
    """Statistics of one clip painted under one check, which are summed over clips."""

    gram: np.ndarray
    """(7 7) sums of products of 1, the painted R G B and the original R G B, over the pixels of paper."""
    response: tuple[float, float]
    """Sums of painted change times expected change, and of the expected change squared."""
    scores: dict[str, float]
    """Column -> score of the clip against the original, or against what it would be in the reference's colors."""


def check_variants(clip: TestClip) -> dict[str, TestClip]:
    """Return the clip of each check as the method sees it, with the right answer as its original."""
    blank = torch.ones_like(clip.reference)
    blank_keys = dict.fromkeys(clip.keys, blank)
    colors = torch.cat([clip.reference[None], clip.original])
    recolored = recolor(colors * 2 - 1, np.random.default_rng(clip_seed(0, clip.key))) / 2 + 0.5
    grey = (
        GREY_LEVEL * (1 - torch.einsum("nchw,c->nhw", colors, torch.tensor(LUMINANCE)))[:, None] * 255
    ).round() / 255
    sketches = torch.cat([clip.reference_sketch[None], clip.sketches])
    shaded = torch.maximum(sketches, grey)
    drawings = png_from_sketch(sketches).numpy()
    pure = torch.stack([sketch_from_png(binarized(drawing)) for drawing in drawings[:, 0]])[:, None]
    return {
        "reference=blank": replace(clip, reference=blank, keys=blank_keys),
        "reference=recolored": replace(
            clip, reference=recolored[0], original=recolored[1:], keys={key: recolored[1 + key] for key in clip.keys}
        ),
        "sketch=grey": replace(clip, reference=blank, keys=blank_keys, reference_sketch=shaded[0], sketches=shaded[1:]),
        "sketch=binarized": replace(clip, reference_sketch=pure[0], sketches=pure[1:]),
    }


def measure_check(clip: TestClip, variant: TestClip, painted: Tensor, unchanged: Tensor) -> CheckStats:
    """Measure what the method painted of a variant of the clip, and of the clip unchanged, both (n 3 H W) in [0, 1]."""
    scored = clip.scored
    original, wanted, sketches = (x[scored] for x in (clip.original, variant.original, clip.scored_sketches))
    painted, unchanged = painted[scored], unchanged[scored]
    drawings = png_from_sketch(sketches[:, 0]).numpy()
    is_paper = torch.from_numpy(np.stack([paper_mask(drawing) for drawing in drawings]))
    pixels = [frames.movedim(1, -1)[is_paper].double() for frames in (painted, original)]
    table = torch.cat([torch.ones(len(pixels[0]), 1, dtype=torch.float64), *pixels], 1)
    expected = (wanted - original).double()
    response = float(((painted - unchanged).double() * expected).sum()), float(expected.square().sum())
    scores, batch = {}, ClipBatch(painted[None], wanted[None], sketches[None], torch.tensor([0]))
    for metric in (PSNR(), SegmentAccuracy()):
        metric.update_from_clips(batch)
        scores[metric.name] = metric.per_clip().item()
    return CheckStats((table.T @ table).numpy(), response, scores)


def run_checks(clip: TestClip, unchanged: Tensor, paint: Callable[[str, TestClip], Tensor]) -> dict[str, CheckStats]:
    """Paint and measure all checks of a clip; the key "" has the clip unchanged.

    unchanged: what the method painted of the clip (n 3 H W). paint(check, variant) returns what it paints of a variant.
    """
    return {"": measure_check(clip, clip, unchanged, unchanged)} | {
        check: measure_check(clip, variant, paint(check, variant), unchanged)
        for check, variant in check_variants(clip).items()
    }


def color_r2(checks: list[CheckStats]) -> float:
    """Return the fraction of variance of R G B, or of luminance if that is more, that is predicted over all clips.

    From 0 to 1; 0 for originals of one color.
    """
    gram = np.sum([check.gram for check in checks], 0)
    pixels = max(gram[0, 0], 1)
    found = [0.0]
    for targets in (np.eye(3), np.array(LUMINANCE)[:, None]):  # columns: combinations of the original's R G B
        products, square = gram[:4, 4:] @ targets, np.trace(targets.T @ gram[4:, 4:] @ targets)
        variance = square - np.sum(products[0] ** 2) / pixels
        residual = square - np.sum(products * (np.linalg.pinv(gram[:4, :4], rcond=1e-9, hermitian=True) @ products))
        if variance > 1e-6 * pixels:
            found.append(float(np.clip(1 - residual / variance, 0, 1)))
    return max(found)


def reference_response(checks: list[CheckStats]) -> float:
    """Return how much the painted frames change with the reference: 1 = as the original does, 0 = not at all."""
    painted, expected = np.sum([check.response for check in checks], 0)
    return float(painted / expected) if expected else 0.0


def judge_checks(clips: Mapping[int, Mapping[str, CheckStats]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Return the leaks and warnings of a row from the checks of each clip, by the clip's number."""
    if not clips:
        return {}, []
    by_check = {check: [checks[check] for checks in clips.values()] for check in next(iter(clips.values()))}
    r2 = {check: color_r2(stats) for check, stats in by_check.items()}
    response = reference_response(by_check["reference=recolored"])
    blank, grey, pure = (r2[check] for check in ("reference=blank", "sketch=grey", "sketch=binarized"))
    unchanged = r2[""]
    notes = {
        "reference=blank": f"without a reference {blank:.0%} of the color variance is explained",
        "reference=recolored": f"the colors follow the reference's by {response:.2f} of 1",
        "sketch=grey": f"without a reference, with grey in the sketches, {grey:.0%} of the color variance is explained",
        "sketch=binarized": f"{pure:.0%} of the color variance is explained, {unchanged:.0%} with unchanged sketches",
    }
    leaks: dict[str, dict[str, Any]] = {
        check: {"n": len(clips), "scores": _mean_scores(by_check[check]) | {"color_r2": r2[check]}, "note": note}
        for check, note in notes.items()
    }
    leaks["reference=recolored"]["scores"] |= {"reference_response": response}
    warnings = []
    if response < MIN_REFERENCE_RESPONSE:
        warnings.append(f"ignores its reference: {notes['reference=recolored']}")
    if blank > MAX_COLOR_R2:
        warnings.append(f"reads color from the sketch: {notes['reference=blank']}")
    if unchanged - pure > MAX_R2_CHANGE:
        warnings.append(f"reads color from the sketch: binarized, {notes['sketch=binarized']}")
    if grey - blank > MAX_R2_CHANGE:
        warnings.append(f"reads color from grey in the sketch: {notes['sketch=grey']}, else {blank:.0%}")
    return leaks, warnings


def _mean_scores(checks: list[CheckStats]) -> dict[str, float]:
    return {column: float(np.nanmean([check.scores[column] for check in checks])) for column in checks[0].scores}
