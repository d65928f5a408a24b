"""The LoRA methods of diffusers' pipelines, for ours."""

from __future__ import annotations

from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders.lora_base import LoraBaseMixin

from lvcd.checkpoints.adapters import Layers, read_adapter
from lvcd.checkpoints.component import Component, config_of
from lvcd.checkpoints.fingerprint import fingerprint
from lvcd.errors import InputError

ADAPTED = ("unet", "controlnet")
"""Networks of a pipeline that can have adapters."""


class LoraLoader(LoraBaseMixin):
    """Loads adapters into the U-Net and the ControlNet of a pipeline, as many as wanted, beside their weights.

    `set_adapters(names, weights)`, `fuse_lora`, `unfuse_lora`, `disable_lora`, `delete_adapters`, `get_list_adapters`
    and `unload_lora_weights` are those of every diffusers pipeline. `load_pipeline(..., adapters=...)` adds adapters to
    the weights instead, which costs no time in painting and goes with every way to save memory.
    """

    _lora_loadable_modules = list(ADAPTED)

    def load_lora_weights(self, source: str | Path, adapter_name: str | None = None) -> None:  # type: ignore[override]
        """Load an adapter: a folder of `lvcd export --adapter`, or what `read_adapter` takes; its weight is 1 at first.

        A network in bfloat16 or in 8 bits has not the digits by which it is known: whether the adapter was trained for
        it is not checked there. InputError: the adapter cannot be read, is of another model, or has a name in use.
        """
        names = {other for own in self.get_list_adapters().values() for other in own}
        adapter_name = adapter_name or next(n for i in range(len(names) + 1) if (n := f"default_{i}") not in names)
        if adapter_name in names or not adapter_name.isidentifier():
            raise InputError(f"adapter_name={adapter_name}: give a name of letters that no other adapter has")
        adapter = read_adapter(source)
        networks: dict[str, Any] = {name: getattr(self, name) for name in ADAPTED}
        if adapter.base:
            adapter.check_base(self._base_fingerprints)
        layers = {
            name: adapter.of_network(name, Component.from_config(name, config_of(network), adapter.path))
            for name, network in networks.items()
        }
        for name, own in layers.items():
            if own:
                networks[name].load_lora_adapter(
                    {f"{layer}.{part}.weight": x for layer, low in own.items()
                     for part, x in (("lora_A", low.down), ("lora_B", low.up))},
                    prefix=None, adapter_name=adapter_name, metadata=_peft_config(own), _pipeline=self,
                )  # fmt: skip

    @cached_property
    def _base_fingerprints(self) -> dict[str, str]:
        """Fingerprints of the networks without adapters, computed once: fusing and unfusing rounds the weights."""
        networks = {name: list(getattr(self, name).parameters()) for name in ADAPTED}
        return {
            name: fingerprint(getattr(self, name))
            for name, weights in networks.items()
            if all(p.dtype in (torch.float16, torch.float32) and not p.is_meta for p in weights)
        }


def _peft_config(layers: Layers) -> dict[str, Any]:
    """Return the arguments of peft's LoraConfig for layers of any ranks and scales."""
    ranks = {name: len(layer.down) for name, layer in layers.items()}
    alphas = {name: layer.scale * len(layer.down) for name, layer in layers.items()}
    (rank, _), *_ = Counter(ranks.values()).most_common()
    (alpha, _), *_ = Counter(alphas.values()).most_common()
    return {
        "r": rank,
        "lora_alpha": alpha,
        "target_modules": sorted(layers),
        "rank_pattern": {f"^{name}": r for name, r in ranks.items() if r != rank},
        "alpha_pattern": {f"^{name}": a for name, a in alphas.items() if a != alpha},
    }
