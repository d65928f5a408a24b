"""Paint bucket: a region between lines takes the color of the region that it matches, as in a colorist's tool; where a
model has painted the frame, its colors help to choose.

letters: r regions of a drawing, H W pixels. Frames are RGB in [0, 1]; ink and trace lines are in [0, 1], 1 on a line.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .cel import Cel
from .colors import UNIFORM, color_edges, fill_colors, line_colors, owners, reach_of
from .exact_colors import color_codes
from .fills import PAPER_MAX, Array, line_color
from .indexed import IndexedFrame, nearest_entries
from .regions import (
    LINE_THRESHOLD,
    NEIGHBOR_ROUNDS,
    POSITION_SCALE,
    SCORE_WEIGHTS,
    Gap,
    Regions,
    match_scores,
    overlaps,
)

REFERENCE_WEIGHT = 0.8
"""Weight of a match with a region of the reference; one with a region of the drawing before has 1."""
PAINTED_WEIGHT = 3.0
"""Weight of the likeness of colors, where a model has painted the frame; see SCORE_WEIGHTS for the others."""
SMALL_REGION = 0.0014
"""Area, of the frame's, of a region for which the likeness of colors counts half: paint runs over the lines around
small ones."""
COLOR_SCALE = 0.12
"""Distance of two colors, Euclidean over RGB in [0, 1], at which their likeness has fallen to e^-1/2."""
MIN_PURITY = 0.5
"""Of the pixels of the reference's region that are near its color: one with fewer has no flat color to give."""
MIN_AGREEMENT = 0.2
"""Of the pixels of a large region: when fewer are painted like its fill, and in several colors, they stay so."""
AGREES = 0.35
"""Distance of two colors that agree, Euclidean over RGB in [0, 1]."""
LARGE_REGION = 0.1
"""Area, of the frame's, of a region whose fill the model's paint may overrule."""
SAME_REGION = 0.8
"""Score of a region with a pinned one, as a fraction of the best that this one has, from which it is pinned itself."""
SAME_PLACE = 0.5
"""Overlap of two regions, of their union, from which they are at one place."""

Trace = Literal["darker", "lighter"]


