"""What a drawing shows: ink, trace lines and transparency, whatever it was drawn on and with.

One `DrawingReader` reads all drawings of a clip in one way, which it finds out from some of them. Clean drawings, black
or white without grain on pure white or black, or one ink on transparency, are read as `to_sketch` reads them, bit for
bit; of all others the paper is estimated and taken as 0, the strongest line as 1, and colored lines are told from ink.

letters: H W pixels. A drawing comes as uint8 (H W), (H W 3) RGB or (H W 4) RGBA, not premultiplied.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from lvcd.errors import InputError
from lvcd.spacing import evenly_spaced

from .colored import COLORED_FRAMES, count_fills
from .paper import WHITE, Paper, estimate_paper
from .polarity import find_polarity
from .sketch import Array, greatest, luminance, split_alpha, to_sketch
from .traces import INK_FRACTION, MIN_ABSORBED, MIN_SATURATION, Hue, find_hues, saturation, separate, without_fills
from .xdog import xdog

DRAWINGS_SAMPLED = 5
"""Of a clip, to find out how its drawings are to be read."""
LINES = ("auto", "dark", "light", "alpha", "extract")
"""How drawings show lines: found out; dark on light; light on dark; on transparency; as edges of colored frames."""
PAPERS = ("auto", "white")
"""Whether the paper is estimated, or what is not white counts as drawn."""
FULL_STRENGTH = 0.9
"""Coverage of the strongest lines from which they are left as they are."""
CLEAR_FRACTION = 1e-3
"""Of the pixels: a clip with more transparent ones is drawn on transparency."""


class Drawings(Protocol):
    """The drawings of a clip by number, uint8 (H W), (H W 3) or (H W 4): a list, or a reader of files."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> Array: ...


