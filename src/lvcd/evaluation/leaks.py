"""Does a method heed its reference, and are its colors from there alone? Some clips are painted again to find out.

reference=blank       white, with the protocol's sketches
reference=recolored   the clip in other colors
sketch=grey           a blank reference, and a trace of the original's luminance in the paper of the sketches
sketch=binarized      nothing between line and paper

Two numbers judge. *told*: the share of the variance of the original's colors or of its luminance, away from lines, that
a linear map finds in the painted frames, the same map for all clips. *followed*: by how much of what the original
changes with its palette the painted frames change with the reference's.

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

from .testset import Clip, binarized, clip_seed

GREY = 0.1
"""How dark black is in the paper of `sketch=grey`; a line is 1. Extractors leave about as much; a method that takes
lines for lines does not notice."""
TOLD = 0.5
"""More than half of the variance of colors that nobody told is not found by chance: with three numbers fitted to the
20 or more regions of a few clips, chance gives about 0.15. Blank paintings of methods that copy or match give 0."""
FOLLOWED = 0.2
"""A method that holds its reference, the weakest there is, follows by as much as the clip stands still, in moving
cartoons about a half; one that ignores it by 0."""
FALLS = 0.25
"""By so much `told` may differ between sketches: half of what TOLD allows in all. Binarized lines have other edges, but
paper is judged, not lines."""


@dataclass
class Look:
    """One clip, painted under one check: what pools over clips."""

    gram: np.ndarray
    """(7 7) sums of products of 1, the painted R G B and the original R G B"""
    changed: tuple[float, float]
    """painted times wanted change, wanted change squared"""
    scores: dict[str, float]
    """of this clip, against the original, or what it would be in the reference's colors"""


def variants(clip: Clip) -> dict[str, Clip]:
    """Check => the clip as the method then sees it, with what would be right as its original."""
    blank = torch.ones_like(clip.reference)
    colors = torch.cat([clip.reference[None], clip.original])
    other = recolor(colors * 2 - 1, np.random.default_rng(clip_seed(0, clip.key))) / 2 + 0.5
    grey = (GREY * (1 - torch.einsum("nchw,c->nhw", colors, torch.tensor(LUMINANCE)))[:, None] * 255).round() / 255
    own = torch.cat([clip.reference_sketch[None], clip.sketches])
    shaded = torch.maximum(own, grey)
    drawings = png_from_sketch(own).numpy()
    pure = torch.stack([sketch_from_png(binarized(drawing)) for drawing in drawings[:, 0]])[:, None]
    return {
        "reference=blank": replace(clip, reference=blank),
        "reference=recolored": replace(clip, reference=other[0], original=other[1:]),
        "sketch=grey": replace(clip, reference=blank, reference_sketch=shaded[0], sketches=shaded[1:]),
        "sketch=binarized": replace(clip, reference_sketch=pure[0], sketches=pure[1:]),
    }


def look(clip: Clip, seen: Clip, painted: Tensor, usual: Tensor) -> Look:
    """`seen` is a variant of `clip`; painted and usual (n 3 H W): what the method made of it, and of the clip."""
    drawings = png_from_sketch(clip.sketches[:, 0]).numpy()
    clear = torch.from_numpy(np.stack([paper_mask(drawing) for drawing in drawings]))
    pixels = [frames.movedim(1, -1)[clear].double() for frames in (painted, clip.original)]
    table = torch.cat([torch.ones(len(pixels[0]), 1, dtype=torch.float64), *pixels], 1)
    wanted = (seen.original - clip.original).double()
    changed = float(((painted - usual).double() * wanted).sum()), float(wanted.square().sum())
    scores = {}
    for metric in (PSNR(), SegmentAccuracy()):
        metric.update_from_clips(ClipBatch(painted[None], seen.original[None], clip.sketches[None], torch.tensor([0])))
        scores[metric.name] = metric.per_clip().item()
    return Look((table.T @ table).numpy(), changed, scores)


def looks(clip: Clip, usual: Tensor, paint: Callable[[str, Clip], Tensor]) -> dict[str, Look]:
    """All checks of a clip, and as "" its usual painting (n 3 H W). paint: check, clip as it is seen => (n 3 H W)"""
    checks = variants(clip)
    return {"": look(clip, clip, usual, usual)} | {
        check: look(clip, seen, paint(check, seen), usual) for check, seen in checks.items()
    }


def told(found: list[Look]) -> float:
    """Of all clips together, of R G B or of luminance, whichever is more, 0 to 1; 0 for originals of one color."""
    gram = np.sum([one.gram for one in found], 0)
    pixels = max(gram[0, 0], 1)
    to_grey = np.array(LUMINANCE)
    shares = [0.0]
    for pick in (np.eye(3), to_grey[:, None]):  # columns: what of the original is to be found
        wanted, square = gram[:4, 4:] @ pick, np.trace(pick.T @ gram[4:, 4:] @ pick)
        around = square - np.sum(wanted[0] ** 2) / pixels
        rest = square - np.sum(wanted * (np.linalg.pinv(gram[:4, :4], rcond=1e-9, hermitian=True) @ wanted))
        if around > 1e-6 * pixels:
            shares.append(float(np.clip(1 - rest / around, 0, 1)))
    return max(shares)


def followed(found: list[Look]) -> float:
    """1 = as the original does, 0 = not at all"""
    made, wanted = np.sum([one.changed for one in found], 0)
    return float(made / wanted) if wanted else 0.0


def verdicts(clips: Mapping[int, Mapping[str, Look]]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Number of the clip => its looks. => leaks and warnings, as a row has them."""
    if not clips:
        return {}, []
    by_check = {check: [found[check] for found in clips.values()] for check in next(iter(clips.values()))}
    share = {check: told(found) for check, found in by_check.items()}
    follows = followed(by_check["reference=recolored"])
    blank, grey, pure = (share[check] for check in ("reference=blank", "sketch=grey", "sketch=binarized"))
    usual = share[""]
    notes = {
        "reference=blank": f"without a reference {blank:.0%} of the colors are known",
        "reference=recolored": f"the answer follows the reference's colors by {follows:.2f} of 1",
        "sketch=grey": f"without a reference, with grey in the sketches, {grey:.0%} of the colors are known",
        "sketch=binarized": f"{pure:.0%} of the colors are right, and {usual:.0%} with the sketches as they are",
    }
    leaks: dict[str, dict[str, Any]] = {
        check: {"n": len(clips), "scores": _means(by_check[check]) | {"told": share[check]}, "note": note}
        for check, note in notes.items()
    }
    leaks["reference=recolored"]["scores"] |= {"followed": follows}
    warnings = []
    if follows < FOLLOWED:
        warnings.append(f"ignores its reference: {notes['reference=recolored']}")
    if blank > TOLD:
        warnings.append(f"reads color from the sketch: {notes['reference=blank']}")
    if usual - pure > FALLS:
        warnings.append(f"reads color from the sketch: binarized, {pure:.0%} of the colors are right, else {usual:.0%}")
    if grey - blank > FALLS:
        warnings.append(f"reads color from grey in the sketch: {notes['sketch=grey']}, else {blank:.0%}")
    return leaks, warnings


def _means(found: list[Look]) -> dict[str, float]:
    return {column: float(np.nanmean([one.scores[column] for one in found])) for column in found[0].scores}
