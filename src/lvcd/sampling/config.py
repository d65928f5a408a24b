"""Every setting of sampling, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from lvcd.diffusion.noise import SCHEDULES
from lvcd.diffusion.solver import SOLVERS
from lvcd.errors import InputError
from lvcd.frames import FrameLayout

PAPER_MODEL: Mapping[str, Any] = MappingProxyType(
    {
        "steps": 25,
        "solver": "euler",
        "schedule": "karras",
        "sigma_min": 0.002,
        "sigma_max": 700.0,
        "window": 14,
        "reference_attention": True,
        "isolation": True,
    }
)
"""What a model's own configuration says of sampling; here the values of LVCD (paper, section 6)."""

SHOWN = ("steps", "solver", "schedule", "sigma_min", "sigma_max", "overlap", "blend_steps", "prev_reference_steps",
         "guidance", "prev_sample")  # fmt: skip
"""Fields that a leaderboard row records, whatever their values."""


@dataclass(frozen=True)
class SamplingConfig:
    """It says how a clip is sampled: all that is not in a model's weights. The defaults are the paper's (section 5).

    None in a field that `PAPER_MODEL` names stands for the model's own value; `complete` fills it in.
    Raises InputError for a value without a meaning.
    """

    steps: int | None = None
    """Denoising steps of a segment."""
    solver: str | None = None
    """A name of `lvcd.diffusion.solver.SOLVERS`."""
    schedule: str | None = None
    """A name of `lvcd.diffusion.noise.SCHEDULES`."""
    sigma_min: float | None = None
    sigma_max: float | None = None
    sigmas: tuple[float, ...] | None = None
    """Noise levels in place of the schedule's: falling, the last one 0."""
    window: int | None = None
    """Frames of the video path in a network call."""
    overlap: int = 4
    """Frames that a segment shares with the one before, 0 .. window - 1 (o in the paper)."""
    blend_steps: int | None = None
    """Overlapped blending (5.1) happens in the first so many steps; None = in all, 0 = never."""
    prev_reference_steps: int | None = None
    """Prev-reference attention (5.2) happens in the first so many steps; None = in all, 0 = never, nor its gain."""
    gain: float = 10.0
    """Weight of the previous segment's results for the overlapped frames (alpha in the paper)."""
    gain_layers: int | None = 13
    """See `FrameLayout.gain_layers`."""
    keep_gain: bool = True
    """Whether the gain stays on after prev-reference attention has ended, on the reference's keys (as the original)."""
    reach: int = 3
    """A frame after the overlap reads the frame so many to its left."""
    reference_attention: bool | None = None
    """False for networks that were trained without reference attention."""
    isolation: bool | None = None
    """False for networks whose temporal layers were trained to see the reference."""
    guidance: float | tuple[float, float] = 1.0
    """Classifier-free guidance: 1 = none; a pair runs from the first slot to the last."""
    max_keys: int | None = 4
    """A segment holds its nearest so many references of those with a place in time; None = all."""
    prev_sample: bool = False
    """Ablation: each segment is painted from the last frame of the one before, in place of these schemes (Table 2)."""
    steady: bool = False
    """Where lines stand still keep the reference's pixels, and calibrate colors there (not in the paper)."""

    def __post_init__(self) -> None:
        for name, known in (("solver", SOLVERS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(f"sampling.{name}={value}: choose one of {', '.join(known)}")
        least = {"steps": 1, "window": 1, "overlap": 0, "blend_steps": 0, "prev_reference_steps": 0, "reach": 0,
                 "max_keys": 1}  # fmt: skip
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < low):
                raise InputError(f"{name}={value}: give a whole number from {low}")
        for name in ("sigma_min", "sigma_max"):
            value = getattr(self, name)
            if value is not None and not (_is_number(value) and value > 0):
                raise InputError(f"sampling.{name}={value}: a noise level is a number above 0")
        if self.sigmas is not None:
            levels = tuple(self.sigmas)
            if len(levels) < 2 or levels[-1] != 0 or any(not a > b for a, b in zip(levels, levels[1:])):
                raise InputError(f"sampling.sigmas={list(levels)}: give falling noise levels, the last one 0")
            object.__setattr__(self, "sigmas", levels)
        low_high = self.guidance if isinstance(self.guidance, tuple) else (self.guidance,)
        if len(low_high) not in (1, 2) or not all(map(_is_number, low_high)):
            raise InputError(f"sampling.guidance={self.guidance}: give a number, 1 for none")
        for name in ("prev_sample", "steady"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"sampling.{name}={getattr(self, name)}: give true or false")

    def complete(self, model: Mapping[str, Any] = PAPER_MODEL) -> SamplingConfig:
        """Return this configuration with the model's own values where it has none.

        Raises InputError if the overlap is not below the model's window, or the noise levels are the wrong way round.
        """
        full = replace(self, **{name: model[name] for name in PAPER_MODEL if getattr(self, name) is None})
        assert full.window is not None and full.sigma_min is not None and full.sigma_max is not None
        if full.overlap >= full.window:
            raise InputError(f"overlap={full.overlap}: this model's window allows 0 to {full.window - 1}")
        if not full.sigma_min < full.sigma_max:
            raise InputError(f"sigma_min={full.sigma_min} is not below sigma_max={full.sigma_max}: swap them")
        return full

    def changes(self) -> list[str]:
        """Return `name=value` for every field that is not the default, as the name of a leaderboard row shows it."""
        return [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]

    def record(self) -> dict[str, Any]:
        """Return the settings that a leaderboard row keeps: the usual ones, and others that are not the default."""
        default = SamplingConfig().complete()
        return {k: v for k, v in asdict(self).items() if k in SHOWN or v not in (None, getattr(default, k))}

    # The properties below need a complete configuration.

    @cached_property
    def noise_levels(self) -> Tensor:
        """Noise levels (n + 1), float32, falling; the last one is 0."""
        if self.sigmas is not None:
            return torch.tensor(self.sigmas, dtype=torch.float32)
        assert self.schedule and self.steps and self.sigma_min and self.sigma_max, "complete() comes first"
        return SCHEDULES[self.schedule](self.steps, self.sigma_min, self.sigma_max)

    @property
    def slots(self) -> int:
        """Frames of a network call with one reference: it, the previous segment's results, and the window."""
        assert self.window is not None, "complete() comes first"
        return 1 + self.overlap + self.window

    def layout(self, first_segment: bool, sigma: Tensor | float, references: int = 1) -> FrameLayout:
        """Return who sees whom in a network call with so many references at noise level sigma."""
        layout = self._layout(first_segment, sigma, references)
        return layout.ablated(self.reference_attention is not False, self.isolation is not False)

    def _layout(self, first_segment: bool, sigma: Tensor | float, references: int) -> FrameLayout:
        assert self.window is not None, "complete() comes first"
        referenced = FrameLayout.referenced(self.window, references + self.overlap, references)
        if first_segment or self.overlap == 0 or self.prev_reference_steps == 0:
            return referenced
        prev = FrameLayout.prev_referenced(
            self.window, self.overlap, self.gain, self.reach, self.gain_layers, references
        )
        steps = self.prev_reference_steps
        if steps is None or steps >= len(self.noise_levels) - 1 or sigma > self.noise_levels[steps]:
            return prev
        return prev.with_sources(referenced) if self.keep_gain else referenced


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]
