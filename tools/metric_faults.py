"""`python tools/metric_faults.py --out data`: which metric sees which fault.

Breaks drawn cartoons in known ways, scores them, and writes OUT/METRICS.md, a table of who notices what, with
OUT/pictures/metric_faults.png, a sheet of the faults.

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
SURE = 3.0
"""So many times the error of the harmless clip is noticed."""


class Clip(NamedTuple):
    frames: Array
    """(t H W 3) uint8"""
    lines: Array
    """(t H W) uint8, 255 on a line"""


# --- faults: a clip => its frames, broken -----------------------------------------------------------------------------


def harmless(clip: Clip) -> Array:
    """Noise of two levels, as of a good encoder; the others have it too."""
    return clip.frames


def grey(clip: Clip) -> Array:
    """No colors."""
    return np.stack([cv2.cvtColor(cv2.cvtColor(f, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB) for f in clip.frames])


def blurred(clip: Clip) -> Array:
    """Out of focus."""
    return np.stack([cv2.GaussianBlur(frame, (0, 0), 2.5) for frame in clip.frames])


def shifted(clip: Clip) -> Array:
    """The colors are right, the lines lie 3 px to the right of where they were drawn."""
    frames = []
    for frame, lines in zip(clip.frames, clip.lines):
        thick = cv2.dilate(lines, np.ones((3, 3), np.uint8))
        ground = cv2.inpaint(frame, thick, 3, cv2.INPAINT_TELEA)
        ink = np.pad(lines, ((0, 0), (3, 0)))[:, :-3, None] / 255
        frames.append((ground * (1 - ink)).round().astype(np.uint8))
    return np.stack(frames)


def flickering(clip: Clip) -> Array:
    """Every other frame is darker by a tenth."""
    frames = clip.frames.copy()
    frames[1::2] = (frames[1::2] * 0.9).round().astype(np.uint8)
    return frames


def wrong_palette(clip: Clip) -> Array:
    """Other colors, the same throughout the clip; the lines stay."""
    return np.ascontiguousarray(clip.frames[..., [1, 2, 0]])


def fading(clip: Clip) -> Array:
    """The colors are right at first and pale in the end."""
    share = np.linspace(0, 0.6, len(clip.frames))[:, None, None, None]
    return (clip.frames * (1 - share) + 255 * share).round().astype(np.uint8)


def frozen(clip: Clip) -> Array:
    """The first frame throughout."""
    return np.repeat(clip.frames[:1], len(clip.frames), 0)


def late(clip: Clip) -> Array:
    """Each frame is the one before."""
    return np.concatenate([clip.frames[:1], clip.frames[:-1]])


def leaked(clip: Clip) -> Array:
    """The paint of the largest area has run into the three next in size, from a third of the clip on."""
    frames = clip.frames.copy()
    for frame, lines in list(zip(frames, clip.lines))[len(frames) // 3 :]:
        regions = between_lines(lines > 127)
        areas = np.bincount(regions.ravel(), minlength=2)
        areas[0] = 0
        largest, *others = np.argsort(-areas)[:4]
        frame[np.isin(regions, others)] = medians(frame, regions, regions == largest, 1)[0]
    return frames


FAULTS: dict[str, Callable[[Clip], Array]] = {
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


# --- what the metrics say ---------------------------------------------------------------------------------------------


def noisy(clip: Clip) -> Clip:
    """What is broken: frames that equal the original, as no network paints them, would hide what others are like."""
    noise = np.random.default_rng(0).normal(0, 2, clip.frames.shape)
    return Clip((clip.frames + noise).round().clip(0, 255).astype(np.uint8), clip.lines)


def clips() -> list[Clip]:
    """Held-out cartoons."""
    drawn = (draw(TEST_SEED + i, FRAMES, HEIGHT, WIDTH, STYLE) for i in range(CLIPS))
    return [Clip(clip.frames, clip.lines) for clip in drawn]


def scored(suite: Suite, originals: list[Clip], fault: Callable[[Clip], Array]) -> dict[str, float]:
    """Column => value."""
    suite.reset_generated()
    for number, clip in enumerate(originals):
        preds, target = (
            torch.from_numpy(x).movedim(-1, 1)[None].float() / 255 for x in (fault(noisy(clip)), clip.frames)
        )
        sketches: Tensor = torch.from_numpy(clip.lines)[None, :, None].float() / 255
        suite.update(preds, target, sketches, torch.tensor([number]))
    return {column: report["value"] for column, report in suite.reports().items()}


def error(column: str, value: float) -> float:
    """A value as a distance from perfect: what grows by a factor is worse by that factor."""
    if column.startswith("PSNR"):
        return float(10 ** (-value / 20))
    if column == "TC":
        return value - 1
    return 1 - value if column.startswith(("SSIM", "SegmentAccuracy")) else value


def notices(column: str, value: float, normal: float) -> bool:
    """Whether a value is an alarm, where a harmless clip has the value `normal`. A hundredth is never one."""
    return error(column, value) > max(SURE * error(column, normal), 0.01)


def text(table: dict[str, dict[str, float]]) -> str:
    """METRICS.md of {fault: {column: value}}."""
    normal = table["harmless"]
    columns = [*normal]
    rows = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for fault, values in table.items():
        cells = [f"{values[c]:.3g}" for c in columns]
        if fault != "harmless":
            cells = [f"**{cell}**" if notices(c, values[c], normal[c]) else cell for c, cell in zip(columns, cells)]
        rows.append(f"| {fault} | " + " | ".join(cells) + " |")
    faults = {fault: " ".join((FAULTS[fault].__doc__ or "").split()) for fault in table}
    seen = {c: [f for f in table if f != "harmless" and notices(c, table[f][c], normal[c])] for c in columns}
    blind = {c: [f for f in table if f != "harmless" and f not in seen[c]] for c in columns}
    return f"""# Which metric sees which fault

Made by `python tools/metric_faults.py --out data`, with lvcd.metrics as it is: {CLIPS} drawn cartoons, {FRAMES} frames,
{WIDTH} x {HEIGHT}, broken on purpose and given the noise of the harmless ones. In bold: an error more than {SURE:g}
times that of the harmless clips. The metrics see frames of 256 x 256, as in the paper; EDMD's lines are XDoG's, TC's
flow is DIS. So few clips make the two distances large in themselves: compare them within the table alone.

![Four frames of each, the broken ones without noise](pictures/metric_faults.png)

{chr(10).join(rows)}

The faults: {" ".join(f"*{fault}*: {told}" for fault, told in faults.items())}

{chr(10).join(f"- **{c}** misses: {', '.join(blind[c]) or 'nothing'}." for c in columns)}

TC below 1 praises what is grey, blurred or faded; a wrong palette costs EDMD and TC nothing. Read them together.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for METRICS.md and pictures/metric_faults.png")
    out = parser.parse_args().out
    originals, suite = clips(), Suite(paper(), frames=FRAMES)
    shown = {"original": originals[0].frames} | {name: fault(originals[0]) for name, fault in FAULTS.items()}
    shown["harmless"] = noisy(originals[0]).frames
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet({name: [frames[i] for i in evenly_spaced(FRAMES, 4)] for name, frames in shown.items()})
    sheet.quantize(256).save(out / "pictures" / "metric_faults.png", optimize=True)
    table = {}
    for name, fault in FAULTS.items():
        table[name] = scored(suite, originals, fault)
        print(f"{name:14}", "  ".join(f"{column} {value:.3g}" for column, value in table[name].items()), flush=True)
    (out / "METRICS.md").write_text(text(table))


if __name__ == "__main__":
    main()