class PaintBucket:
    """A paint bucket that fills drawing after drawing with colors of the reference.

    A region is matched to the regions of the drawing before and of the reference by overlap, position, area and shape,
    and by what its neighbors match. Several may match one, as when a line parts it. Each fill is a color that occurs in
    the reference. A region whose match has no flat color, because lines enclose nothing there, keeps what the model
    painted, or without a model what the reference shows at its place.
    """

    settings: dict[str, Any] = {
        "line": LINE_THRESHOLD, "weights": SCORE_WEIGHTS, "rounds": NEIGHBOR_ROUNDS, "reference": REFERENCE_WEIGHT,
        "close": POSITION_SCALE, "gap": "auto", "purity": MIN_PURITY,
    }  # fmt: skip
    """What the filling depends on, as it is recorded with a result."""
    model_settings: dict[str, Any] = {
        "painted": PAINTED_WEIGHT, "shade": COLOR_SCALE, "small": SMALL_REGION,
        "agreement": [MIN_AGREEMENT, AGREES, LARGE_REGION],
    }  # fmt: skip
    """The same, for what is added where a model has painted the frames."""

    def __init__(
        self,
        reference: Array,  # (H W 3), the colored frame
        ink: Array,  # (H W), its line art
        gap: Gap = "auto",  # see `Regions.from_lines`
        trace: Array | None = None,  # (H W), trace lines of the reference's line art: they part regions
        trace_fill: Trace = "darker",  # which of the fills beside it a trace line's pixels take
        ink_color: Array | None = None,  # (3) of lines where the reference has no outlines; None = what it shows there
        palette: Array | None = None,  # uint8 (n 3): only these come out, for each color of the reference the nearest
        ground: Array | None = None,  # (H W) bool, where the reference shows its ground; None = nowhere
    ):
        self.gap, self.trace_fill, self.reference, self.palette = gap, trace_fill, reference, palette
        self._ink_color = ink_color
        drawn = _union(ink, trace)
        self.first = self.before = Regions.from_lines(drawn, gap, reference)
        self._by_color = self.first.parts.ndim == 2
        """Whether this hand leaves lines open, so that colors have to part regions: the reference, whose colors are
        sure, shows it. What a model paints in closed regions is not to part them."""
        common, lines = line_colors(reference, ink, self.first.map, self.first.area)
        if common is None or lines is None:
            if (edges := color_edges(reference)) is not None:  # outlines are not there to enclose its fills
                drawn = edges.astype(np.float32)
                self.first = self.before = Regions.from_lines(drawn, 0.0)
            # only the drawing's own color makes lines visible that the reference does not show: a gray drawing must
            # not tell its colors where methods are judged
            common = line_color(reference, ink) if ink_color is None else np.asarray(ink_color, np.float32)
            lines = np.tile(common, (len(self.first.area), 1))
        self.line_color = common
        """(3) of lines that belong to no region of the reference."""
        fills, purity = fill_colors(reference, drawn, self.first.map, common)
        on_ground = np.zeros(len(fills))
        if ground is not None:
            pixels = np.bincount(self.first.map[ground], minlength=len(fills))
            on_ground = pixels / np.maximum(np.bincount(self.first.map.ravel(), minlength=len(fills)), 1)
        self._first = self.matched = np.concatenate(
            [fills, lines, purity[:, None], on_ground[:, None]], 1, dtype=np.float32
        )
        """(r 8): of each region of the reference, and of the drawing filled last, fill, color of lines, purity, and
        the fraction that is ground."""
        self._more: list[tuple[Regions, Array]] = []  # of each further reference its regions, and their colors as above
        self.kept = np.zeros(len(fills), bool)
        """(r): which regions of the drawing filled last kept what the model painted."""
        self.doubt = np.zeros(len(fills), np.float32)
        """(r): of each region of the drawing filled last, the score of the best match that has another color than the
        chosen one, as a fraction of the chosen one's, in [0, 1]."""
        self.changed = np.zeros(len(fills), bool)
        """(r): which regions of the drawing filled last have another color than the region at their place in the
        drawing before; none, if that is the reference."""
        self.was = self.colors
        """(r 3): the colors of the regions at their places in the drawing before."""
        self.pinned = np.zeros(len(fills), bool)
        """(r): which regions of the drawing filled last hand their color on by place and shape alone; see `pin`."""
        self.drawn = drawn
        """(H W): ink and trace lines of the drawing filled last."""
        self._is_first = True
        self.cel: Cel | None = None
        """The drawing filled last in its parts."""
        self.indexed: IndexedFrame | None = None
        """With a palette, the drawing filled last in its numbers."""

    def add_reference(
        self, reference: Array, ink: Array, trace: Array | None = None, ground: Array | None = None
    ) -> None:
        """Match the drawings to be filled with a further colored frame's regions, too; see `__init__`."""
        of = PaintBucket(reference, ink, self.gap, trace, self.trace_fill, self._ink_color, self.palette, ground)
        self._more.append((of.first, of._first))

    def pin(self, changed: Array) -> None:
        """Let regions of the reference hand their color on to those that match them by place and shape, from drawing to
        drawing, whatever a model paints and other references show: a person set it.

        changed: (H W) bool, where it was set; regions count of whose paper that is more than half.
        """
        clear = self.drawn <= PAPER_MAX
        count = len(self.before.area)
        inside, part = (np.bincount(self.before.map[where], minlength=count) for where in (clear, clear & changed))
        self.pinned = part > inside / 2

    @property
    def palette_of_reference(self) -> Array:
        """The colors (n 3) of the references' fills and lines, some of them repeatedly."""
        known = np.concatenate([self._first, *(colors for _, colors in self._more)])
        return np.concatenate([known[:, :3], known[:, 3:6], self.line_color[None]])

    @property
    def colors(self) -> Array:
        """The color (r 3) of each region of the drawing filled last."""
        return self.matched[:, :3]

    def __call__(self, ink: Array, painted: Array | None = None, trace: Array | None = None) -> Array:
        """Fill the next drawing (H W) => frame (H W 3).

        painted: the same frame as a model painted it (H W 3), if one did. trace: trace lines (H W).
        """
        self.drawn = drawn = _union(ink, trace)
        regions = Regions.from_lines(drawn, self.gap, painted, by_color=self._by_color)
        known = [(self.first, self._first), *self._more]
        by_shape = match_scores(regions, self.before)
        found = [by_shape, *(REFERENCE_WEIGHT * match_scores(regions, of) for of, _ in known)]
        scores = np.concatenate(found, 1)
        matches = np.concatenate([self.matched, *(colors for _, colors in known)])
        if painted is not None:
            medians = region_medians(painted, regions, drawn <= PAPER_MAX)
            distance = np.square(medians[:, None] - matches[:, :3]).sum(-1)
            weight = PAINTED_WEIGHT * regions.area / (regions.area + SMALL_REGION * ink.size)
            scores = scores + weight[:, None] * np.exp(-distance / (2 * COLOR_SCALE**2))
        chosen = scores.argmax(1)
        pinned = np.zeros(len(chosen), bool)
        if self.pinned.any():
            same = by_shape.argmax(1)
            close = by_shape[np.arange(len(same)), same] >= SAME_REGION * by_shape.max(0)[same]
            pinned = self.pinned[same] & close
            chosen[pinned] = same[pinned]
        self.pinned = pinned
        place, share = overlaps(regions, self.before)
        self.was, was_first, self._is_first = self.colors[place], self._is_first, False
        self.doubt = _doubt(scores, chosen, matches[:, :3])
        self.before, self.matched = regions, matches[chosen]
        self.changed = (share >= SAME_PLACE) & (np.abs(self.was - self.colors) > 1 / 512).any(1) & (not was_first)
        fill = self.colors[regions.map]
        self.kept = self._doubtful(regions, fill, painted, drawn) & ~pinned
        instead = self.reference if painted is None else painted
        if self.palette is not None:
            self.indexed = indexed = self._in_palette(self.palette, instead, ink, trace)
            unit = self.palette.astype(np.float32) / 255
            self.cel = Cel(unit[indexed.fill], unit[indexed.line], indexed.coverage / np.float32(255), self._ground())
            return self.indexed.colored(self.palette).astype(np.float32) / 255
        if self.kept.any():
            keeps = self.kept[regions.map]
            fill[keeps] = instead[keeps]
        self.cel = self._with_lines(fill, ink, trace)
        return self.cel.frame

    def resume_after(self, ink: Array, matched: Array, parts: Array, trace: Array | None = None) -> None:
        """Continue as if this drawing (H W) had been filled last.

        matched (r 8), parts (p): `self.matched` and `self.before.parts` as they were then.
        """
        self.before, self.matched = Regions.from_lines(_union(ink, trace), self.gap, parts=parts), matched
        self._is_first = False

    def _doubtful(self, regions: Regions, fill: Array, painted: Array | None, drawn: Array) -> Array:
        """Return which regions (r) are not to be filled."""
        kept = self.matched[:, 6] < MIN_PURITY
        large = np.flatnonzero((regions.area > LARGE_REGION * drawn.size) & ~kept)
        if painted is not None and len(large):
            counted = np.isin(regions.map, large) & (drawn <= PAPER_MAX)
            number = regions.map[counted]
            agrees = np.square(painted[counted] - fill[counted]).sum(-1) <= AGREES**2
            total = np.maximum(np.bincount(number, minlength=len(kept)), 1)
            share = np.bincount(number[agrees], minlength=len(kept)) / total
            middle = region_medians(painted, regions, counted)
            even = np.square(painted[counted] - middle[number]).sum(-1) <= UNIFORM**2
            varied = np.bincount(number[even], minlength=len(kept)) / total < MIN_PURITY
            kept[large] = (share[large] < MIN_AGREEMENT) & varied[large]
        return kept

    def _ground(self) -> Array:
        """Return where the drawing filled last shows the ground (H W) bool."""
        return ((self.matched[:, 7] > 0.5) & ~self.kept)[self.before.map]

    def _with_lines(self, fill: Array, ink: Array, trace: Array | None) -> Cel:
        """Put lines (H W) over a fill (H W 3), and paint trace lines over."""
        flat, chosen = self._under_trace(ink, trace, self.colors)
        fill[flat] = np.where(self.kept[chosen][:, None], fill[flat], self.colors[chosen])
        ink = _full_ink(ink)
        lines = self.matched[:, 3:6]
        if (lines == self.line_color).all():
            color: Array = self.line_color
        else:
            color = lines[self._line_owners(ink > 0)]
        return Cel(fill, color, ink, self._ground())

    def _in_palette(self, palette: Array, instead: Array, ink: Array, trace: Array | None) -> IndexedFrame:
        """Return the drawing filled last in numbers of a palette.

        instead: (H W 3), what regions show that keep it, in the nearest colors.
        """
        entries, lines = (nearest_entries(self.matched[:, part], palette) for part in (slice(3), slice(3, 6)))
        fill = entries[self.before.map]
        keeps = self.kept[self.before.map]
        if keeps.any():
            fill[keeps] = nearest_entries(instead[keeps], palette)
        flat, chosen = self._under_trace(ink, trace, palette[entries])
        fill[flat] = np.where(self.kept[chosen], fill[flat], entries[chosen])
        ink = _full_ink(ink)
        same = (lines == lines[0]).all()
        line = np.full(ink.shape, lines[0]) if same else np.where(ink > 0, lines[self._line_owners(ink > 0)], lines[0])
        return IndexedFrame(fill, line, np.rint(ink * 255).astype(np.uint8))

    def _under_trace(self, ink: Array, trace: Array | None, colors: Array) -> tuple[Array, Array]:
        """Return which pixels (H W) bool of trace lines are painted over, and the number (n) of the region that each
        takes its fill from; colors (r 3) tell the darker one."""
        if trace is None or not (on_trace := (trace > PAPER_MAX) & (trace >= ink)).any():
            return np.zeros(ink.shape, bool), np.zeros(0, int)
        light = colors @ np.array([0.299, 0.587, 0.114], np.float32)
        order = light if self.trace_fill == "darker" else -light
        off = _union(ink, trace) > PAPER_MAX
        flat = on_trace & (trace > LINE_THRESHOLD)  # type: ignore[operator]
        return flat, owners(self.before.map, off, order, reach_of(on_trace), on_trace)[flat]

    def _line_owners(self, inked: Array) -> Array:
        """Return the number of the region (H W) that each pixel of a line belongs to."""
        return owners(self.before.map, inked, self.before.area, reach_of(inked))


