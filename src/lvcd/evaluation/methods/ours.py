"""Our model: a folder of train.py, `lvcd export` or `lvcd convert`, sampled in any way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcd.checkpoints.convert import verify
from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.errors import InputError
from lvcd.flats import PaintBucket, as_array
from lvcd.pipeline import LineartVideoPipeline, quiet
from lvcd.sampling.sequential import Scheme
from lvcd.weights import model_folder

from .sampling import Sampling


class Ours:
    """A `Method`. InputError: no model, or one that cannot be sampled so."""

    kind = "ours"

    def __init__(
        self,
        model: str | Path | None,
        sampling: Sampling | None = None,
        device: str = "cpu",
        dtype: str = "auto",  # auto = float16 on a GPU, float32 on a CPU
        name: str | None = None,  # None = the kind, and what of model and sampling is not the paper's
        flat: bool = False,  # what is painted tells lvcd.flats.PaintBucket which color goes where
    ):
        if model is None:
            raise InputError(
                f"{self.kind} needs a model: give model=DIR of lvcd train, export or convert, or model=mini"
            )
        quiet()
        folder = model_folder(model)
        verify(folder)
        self.dtype = dtype if dtype != "auto" else "float32" if device == "cpu" else "float16"
        if self.dtype not in ("float32", "float16", "bfloat16"):
            raise InputError(f"dtype={dtype}: choose auto, float32, float16 or bfloat16")
        pipeline = LineartVideoPipeline.from_pretrained(
            folder, torch_dtype=getattr(torch, self.dtype), local_files_only=True
        )
        pipeline.set_progress_bar_config(disable=True)
        self.pipeline, self.sampling = pipeline.to(device), sampling or Sampling()
        self.scheme, self.flat = self._scheme(), flat
        changed = [*(["flat"] if flat else []), *self._ablated(), *self.sampling.changed()]
        usual = " ".join([self.kind, *([f"[{', '.join(changed)}]"] if changed else [])])
        self.name = usual if name is None else str(name)
        self.settings = self._settings()

    def _ablated(self) -> list[str]:
        """What the model was trained without."""
        config = self.pipeline.config
        has = {name: config[name] for name in ("reference_attention", "isolation")}
        has["controlnet_temporal"] = self.pipeline.controlnet.config.temporal
        return [f"no {name}" for name, there in has.items() if not there]

    def _scheme(self) -> Scheme:
        return self.sampling.scheme(self.pipeline)

    def _settings(self) -> dict[str, Any]:
        networks = {name: n for name, n in self.pipeline.components.items() if isinstance(n, torch.nn.Module)}
        config = {name: self.pipeline.config[name] for name in ("window", "reference_attention", "isolation")}
        weights = {name: fingerprint(network) for name, network in sorted(networks.items())}
        own = {"kind": self.kind, "weights": weights, **config, "dtype": self.dtype}
        flats = {"flat": {**PaintBucket.settings, **PaintBucket.told}} if self.flat else {}
        return {**own, **flats, "sampling": self.sampling.settings(self.pipeline)}

    def paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        painted = self._paint(reference, reference_sketch, sketches, seed)
        if not self.flat:
            return painted
        bucket = PaintBucket(as_array(reference), as_array(reference_sketch)[..., 0])
        painted = (painted.float().clamp(0, 1) * 255).round() / 255  # as a file holds it
        filled = [bucket(*frame) for frame in zip(as_array(sketches)[..., 0], as_array(painted))]
        return torch.from_numpy(np.stack(filled).astype(np.float32)).movedim(-1, 1)

    def _paint(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        if not self.sampling.prev_sample:
            return self._clip(reference, reference_sketch, sketches, generator)
        painted: list[Tensor] = []
        for part in sketches.split(self.pipeline.config.window):
            painted.append(self._clip(reference, reference_sketch, part, generator))
            reference, reference_sketch = painted[-1][-1], part[-1]
        return torch.cat(painted)

    def _clip(self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, generator) -> Tensor:
        return self.pipeline(
            reference.cpu(),
            sketches.cpu(),
            scheme=self.scheme,
            generator=generator,
            reference_sketch=reference_sketch.cpu(),
            guidance_scale=self.sampling.guidance,
            output_type="pt",
        ).frames[0]
