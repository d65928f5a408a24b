"""Find out which metric detects which fault: python tools/metric_faults.py --out data

It damages drawn cartoons in known ways, scores them, and writes OUT/METRICS.md, a table of which metric detects what,
with OUT/pictures/metric_faults.png, a sheet of the faults.

letters: t frames, H W pixels
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.data.cartoons import draw
from lvcd.data.cartoons.splits import TEST_SEED
from lvcd.flats import between_lines
from lvcd.metrics import Suite, paper
from lvcd.metrics.segment_accuracy import medians
from lvcd.report.sheets import contact_sheet
from lvcd.spacing import evenly_spaced

Array = np.ndarray[Any, Any]

CLIPS, FRAMES, HEIGHT, WIDTH = 4, 12, 128, 192
STYLE = "characters"
DETECTION_FACTOR = 3.0
"""A fault is detected where the error is more than so many times that of the harmless clips."""
MIN_DETECTED_ERROR = 0.01
"""No smaller error is a detection."""


class OriginalClip(NamedTuple):
    """A drawn clip that faults are made of."""

    frames: Array
    """(t H W 3) uint8"""
    lines: Array
    """(t H W) uint8, 255 on a line"""


# --- faults: a clip => its frames, damaged ----------------------------------------------------------------------------


def harmless(clip: OriginalClip) -> Array:
    """Noise of two levels, as from a good video encoder; the others have it, too."""
    return clip.frames


def grey(clip: OriginalClip) -> Array:
    """All colors are grey."""
    return np.stack([cv2.cvtColor(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for f in clip.frames])


def blurred(clip: OriginalClip) -> Array:
    """The frames are out of focus."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.5) for frame in clip.frames])


def shifted(clip: OriginalClip) -> Array:
    """The colors are right, the lines lie 3 px to the right of where they were drawn."""
    frames = []
    for frame, lines in zip(clip.frames, clip.lines):
        thick = cv2.dilate(lines, np.ones((3, 3), np.uint8))
        ground = cv2.inpaint(frame, thick, 3, cv2.INPAINT_TELEA)
        ink = np.pad(lines, ((0, 0), (3, 0)))[:, :-3, None] / 255
        frames.append((ground * (1 - ink)).round().astype(np.uint8))
    return np.stack(frames)


def flickering(clip: OriginalClip) -> Array:
    """Every second frame is darker by a tenth."""
    frames = clip.frames.copy()
    frames[1::2] = (frames[1::2] * 0.9).round().astype(np.uint8)
    return frames


def wrong_palette(clip: OriginalClip) -> Array:
    """The colors are others, the same throughout the clip; the lines are right."""
    return np.ascontiguousarray(clip.frames[..., [1, 2, 0]])


def fading(clip: OriginalClip) -> Array:
    """The colors are right at first and pale in the end."""
    white = np.linspace(0, 0.6, len(clip.frames))[:, None, None, None]
    return (clip.frames * (1 - white) + 255 * white).round().astype(np.uint8)


def frozen(clip: OriginalClip) -> Array:
    """Every frame is the first one."""
    return np.repeat(clip.frames[:1], len(clip.frames), 0)


def late(clip: OriginalClip) -> Array:
    """Every frame is the one before it."""
    return np.concatenate([clip.frames[:1], clip.frames[:-1]])