def _full_ink(ink: Array) -> Array:
    """Return coverage by ink (H W) without traces of it on paper, and without holes in lines."""
    return np.where(ink > PAPER_MAX, np.where(ink < 1 - PAPER_MAX, ink, 1), 0)


def _doubt(scores: Array, chosen: Array, colors: Array) -> Array:
    """Return the score of the best match of another color, as a fraction of the chosen one's => (r) in [0, 1].

    scores (r m), chosen (r) the best of them, colors (m 3).
    """
    code = color_codes(colors)
    second = np.where(code == code[chosen][:, None], 0, scores).max(1)
    best = scores[np.arange(len(chosen)), chosen]
    return np.clip(second / np.maximum(best, 1e-9), 0, 1).astype(np.float32)  # type: ignore[no-any-return]


def _union(ink: Array, trace: Array | None) -> Array:
    return ink if trace is None else np.maximum(ink, trace)


def region_medians(frame: Array, regions: Regions, counted: Array) -> Array:
    """(r 3): the median color of each region's counted pixels; without any, of all that are in or nearest to it."""
    count = len(regions.area)
    has_any = np.bincount(regions.map[counted], minlength=count) > 0
    counted = counted | ~has_any[regions.map]
    order = np.argsort(regions.map[counted], kind="stable")
    ends = np.bincount(regions.map[counted], minlength=count).cumsum()
    return np.stack([np.median(part, 0) for part in np.split(frame[counted][order], ends[:-1])])
