"""Our model as a method: the bundled one or a folder of `lvcd train`, `export` or `convert`, sampled in any way."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.errors import InputError
from lvcd.flats import PaintBucket
from lvcd.pipeline import SamplingConfig, fill_flat, load_pipeline, paint_clip


class Ours:
    """`Method` that paints with the model of this project. InputError: no model, or it cannot be sampled so."""

    kind = "ours"
    heeds_keys = True

    def __init__(
        self,
        model: str | Path | None,
        sampling: SamplingConfig | None = None,
        device: str = "cpu",
        dtype: str = "auto",  # auto = float16 on a GPU, float32 on a CPU
        name: str | None = None,  # None = the kind, and what of model and sampling is not the paper's
        flat: bool = False,  # fill each region with the color of the reference that fits what is painted
        references: int | None = None,  # of those that are given, heed the first so many; None = all
    ):
        if model is None:
            raise InputError(
                f"{self.kind} needs a model: give model=DIR of lvcd train, export or convert, or model=mini"
            )
        if references is not None and (type(references) is not int or references < 1):
            raise InputError(f"method.references={references}: give a whole number from 1, or null for all")
        self.references = references
        self.pipeline = load_pipeline(model, device, dtype)
        self.given, self.flat = sampling or SamplingConfig(), flat
        self.sampling = self._sampling()
        """Complete: with the model's own values where none was given."""
        heeded = [f"references={references}"] if references is not None else []
        changes = [*(["flat"] if flat else []), *heeded, *self._ablations(), *self.given.changes()]
        default = " ".join([self.kind, *([f"[{', '.join(changes)}]"] if changes else [])])
        self.name = default if name is None else str(name)
        self.network_settings = self._settings()
        flats = {"flat": {**PaintBucket.settings, **PaintBucket.model_settings}} if flat else {}
        self.settings = {**self.network_settings, **flats}

    def _ablations(self) -> list[str]:
        """Return what the model was trained without."""
        config = self.pipeline.config
        has = {name: config[name] for name in ("reference_attention", "isolation")}
        has["controlnet_temporal"] = self.pipeline.controlnet.config.temporal
        return [f"no {name}" for name, there in has.items() if not there]

    def _sampling(self) -> SamplingConfig:
        return self.given.complete(self.pipeline.config)

    def _settings(self) -> dict[str, Any]:
        networks = {name: n for name, n in self.pipeline.components.items() if isinstance(n, torch.nn.Module)}
        config = {name: self.pipeline.config[name] for name in ("window", "reference_attention", "isolation")}
        weights = {name: fingerprint(network) for name, network in sorted(networks.items())}
        dtype = str(self.pipeline.unet.dtype).removeprefix("torch.")
        common = {"kind": self.kind, "weights": weights, **config, "dtype": dtype}
        heeded = {} if self.references is None else {"references": self.references}
        return {**common, **heeded, "sampling": self.given.complete(self.pipeline.config).record()}

    def paint(
        self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int, keys: Mapping[int, Tensor] = {}
    ) -> Tensor:
        """Paint a clip; see `Method` and `KeyedMethod`."""
        painted = self.paint_by_network(reference, reference_sketch, sketches, seed, keys)
        return self.finish(reference, reference_sketch, sketches, painted, keys)

    def finish(
        self,
        reference: Tensor,
        reference_sketch: Tensor,
        sketches: Tensor,
        painted: Tensor,
        keys: Mapping[int, Tensor] = {},
    ) -> Tensor:
        """Fill what the network painted flat, if it is to be; see `NetworkMethod`."""
        if not self.flat:
            return painted
        return fill_flat(reference, reference_sketch, sketches, painted, self._heeded(keys))

    def paint_by_network(
        self, reference: Tensor, reference_sketch: Tensor, sketches: Tensor, seed: int, keys: Mapping[int, Tensor] = {}
    ) -> Tensor:
        """Paint a clip by the network alone; see `NetworkMethod`."""
        heeded = self._heeded(keys)
        return paint_clip(self.pipeline, reference, reference_sketch, sketches, self.sampling, seed, keys=heeded)

    def _heeded(self, keys: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return those of the keys that count beside the reference."""
        return dict(islice(keys.items(), None if self.references is None else self.references - 1))
