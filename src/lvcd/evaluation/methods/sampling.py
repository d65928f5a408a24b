"""How a model is asked: everything that is not in its weights. The defaults are the paper's (section 5)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from lvcd.diffusion.noise import SCHEDULES
from lvcd.diffusion.solver import SOLVERS
from lvcd.errors import InputError
from lvcd.pipeline import LineartVideoPipeline
from lvcd.sampling.sequential import Scheme


def _number(value: object) -> bool:
    return type(value) in (int, float) and math.isfinite(value)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Sampling:
    """InputError: a setting without a meaning."""

    steps: int | None = None
    """Denoising steps of a segment; None = the model's own, as with the four that follow."""
    solver: str | None = None
    schedule: str | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    overlap: int = 4
    """Frames that segments share, 0 .. window - 1."""
    blend_steps: int | None = None
    """Overlapped blending in the first so many steps; None = all, 0 = never."""
    prev_reference_steps: int | None = None
    """Prev-reference attention in the first so many steps; None = all, 0 = never."""
    guidance: float = 1.0
    """1 = none."""
    prev_sample: bool = False
    """Each segment is painted from the last frame of the one before, in place of all of these schemes."""

    def __post_init__(self) -> None:
        for name, known in (("solver", SOLVERS), ("schedule", SCHEDULES)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise InputError(f"sampling.{name}={value}: there are {', '.join(known)}")
        for name, least in (("steps", 1), ("overlap", 0), ("blend_steps", 0), ("prev_reference_steps", 0)):
            value = getattr(self, name)
            if value is not None and (type(value) is not int or value < least):
                raise InputError(f"{name}={value}: give a whole number from {least}")
        for name in ("sigma_min", "sigma_max"):
            value = getattr(self, name)
            if value is not None and not (_number(value) and value > 0):
                raise InputError(f"sampling.{name}={value}: a noise level is a number above 0")
        if not _number(self.guidance):
            raise InputError(f"sampling.guidance={self.guidance}: give a number, 1 for none")
        if not isinstance(self.prev_sample, bool):
            raise InputError(f"sampling.prev_sample={self.prev_sample}: give true or false")

    def changed(self) -> list[str]:
        """name=value of all that is not the default."""
        return [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]

    def settings(self, pipeline: LineartVideoPipeline) -> dict[str, Any]:
        """All of it, with the model's own values where none was given."""
        own = {name: pipeline.config[name] for name in ("steps", "solver", "schedule", "sigma_min", "sigma_max")}
        return own | {name: value for name, value in asdict(self).items() if value is not None or name not in own}

    def scheme(self, pipeline: LineartVideoPipeline, **changes: Any) -> Scheme:
        """InputError: more overlap than the model's window allows, or noise levels the wrong way round."""
        own = self.settings(pipeline)
        if not own["sigma_min"] < own["sigma_max"]:
            raise InputError(f"sigma_min={own['sigma_min']} is not below sigma_max={own['sigma_max']}: swap them")
        if self.overlap >= pipeline.config.window:
            raise InputError(f"overlap={self.overlap}: this model's window allows 0 to {pipeline.config.window - 1}")
        settings = {
            "sigmas": SCHEDULES[own["schedule"]](own["steps"], own["sigma_min"], own["sigma_max"]),
            "solver": SOLVERS[own["solver"]],
            "overlap": 0 if self.prev_sample else self.overlap,
            "blend_steps": self.blend_steps,
            "prev_reference_steps": self.prev_reference_steps,
        }
        return pipeline.scheme(**{**settings, **changes})