@dataclass(frozen=True)
class DrawingSettings:
    """The settings say how drawings are read. Raises InputError for unknown values."""

    lines: str = "auto"
    """One of LINES."""
    paper: str = "auto"
    """One of PAPERS."""
    traces: bool = True
    """Tell colored lines from ink; without, all lines are ink."""

    def __post_init__(self) -> None:
        for name, known in (("lines", LINES), ("paper", PAPERS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} {getattr(self, name)!r} is not known: give {', '.join(known)}")


@dataclass(frozen=True)
class Drawing:
    """One drawing, read. All maps are float32 (H W) in [0, 1]."""

    ink: Array
    """1 on a line, 0 on paper."""
    traces: dict[str, Array] = field(default_factory=dict)
    """Name of a hue (see `HUES`) -> 1 on its lines. Hues that the drawing does not have are left out."""
    alpha: Array | None = None
    """Opacity as the file has it; None for a file without transparency."""

    @property
    def trace(self) -> Array:
        """All trace lines, whatever their hue."""
        return np.maximum.reduce([np.zeros_like(self.ink), *self.traces.values()])

    @property
    def lines(self) -> Array:
        """Ink and trace lines together: what the networks see."""
        return np.maximum.reduce([self.ink, *self.traces.values()])

    @property
    def sketch(self) -> Tensor:
        """`lines` as a tensor (1 H W)."""
        return torch.from_numpy(np.ascontiguousarray(self.lines, np.float32))[None]


def read_drawing(image: Array, settings: DrawingSettings | None = None) -> Drawing:
    """Read one drawing alone. For drawings of a clip make one `DrawingReader`, so that all are read in one way."""
    return DrawingReader([image], settings)(image)


class DrawingReader:
    """Reads the drawings of one clip, all in one way.

    clip       the drawings; five of them, spread over the clip, are looked at
    InputError: no drawings, bad arrays, or colored frames in place of drawings.
    """

    def __init__(self, clip: Drawings, settings: DrawingSettings | None = None):
        self.settings = settings or DrawingSettings()
        self.notes: list[str] = []
        """What is uncertain, one line each, with what to set."""
        if not len(clip):
            raise InputError("there is no sketch to find lines in: give at least one image")
        samples = [split_alpha(clip[i]) for i in evenly_spaced(len(clip), DRAWINGS_SAMPLED)]
        self.lines = self._find_lines(samples)
        """dark, light, alpha or extract."""
        self._premultiplied = self.lines == "alpha" and _is_premultiplied(samples)
        self._clear = _ClearGround.find(samples, self._premultiplied) if self.lines == "alpha" else None
        self.paper = self._find_paper(samples)
        self._ink_hue: Hue | None = None
        self._hues: list[Hue] = []
        self._strength = 1.0
        if self.lines != "extract":
            self._find_inks(samples)

    def __call__(self, image: Array) -> Drawing:
        """Read a drawing of the clip. InputError: a bad array."""
        color, alpha = split_alpha(image)
        has_alpha = image.ndim == 3 and image.shape[2] == 4
        ink, traces = self._read(image, color, alpha)
        return Drawing(ink, traces, alpha if has_alpha else None)

    def _read(self, image: Array, color: Array, alpha: Array) -> tuple[Array, dict[str, Array]]:
        if self.lines == "extract":
            over_white = color * alpha[..., None] + (1 - alpha[..., None])
            pixels = torch.from_numpy(np.ascontiguousarray(over_white)).movedim(-1, 0)[None]
            return xdog(pixels * 2 - 1)[0, 0].numpy(), {}
        one_color = self._clear is not None and self._clear.one_color
        clean = self.paper.is_white and self._clear is None and self._ink_hue is None and _is_colorless(image)
        absorbed = None if one_color or clean else self._absorbed(color, alpha)
        hues = self._hues_of(absorbed) if absorbed is not None and self.settings.traces else []
        if not hues and self._ink_hue is None and (self.paper.is_white or self._clear):
            ink = alpha if one_color else to_sketch(image, self.lines)[0].numpy()  # type: ignore[arg-type]
            return self._at_full_strength(ink), {}
        assert absorbed is not None
        if self._ink_hue is not None:
            rest, (ink, *covers) = separate(absorbed, [self._ink_hue, *hues])
            ink = np.maximum(ink, luminance(rest))
        else:
            rest, covers = separate(absorbed, hues) if hues else (absorbed, [])
            ink = luminance(rest)
        traces: dict[str, Array] = {}
        for hue, cover in zip(hues, map(without_fills, covers)):
            traces[hue.name] = np.maximum(traces[hue.name], cover) if hue.name in traces else cover
        return self._at_full_strength(ink), traces

    def _absorbed(self, color: Array, alpha: Array) -> Array:
        """Return what the lines take from the ground (H W 3)."""
        if self._clear is not None:
            color = _straight(color, alpha) if self._premultiplied else color
            return alpha[..., None] * (color if self._clear.light else 1 - color)
        picture = color * alpha[..., None] + (1 - alpha[..., None]) * (self.lines == "dark")
        return self.paper.absorbed(picture if self.lines == "dark" else 1 - picture)

    def _hues_of(self, absorbed: Array) -> list[Hue]:
        """Return the hues of trace lines: those of the clip, and what this drawing alone has."""
        own = find_hues(absorbed)
        known = [*self._hues, *([self._ink_hue] if self._ink_hue else [])]
        names = {hue.name for hue in own}
        return [hue for hue in self._hues if hue.name in names] + [
            hue for hue in own if hue.name not in {k.name for k in known}
        ]

    def _at_full_strength(self, ink: Array) -> Array:
        return ink if self._strength == 1 else np.clip(ink / np.float32(self._strength), 0, 1)

    def _find_lines(self, samples: list[tuple[Array, Array]]) -> str:
        if self.settings.lines != "auto":
            return self.settings.lines
        fills = [count_fills(color * alpha[..., None] + (1 - alpha[..., None])) for color, alpha in samples]
        if 2 * sum(fill.is_colored for fill in fills) > len(fills):
            raise InputError(COLORED_FRAMES)
        if any(fill.is_doubtful for fill in fills):
            self.notes.append("the drawings have large colored areas, which are left out: set --lines extract if "
                              "they are colored frames")  # fmt: skip
        pixels = sum(alpha.size for _, alpha in samples)
        if sum(int((alpha < 0.5).sum()) for _, alpha in samples) > CLEAR_FRACTION * pixels:
            return "alpha"
        polarity = find_polarity([color for color, _ in samples])
        if not polarity.is_sure:
            self.notes.append(f"it is not clear whether lines are dark or light, {polarity.lines} is taken: "
                              "set --lines dark or --lines light")  # fmt: skip
        return polarity.lines

    def _find_paper(self, samples: list[tuple[Array, Array]]) -> Paper:
        if self.settings.paper == "white" or self.lines in ("alpha", "extract"):
            return WHITE
        dark = self.lines == "dark"
        pictures = [color * a[..., None] + (1 - a[..., None]) * dark for color, a in samples]
        return estimate_paper(pictures if dark else [1 - picture for picture in pictures])

    def _find_inks(self, samples: list[tuple[Array, Array]]) -> None:
        """Find the hues of the clip, which of them is its ink, and how dark its strongest lines are."""
        if self._clear is not None and self._clear.one_color:
            self._strength = line_strength([alpha for _, alpha in samples])
            return
        absorbed = [self._absorbed(color, alpha) for color, alpha in samples]
        if self.settings.traces:
            self._hues = _merge(hue for one in absorbed for hue in find_hues(one))
            colored = sum(hue.pixels for hue in self._hues)
            grey = sum(int(_is_grey(one).sum()) for one in absorbed)
            if self._hues and grey < INK_FRACTION * (grey + colored):
                self._ink_hue, *self._hues = self._hues
        if self._ink_hue is None:
            inks = [luminance(separate(one, self._hues)[0] if self._hues else one) for one in absorbed]
            self._strength = line_strength(inks)


def line_strength(inks: list[Array]) -> float:
    """Return how dark the strong lines of drawings are: the value that becomes 1.

    Measured on the crests of lines, which anti-aliasing leaves alone; 1 where the darkest of them are black.
    """
    crests = np.concatenate([_crests(ink) for ink in inks])
    if not len(crests) or np.quantile(crests, 0.98) >= FULL_STRENGTH:
        return 1.0
    return max(0.05, float(np.quantile(crests, 0.75)))


def _crests(ink: Array) -> Array:
    """Return the values of pixels that no neighbor exceeds, and that stand out from the paper."""
    top = cv2.dilate(ink, np.ones((3, 3), np.uint8))
    return ink[(ink >= top) & (ink > 0.06)]


def _is_colorless(image: Array) -> bool:
    """Return whether all pixels of a uint8 image are grey."""
    if image.ndim == 2:
        return True
    r, g, b = (image[..., c] for c in range(3))
    return np.array_equal(r, g) and np.array_equal(g, b)


def _is_grey(absorbed: Array) -> Array:
    """Return, bool (H W), which pixels of a drawing (H W 3) are ink without hue."""
    colorless = saturation(cv2.blur(absorbed, (3, 3))) < MIN_SATURATION
    return colorless & (greatest(absorbed) > 2 * MIN_ABSORBED)


def _merge(hues: Iterable[Hue]) -> list[Hue]:
    """Join hues of one name from several drawings; the most frequent first."""
    groups: dict[str, list[Hue]] = {}
    for hue in hues:
        groups.setdefault(hue.name, []).append(hue)
    merged = [
        Hue(name, float(np.median([h.angle for h in group])), tuple(np.median([h.absorbed for h in group], 0).tolist()),
            sum(h.pixels for h in group))
        for name, group in groups.items()
    ]  # fmt: skip
    return sorted(merged, key=lambda hue: -hue.pixels)


@dataclass(frozen=True)
class _ClearGround:
    """How the drawings of a clip on transparency show their lines."""

    one_color: bool
    """Everything drawn has one color, be it white: what is opaque is ink."""
    light: bool
    """There are several colors and none is dark: light ones are lines."""

    @classmethod
    def find(cls, samples: list[tuple[Array, Array]], premultiplied: bool) -> _ClearGround:
        solid = [(_straight(c, a) if premultiplied else c)[a > 0.5] for c, a in samples]
        colors = np.concatenate(solid)
        if not len(colors) or (colors.max(0) - colors.min(0)).max() < 0.1:
            return cls(True, False)
        return cls(False, bool((1 - luminance(colors)).max() <= 0.5))


def _is_premultiplied(samples: list[tuple[Array, Array]]) -> bool:
    """Return whether colors were multiplied by opacity, against what files are to have: edges darken where they fade.

    Then no channel exceeds the opacity, and dividing makes the colors of soft edges more alike.
    """
    color = np.concatenate([c[(a > 0.1) & (a < 0.9)] for c, a in samples])
    alpha = np.concatenate([a[(a > 0.1) & (a < 0.9)] for _, a in samples])[:, None]
    if len(color) < 8 or (color > alpha + 1.5 / 255).any():
        return False
    return bool((color / alpha).std(0).sum() < 0.5 * color.std(0).sum())


def _straight(color: Array, alpha: Array) -> Array:
    """Divide premultiplied colors (H W 3) by opacity (H W)."""
    return np.clip(color / np.maximum(alpha, 1 / 255)[..., None], 0, 1)