def leaked(clip: OriginalClip) -> Array:
    """From a third of the clip on, the color of the largest region fills the next three, too."""
    frames = clip.frames.copy()
    for frame, lines in list(zip(frames, clip.lines))[len(frames) // 3 :]:
        regions = between_lines(lines > 127)
        areas = np.bincount(regions.ravel(), minlength=2)
        areas[0] = 0
        largest, *others = np.argsort(-areas)[:4]
        frame[np.isin(regions, others)] = medians(frame, regions, regions == largest, 1)[0]
    return frames


FAULTS: dict[str, Callable[[OriginalClip], Array]] = {
    "harmless": harmless,
    "grey": grey,
    "blurred": blurred,
    "shifted lines": shifted,
    "flickering": flickering,
    "wrong palette": wrong_palette,
    "fading": fading,
    "frozen": frozen,
    "late": late,
    "leaked": leaked,
}


# --- scores ---------------------------------------------------------------------------------------------


def noisy(clip: OriginalClip) -> OriginalClip:
    """Return the clip with faint noise: against a perfect copy, every error would be infinitely large."""
    noise = np.random.default_rng(0).normal(0, 2, clip.frames.shape)
    return OriginalClip((clip.frames + noise).round().clip(0, 255).astype(np.uint8), clip.lines)


def original_clips() -> list[OriginalClip]:
    """Draw the held-out cartoons."""
    drawn = (draw(TEST_SEED + i, FRAMES, HEIGHT, WIDTH, STYLE) for i in range(CLIPS))
    return [OriginalClip(clip.frames, clip.lines) for clip in drawn]


def scores_of(suite: Suite, originals: list[OriginalClip], fault: Callable[[OriginalClip], Array]) -> dict[str, float]:
    """Return the value of each column for clips with a fault."""
    suite.reset_generated()
    for number, clip in enumerate(originals):
        preds, target = (
            torch.from_numpy(x).movedim(-1, 1)[None].float() / 255 for x in (fault(noisy(clip)), clip.frames)
        )
        sketches: Tensor = torch.from_numpy(clip.lines)[None, :, None].float() / 255
        suite.update(preds, target, sketches, torch.tensor([number]))
    return {column: report["value"] for column, report in suite.reports().items()}


def error(column: str, value: float) -> float:
    """Return the distance of a value from a perfect one, in a unit in which twice as much is twice as bad."""
    if column.startswith("PSNR"):
        return float(10 ** (-value / 20))
    if column == "TC":
        return value - 1
    return 1 - value if column.startswith(("SSIM", "SegmentAccuracy")) else value


def is_detected(column: str, value: float, harmless: float) -> bool:
    """Return whether a value reveals a fault, where harmless clips have the value `harmless`."""
    return error(column, value) > max(DETECTION_FACTOR * error(column, harmless), MIN_DETECTED_ERROR)


def markdown(table: dict[str, dict[str, float]]) -> str:
    """Return METRICS.md of the values: fault -> column -> value."""
    expected = table["harmless"]
    columns = [*expected]
    rows = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for fault, values in table.items():
        cells = [f"{values[c]:.3g}" for c in columns]
        if fault != "harmless":
            cells = [
                f"**{cell}**" if is_detected(c, values[c], expected[c]) else cell for c, cell in zip(columns, cells)
            ]
        rows.append(f"| {fault} | " + " | ".join(cells) + " |")
    faults = {fault: " ".join((FAULTS[fault].__doc__ or "").split()) for fault in table}
    missed = {
        c: [f for f in table if f != "harmless" and not is_detected(c, table[f][c], expected[c])] for c in columns
    }
    return f"""# Which metric detects which fault

Made by `python tools/metric_faults.py --out data`: {CLIPS} drawn cartoons of {FRAMES} frames, {WIDTH} x {HEIGHT},
damaged on purpose and given the noise of the harmless ones. In bold: an error more than {DETECTION_FACTOR:g} times
that of the harmless clips. The metrics resize frames to 256 x 256, as in the paper; EDMD's lines are XDoG's, TC's flow
is DIS. With so few clips the two distances are large in themselves: compare them within this table only.

![Four frames of each fault, without noise](pictures/metric_faults.png)

{chr(10).join(rows)}

The faults: {" ".join(f"*{fault}*: {words}" for fault, words in faults.items())}

{chr(10).join(f"- **{c}** misses: {', '.join(missed[c]) or 'nothing'}." for c in columns)}

TC below 1 rewards what is grey, blurred or faded, and EDMD and TC do not react to a wrong palette: read them together.
"""


def main() -> None:
    """Score every fault and write the table and the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for METRICS.md and pictures/metric_faults.png")
    out = parser.parse_args().out
    originals, suite = original_clips(), Suite(paper(), frames=FRAMES)
    shown = {"original": originals[0].frames} | {name: fault(originals[0]) for name, fault in FAULTS.items()}
    shown["harmless"] = noisy(originals[0]).frames
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet({name: [frames[i] for i in evenly_spaced(FRAMES, 4)] for name, frames in shown.items()})
    sheet.quantize(256).save(out / "pictures" / "metric_faults.png", optimize=True)
    table = {}
    for name, fault in FAULTS.items():
        table[name] = scores_of(suite, originals, fault)
        print(f"{name:14}", "  ".join(f"{column} {value:.3g}" for column, value in table[name].items()), flush=True)
    (out / "METRICS.md").write_text(markdown(table))


if __name__ == "__main__":
    main()
