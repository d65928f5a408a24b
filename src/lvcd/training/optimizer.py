"""The optimizer, AdamW or Muon with AdamW, and the schedule of its learning rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from lvcd.errors import InputError

from .muon import MuonAdamW, is_matrix


@dataclass(frozen=True)
class Optimization:
    """Settings of the optimizer; the defaults are the paper's: AdamW at a constant rate (method, section 9).

    InputError: a setting out of its range, or 8 bits without bitsandbytes.
    """

    lr: float = 5e-5
    """Learning rate."""
    weight_decay: float = 0.01
    """Decoupled weight decay."""
    warmup_steps: int = 0
    """Optimizer steps in which the rate rises linearly."""
    decay: Literal["none", "linear"] = "none"
    """After the warm-up: a constant rate, or a linear one that is zero at the run's last step."""
    bits: Literal[32, 8] = 32
    """Bits of a number in the optimizer's state; 8 needs bitsandbytes."""
    muon: float | None = None
    """Train matrices (weights of linear layers and convolutions) by Muon, at this many times `lr`; None = AdamW."""

    def __post_init__(self) -> None:
        if not self.lr > 0:
            raise InputError(f"a learning rate of {self.lr}: give a number above 0")
        if self.decay not in ("none", "linear") or self.bits not in (32, 8):
            raise InputError(f"decay={self.decay}, bits={self.bits}: choose none or linear, 32 or 8")
        if self.muon is not None and not (self.muon > 0 and self.bits == 32):
            raise InputError(f"muon={self.muon}, bits={self.bits}: give a number above 0, and 32 bits")

    def build(self, groups: dict[str, list[nn.Parameter]], total_steps: int) -> dict[str, Any]:
        """Return what LightningModule.configure_optimizers returns.

        groups: name -> weights, groups without weights are left out; total_steps: optimizer steps of the whole run.
        """
        parameters = [{"params": ps, "lr": self.lr, "name": name} for name, ps in groups.items() if ps]
        if self.muon is not None:
            parameters = [part for group in parameters for part in self._split_matrices(group, self.muon)]
        optimizer = self._optimizer_class()(parameters, lr=self.lr, weight_decay=self.weight_decay)

        def factor(step: int) -> float:
            warmup = (step + 1) / (self.warmup_steps + 1)
            remaining = max(0.0, (total_steps - step) / max(1, total_steps - self.warmup_steps))
            return min(warmup, remaining if self.decay == "linear" else 1.0)

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    @staticmethod
    def _split_matrices(group: dict[str, Any], muon: float) -> list[dict[str, Any]]:
        """Split a group into one for Muon and one for AdamW, without empty ones."""
        matrices = {
            "params": [p for p in group["params"] if is_matrix(p)],
            "lr": group["lr"] * muon,
            "name": f"{group['name']}, muon",
            "matrices": True,
        }
        others = {**group, "params": [p for p in group["params"] if not is_matrix(p)]}
        return [part for part in (matrices, others) if part["params"]]

    def _optimizer_class(self) -> Any:
        if self.muon is not None:
            return MuonAdamW
        if self.bits == 32:
            return torch.optim.AdamW
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise InputError("8-bit AdamW needs bitsandbytes: pip install bitsandbytes, or bits=32") from error
        return AdamW8bit
