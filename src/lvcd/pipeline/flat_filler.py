"""The paint bucket for a clip: flat fills by what the model painted, frame after frame.

letters: n frames, H W pixels of the drawings, h w those that the model paints at
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lvcd.flats import PAPER_MAX, Gap, IndexedFrame, PaintBucket, Trace, draw_lines_over, nearest_entries
from lvcd.lineart.reading import Drawing
from lvcd.lineart.sketch import Array


class FlatFiller:
    """The paint bucket for a clip, frame after frame, at the drawings' size, whatever size the model paints at."""

    def __init__(
        self,
        reference: Tensor,  # (3 H W) in [0, 1]
        drawing: Tensor | Drawing,  # of the reference: a sketch (1 H W) in [0, 1], line = 1, or ink and trace lines
        gap: Gap = "auto",  # px: gaps in lines that fills do not run through; auto = they are found
        trace: str = "darker",  # what trace lines become: the darker or the lighter fill beside them, or keep
        ink_color: Array | None = None,  # (3) of lines that the reference does not show; None = what it shows there
        palette: Array | None = None,  # uint8 (n 3): only these come out
        ground: Array | None = None,  # (H W) bool, where the reference shows its ground
    ):
        self.trace = trace
        ink, traces = _lines(drawing)
        picture = reference.movedim(0, -1).float().numpy()
        fill: Trace = "lighter" if trace == "lighter" else "darker"
        self.bucket = PaintBucket(picture, ink, gap, traces, fill, ink_color, palette, ground)
        self.traces: list[tuple[Array, Array]] = []
        """Coverage (H W) and color (3) of each hue of trace lines of the last drawing, if its picture was given."""

    def add_reference(self, reference: Tensor, drawing: Tensor | Drawing, ground: Array | None = None) -> None:
        """Match against a further colored frame (3 H W) in [0, 1] and its drawing, too."""
        ink, traces = _lines(drawing)
        self.bucket.add_reference(reference.movedim(0, -1).float().numpy(), ink, traces, ground)

    def __call__(self, drawing: Tensor | Drawing, painted: Tensor, picture: Array | None = None) -> Tensor:
        """Fill a drawing by what the model painted of it (3 h w) in [0, 1] => (3 H W) in [0, 1].

        What is painted is rounded to the levels of an 8-bit file first: so painted files can be filled again, equally.
        picture: the drawing as uint8 (H W 3) or more channels, whose trace lines are kept where `trace` says so.
        """
        large = (painted.float().cpu().clamp(0, 1) * 255).round() / 255
        ink, traces = _lines(drawing)
        if large.shape[-2:] != ink.shape:
            large = F.interpolate(large[None], ink.shape, mode="bilinear")[0]
        filled = self.bucket(ink, large.movedim(0, -1).numpy(), traces)
        self.traces = []
        if picture is not None and isinstance(drawing, Drawing):
            for cover in drawing.traces.values():
                if (strong := cover >= 0.8 * cover.max()).any() and cover.max() > 0:
                    color = np.median(picture[strong][:, :3], 0) / np.float32(255)
                    self.traces.append((np.where(cover > PAPER_MAX, cover, 0), color))
        for cover, color in self.traces if self.trace == "keep" else ():
            filled = self._keep_trace(filled, cover, color)
        return torch.from_numpy(filled).float().movedim(-1, 0)

    def _keep_trace(self, filled: Array, cover: Array, color: Array) -> Array:
        """Draw a trace line (H W) of a color (3) over a frame (H W 3); with a palette, in its nearest color."""
        frame, palette = self.bucket.indexed, self.bucket.palette
        if frame is None or palette is None:
            return draw_lines_over(filled, cover, color)
        covered = np.rint(cover * 255).astype(np.uint8)
        over = covered > frame.coverage
        frame.line[over], frame.coverage[over] = nearest_entries(color, palette), covered[over]
        return frame.colored(palette).astype(np.float32) / 255

    @property
    def indexed(self) -> IndexedFrame | None:
        """The last frame in numbers of the palette; None without one."""
        return self.bucket.indexed

    @property
    def regions(self) -> int:
        """The number of regions of the last drawing."""
        return len(self.bucket.before.area)

    @property
    def kept(self) -> int:
        """The number of regions of the last drawing that were not filled, but kept what the model painted."""
        return int(self.bucket.kept.sum())

    def state(self) -> dict[str, Tensor]:
        """Return what `resume` needs to go on after the last frame: what each region and each part of one matched."""
        pinned = {"flat_pinned": torch.from_numpy(self.bucket.pinned)} if self.bucket.pinned.any() else {}
        return pinned | {
            "flats": torch.from_numpy(self.bucket.matched).float().contiguous(),
            "flat_parts": torch.from_numpy(self.bucket.before.parts).long().contiguous(),
        }

    def resume(self, drawing: Tensor | Drawing, state: dict[str, Tensor]) -> None:
        """Go on as after filling this drawing, with the `state` of then."""
        ink, traces = _lines(drawing)
        self.bucket.resume_after(ink, state["flats"].numpy(), state["flat_parts"].numpy(), traces)
        pinned = state.get("flat_pinned")
        self.bucket.pinned = np.zeros(self.regions, bool) if pinned is None else pinned.numpy()


def _lines(drawing: Tensor | Drawing) -> tuple[Array, Array | None]:
    """Return ink and trace lines (H W); None without trace lines."""
    if isinstance(drawing, Tensor):
        return drawing[0].float().numpy(), None
    return drawing.ink, drawing.trace if drawing.traces else None
