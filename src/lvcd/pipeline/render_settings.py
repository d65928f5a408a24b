"""What a rendered clip depends on, beside its files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lvcd.errors import InputError
from lvcd.io.frame_formats import FRAME_FORMATS
from lvcd.lineart.reading import DrawingSettings

TRACE_LINES = ("darker", "lighter", "keep")
"""What trace lines become with flat: the darker or the lighter of the fills beside them, or what they are."""


@dataclass(frozen=True)
class RenderSettings:
    """The settings say what a clip depends on, beside its files. Raises InputError for a value that cannot be used."""

    reference_frame: int | None = None
    """The reference is the colored version of this sketch, counted from 0, and comes out as it went in."""
    lines: str = "auto"
    """How the sketches show lines: dark (on light), light (on dark), alpha (on transparency), extract (they are colored
    frames), or auto."""
    paper: str = "auto"
    """auto: the paper of the sketches is estimated; white: what is not white is drawn."""
    traces: bool = True
    """Tell colored trace lines from ink."""
    level: str | None = None
    """Of a folder of sketches with several levels (A0001, B0001), the one to paint."""
    psd_layer: str | None = None
    """Of sketches in Photoshop files, the layer with the lines; None = the whole picture."""
    size: tuple[int, int] | None = None
    """(height, width) that the model paints at, px; None = the sketches'."""
    flat: bool = False
    """Fill each region between lines with one color of the reference, at the sketches' size."""
    gap: float | Literal["auto"] = "auto"
    """With flat: gaps in lines that fills do not run through, px of the sketches, 0 .. 1000; auto = they are found."""
    alpha: bool = False
    """With flat: what is the ground of the reference is transparent."""
    layers: bool = False
    """With flat: lines, colors, trace lines and ground come apart: folders, or layers of psd, or pages of tiff."""
    aliased: bool = False
    """With flat: lines without anti-aliasing, and no color but those of the reference or the palette."""
    format: str | None = None
    """Of frames in a folder: png, tga, tiff or psd; None = png."""
    trace: str = "darker"
    """With flat, what trace lines become: the darker or the lighter of the fills beside them, or keep."""
    steps: int | None = None
    """Denoising steps of each segment; None = the model's own."""
    overlap: int = 4
    """Frames that segments share, 0 .. window - 1."""
    steady: bool = False
    """Where lines stand still keep the pixels of the reference, and calibrate colors there."""
    seed: int = 0
    dtype: str = "auto"
    """float32, float16, bfloat16; auto = float16 on a GPU, float32 on a CPU."""
    offload: str | None = None
    """Keep weights off the GPU until they are used: whole networks (model), layers (sequential), or layers that are
    fetched ahead (group)."""
    storage: str | None = None
    """fp8 = the weights of U-Net and ControlNet wait in 8 bits, and are computed with in dtype."""
    decode_chunk: int | None = None
    """Frames that the VAE decodes at once, from 2; None = 10, as the original."""

    @property
    def cels(self) -> bool:
        """Whether frames are made of the parts of filled drawings, and not painted as a whole."""
        return self.alpha or self.layers or self.aliased

    @property
    def drawing(self) -> DrawingSettings:
        """How drawings are read."""
        return DrawingSettings(self.lines, self.paper, self.traces)

    def __post_init__(self) -> None:
        _ = self.drawing  # it checks itself
        if self.overlap < 0:
            raise InputError(f"overlap {self.overlap} is negative: give 0 or more")
        if self.gap != "auto" and not (isinstance(self.gap, (int, float)) and 0 <= self.gap <= 1000 and self.flat):
            raise InputError(f"gap {self.gap}: give auto or px, 0 to 1000, together with flat")
        if self.trace not in TRACE_LINES or (self.trace != "darker" and not self.flat):
            raise InputError(f"trace {self.trace}: give {', '.join(TRACE_LINES)}, together with flat")
        for name in ("alpha", "layers", "aliased"):
            if getattr(self, name) and not self.flat:
                raise InputError(f"{name}: give it together with flat")
        if self.format is not None and self.format not in FRAME_FORMATS:
            raise InputError(f"format {self.format}: give {', '.join(FRAME_FORMATS)}")
        if self.decode_chunk is not None and self.decode_chunk < 2:
            raise InputError(f"decode chunk {self.decode_chunk}: give at least 2 frames")
        if self.steps is not None and self.steps < 1:
            raise InputError(f"steps {self.steps}: give at least 1")
        if not -(2**63) <= self.seed < 2**64:
            raise InputError(f"seed {self.seed} is not a 64-bit number: give a smaller one")


def read_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT, in px => (height, width). InputError: it is not that, or smaller than 16x16."""
    found = re.fullmatch(r"\s*([0-9]{1,5})\s*[xX×]\s*([0-9]{1,5})\s*", text)
    if found is None:
        raise InputError(f"{text!r} is not WIDTHxHEIGHT, such as 576x320")
    width, height = int(found[1]), int(found[2])
    if min(width, height) < 16:
        raise InputError(f"{text} is too small: at least 16x16")
    return height, width
